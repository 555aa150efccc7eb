"""Whether one innocent stream and one innocent file are served whatever others do.

    python benchmarks/innocent.py --write > innocent.json      # and the table in docs/operators.md
    python benchmarks/innocent.py --only ping-flood deaf-ndjson

Each attack runs for some seconds against a server of its own, all on the same two CPUs, beside a
client that streams speech in messages of 20 ms and one that posts a short file. Told are the
stream's latency, from the sending of a chunk to the probabilities that it completes, how long the
file took, the memory of the server and its children, at most and some time after the attack, and
how long a SIGTERM amid the same attack takes to end it all, each start of speech with its stop.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from attacks import ATTACKS, KEY, STREAM, until, upgrade
from common import CHUNK, RATE, Table, finish, parser, speech
from servers import server
from websockets_raw import frame

GRACE_S = 3


class Innocent(threading.Thread):
    """A stream of speech, until `end` or the server's own.

    Attributes:
        latencies: in ms, from the sending of each chunk to the next message.
        starts, stops: of segments.
    """

    def __init__(self, port: int, end: float) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.starts = self.stops = 0
        self._port, self._end = port, end
        self._sent: list[float] = []
        self._values = 0
        self._welcome = threading.Event()

    def run(self) -> None:
        client = socket.create_connection(("127.0.0.1", self._port), 10)
        client.sendall(upgrade(STREAM + "&probabilities=true"))
        reader = threading.Thread(target=self._read, args=(client,))
        reader.start()
        chunks = (speech(10) * 32767).astype("<i2").reshape(-1, CHUNK)
        self._welcome.wait(20)
        start = time.perf_counter()
        with suppress(OSError):
            while time.monotonic() < self._end and reader.is_alive():
                number = len(self._sent)
                time.sleep(max(0.0, start + number * CHUNK / RATE - time.perf_counter()))
                self._sent.append(time.perf_counter())
                client.sendall(frame(chunks[number % len(chunks)].tobytes()))
            time.sleep(0.5)
            client.shutdown(socket.SHUT_RDWR)
        reader.join()
        client.close()
        missing = len(self._sent) - len(self.latencies)
        self.latencies += [float("inf")] * max(0, missing - 10)

    def _read(self, client: socket.socket) -> None:
        rest = b""
        with suppress(OSError):
            while data := client.recv(65536):
                now = time.perf_counter()
                self._welcome.set()
                *whole, rest = (rest + data).split(b"}")
                for message in whole:
                    self.starts += b'"speech_started"' in message
                    self.stops += b'"speech_stopped"' in message or b"_discarded" in message
                    if (at := message.find(b'"values":[')) >= 0:
                        self._values += message.count(b",", at) + 1
                # A chunk completes two frames.
                while len(self.latencies) < min(len(self._sent), self._values // 2):
                    self.latencies.append(1000 * (now - self._sent[len(self.latencies)]))


def innocent_file(port: int, body: bytes) -> float:
    started = time.perf_counter()
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/vad",
            content=body,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
    except httpx.HTTPError:
        return float("inf")
    return time.perf_counter() - started if answer.is_success else float("inf")


def tree_mb(pid: int) -> float:
    """Of a process and its children, what they share counted once."""
    total, left = 0.0, [pid]
    while left:
        each = left.pop()
        with suppress(OSError, IndexError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(rollup.split("Pss:")[1].split()[0]) / 1024
            for task in Path(f"/proc/{each}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
    return total


@contextmanager
def attacking(name: str, port: int, end: float) -> Iterator[None]:
    process = multiprocessing.get_context("fork").Process(target=ATTACKS[name], args=(port, end))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def ended(pid: int, port: int, name: str) -> tuple[float, bool]:
    """Seconds from a SIGTERM amid the attack to the server's orderly end, and if all was told."""
    stream = Innocent(port, time.monotonic() + GRACE_S + 30)
    with attacking(name, port, time.monotonic() + 15):
        stream.start()
        for _ in until(time.monotonic() + 20):
            if stream.starts > stream.stops and len(stream.latencies) > 50:
                break
            time.sleep(0.02)
        started = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        while (status := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            if time.monotonic() > started + GRACE_S + 30:
                return float("inf"), False
            time.sleep(0.02)
        took = time.monotonic() - started
    stream.join()
    if status.si_status or not 0 < stream.starts == stream.stops:
        print(name, status, f"{stream.starts} starts, {stream.stops} stops", file=sys.stderr)
    return took, status.si_status == 0 and 0 < stream.starts == stream.stops


def measure(name: str, seconds: float, after_s: float) -> dict[str, Any]:
    """One attack."""
    body = io.BytesIO()
    soundfile.write(body, speech(10), RATE, format="WAV", subtype="PCM_16")
    settings = {"VAD_SHUTDOWN_GRACE_S": str(GRACE_S)}
    if name == "wrong-keys":
        settings["VAD_API_KEYS"] = KEY
    with server("convad", None, 100, **settings) as (pid, port):
        innocent_file(port, body.getvalue())
        before = most = tree_mb(pid)
        end = time.monotonic() + seconds
        stream = Innocent(port, end)
        files: list[float] = []

        def post() -> None:
            time.sleep(1)
            while time.monotonic() < end:
                files.append(innocent_file(port, body.getvalue()))
                time.sleep(0.5)

        poster = threading.Thread(target=post)
        with attacking(name, port, end):
            stream.start()
            poster.start()
            while poster.is_alive() or stream.is_alive():
                most = max(most, tree_mb(pid))
                time.sleep(0.2)
        later = tree_mb(pid)
        for _ in until(time.monotonic() + after_s):
            later = tree_mb(pid)
            if later < before + 50:
                break
            time.sleep(1)
        end_s, told = ended(pid, port, name)
    found = stream.latencies or [float("inf")]
    return {
        "attack": name,
        "what": (ATTACKS[name].__doc__ or "").strip(),
        "p50_ms": float(np.percentile(found, 50, method="higher")),
        "p99_ms": float(np.percentile(found, 99, method="higher")),
        "most_ms": max(found),
        "file_s": max(files, default=float("inf")),
        "before_mb": before,
        "most_mb": most - before,
        "later_mb": later - before,
        "end_s": end_s,
        "told": told,
        "load": os.getloadavg()[0],
    }


COLUMNS = {
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "most_ms": "at most ms",
    "file_s": "file at most s",
    "most_mb": "memory at most, + MB",
    "later_mb": "later, + MB",
    "end_s": "SIGTERM to end, s",
}


def kept(found: dict[str, Any]) -> bool:
    """Whether what is promised holds."""
    return bool(
        found["p99_ms"] <= 50
        and found["file_s"] <= 5
        and found["most_mb"] <= 500
        and found["later_mb"] <= 50
        and found["end_s"] <= GRACE_S + 5
        and found["told"]
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=10, help="of each attack")
    options.add_argument("--after", type=float, default=60, help="seconds for memory to go back")
    options.add_argument("--within", type=float, default=840, help="seconds for all together")
    options.add_argument("--only", nargs="*", choices=ATTACKS)
    arguments = options.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # and all that is started
    names = arguments.only or list(ATTACKS)
    table = Table(
        "One innocent stream and file beside attacks", ["attack", *COLUMNS.values(), "stops"]
    )
    raw = []
    end = time.monotonic() + arguments.within
    for number, name in enumerate(names):
        left = end - time.monotonic() - (len(names) - number) * (arguments.seconds + 10)
        if end < time.monotonic() + arguments.seconds:
            print("no time for", *names[number:], file=sys.stderr)
            break
        try:
            found = measure(name, arguments.seconds, min(arguments.after, max(1.0, left)))
        except Exception as error:  # told, so that one server that fails doesn't end it all
            print(name, f"{error!r}", file=sys.stderr, flush=True)
            continue
        raw.append(found)
        shown = [f"{found[key]:.3g}" for key in COLUMNS]
        what = (
            f"{name.replace('-', ' ')}: {found['what'][0].lower()}{found['what'][1:].rstrip('.')}"
        )
        table.rows.append([what, *shown, "all" if found["told"] else "**not all**"])
        print([name, *shown, found["told"], kept(found)], file=sys.stderr, flush=True)
    held = sum(map(kept, raw))
    summary = (
        f"{held} of {len(raw)} keep all of it: p99 of the stream within 50 ms, each file answered "
        "within 5 s, memory of all processes never above + 500 MB and within + 50 MB a minute "
        f"later, the end within the grace ({GRACE_S} s here) and 5 s, and every start told its "
        "stop. Servers and attackers share two cores."
    )
    finish([table], raw, arguments, summary)


if __name__ == "__main__":
    main()
