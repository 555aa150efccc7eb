"""How many functions of our own, in how many files, a live message and an upload pass through.

    python benchmarks/trace.py            # counts
    python benchmarks/trace.py --list     # and the functions, in order

Counts say how far it is from a question to its answer; they are the same on every machine. The
server runs in a thread of this process, so that `threading.setprofile` sees it; lambdas and
comprehensions count for the function that they are written in. A decoder's process is not seen.

    message   20 ms of silence in the middle of a stream: from the socket to the next tick's end
    upload    POST /v1/vad of a WAV file of 3 s, answered as JSON
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import httpx
import websockets.sync.client
from common import CHUNK, ROOT, SPEECH, Table, finish

from service import Settings, create_server

OURS = tuple(f"{ROOT / package}/" for package in ("vad", "service"))
MESSAGES = 50  # counted; one can fall together with another's tick


class Trace:
    """The functions entered while it is on."""

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], None] = {}
        self.on = False
        self._known: dict[CodeType, tuple[str, str] | None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.on and event == "call":
            code = frame.f_code
            if code not in self._known:
                self._known[code] = _own(code)
            if (found := self._known[code]) is not None:
                self.codes[found] = None

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.codes.clear()
        self.on = True
        try:
            yield
        finally:
            self.on = False

    @property
    def files(self) -> set[str]:
        return {file for file, _ in self.codes}


def _own(code: CodeType) -> tuple[str, str] | None:
    """File and function, if they are ours; what is nested in a function counts for it."""
    if not code.co_filename.startswith(OURS):
        return None
    name = re.sub(r"\.<locals>\.<.*", "", code.co_qualname)
    return code.co_filename.removeprefix(f"{ROOT}/"), name


@contextmanager
def serving(trace: Trace) -> Iterator[int]:
    """The service on some port of loopback, in a thread that is traced."""
    settings = Settings(port=0, log_format="json")
    server = create_server(settings)

    def run() -> None:
        sys.setprofile(trace)
        asyncio.run(server.serve())

    threading.setprofile(trace)
    thread = threading.Thread(target=run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        threading.setprofile(None)


def message(port: int, trace: Trace) -> None:
    silence = bytes(2 * CHUNK)
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as socket:
        socket.recv()
        for number in range(2 * MESSAGES):
            if number == MESSAGES:
                trace.codes.clear()
                trace.on = True
            socket.send(silence)
            time.sleep(0.02)
        trace.on = False


def upload(port: int, trace: Trace) -> None:
    url = f"http://127.0.0.1:{port}/v1/vad"

    def post() -> None:
        with SPEECH.open("rb") as file:
            httpx.post(url, files={"file": file}, timeout=60).raise_for_status()

    post()  # whatever only the first one does
    with trace.counted():
        post()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    trace, raw = Trace(), {}
    table = Table("Functions passed", ["", "functions", "files"])
    calls: dict[str, Callable[[int, Trace], None]] = {"message": message, "upload": upload}
    with serving(trace) as port:
        for name, call in calls.items():
            call(port, trace)
            table.rows.append([name, str(len(trace.codes)), str(len(trace.files))])
            raw[name] = [f"{file}: {function}" for file, function in trace.codes]
            if arguments.list:
                print(f"\n{name}", *raw[name], sep="\n", file=sys.stderr)
    result: dict[str, Any] = raw
    finish([table], result, arguments)


if __name__ == "__main__":
    main()
