"""A rolling restart under live streams: two replicas behind a real proxy, each restarted in turn.

    python benchmarks/rolling_restart.py --proxy nginx --streams 100
    python benchmarks/rolling_restart.py --proxy haproxy --streams 100

Every stream is the Python client's, with its reconnection, and sends a recording in real time. Told
are how each start ended, how often streams changed their connection, and how late events came:
after the message that completed the audio they say they needed. It fails if a start has no end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, Table, finish, speech

from vad.client import AsyncClient
from vad.events import SpeechDiscarded, SpeechStarted, SpeechStopped

RATE = 16_000
CHUNK_MS = 250
CONFIGURATIONS = {
    "nginx": ROOT / "deploy/nginx/nginx.conf",
    "haproxy": ROOT / "deploy/haproxy/haproxy.cfg",
}


@dataclass
class Heard:
    """What one stream came to.

    Attributes:
        open, ended: segments that have begun, and those that have ended too.
        faults: a start twice, an end without one.
        reasons: of the ends.
        late: (when, seconds) of each start, after its audio was sent.
        connections: how many the stream needed.
        audio_ms: what the client counts as sent.
    """

    open: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    connections: int = 1
    audio_ms: int = 0
    failure: str = ""

    def take(self, event: object, sent: dict[int, float]) -> None:
        if isinstance(event, SpeechStarted):
            if event.segment_id in self.open | self.ended:
                self.faults.append(f"{event.segment_id} starts twice")
            self.open.add(event.segment_id)
            now = time.perf_counter()
            if (when := sent.get(-(-event.detected_at_ms // CHUNK_MS) - 1)) is not None:
                self.late.append((now, now - when))
        elif isinstance(event, SpeechStopped | SpeechDiscarded):
            if event.segment_id not in self.open:
                self.faults.append(f"{event.segment_id} ends and never started")
            self.open.discard(event.segment_id)
            self.ended.add(event.segment_id)
            self.reasons.append(event.reason)


class Replica:
    """One server, which can be restarted as a Deployment restarts it."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log
        self.codes: list[int] = []
        self.start()

    def start(self) -> None:
        environment = {
            **os.environ,
            "VAD_SHUTDOWN_GRACE_S": "20",
            "VAD_MAX_STREAMS": "300",
            "VAD_LOG_FORMAT": "json",
            "VAD_TRUSTED_PROXIES": "127.0.0.1",
        }
        command = [sys.executable, "-m", "vad.cli", "serve", "--port", str(self.port)]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--device", "cpu"], stdout=log, stderr=log, env=environment, cwd=ROOT
            )

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise SystemExit(self._log.read_text()[-2000:])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    async def wait_ready(self) -> None:
        while not await asyncio.to_thread(self.ready):
            await asyncio.sleep(0.2)

    async def restart(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.codes.append(await asyncio.to_thread(self.process.wait))
        self.start()
        await self.wait_ready()


async def listen(url: str, audio: bytes, enough: asyncio.Event, heard: Heard) -> None:
    sent: dict[int, float] = {}
    size = RATE * CHUNK_MS // 1000 * 2
    try:
        client = AsyncClient(url)
        async with client, client.stream(RATE, encoding="pcm_s16le", reconnect=True) as stream:

            async def send() -> None:
                start = time.perf_counter()
                for number in count():
                    if enough.is_set():
                        break
                    at = number * size % (len(audio) - size)
                    pause = start + number * CHUNK_MS / 1000 - time.perf_counter()
                    await asyncio.sleep(max(0.0, pause))
                    await stream.send(audio[at : at + size])
                    sent[number] = time.perf_counter()
                await stream.end()

            sending = asyncio.create_task(send())
            session = stream.info.session_id
            try:
                async for event in stream:
                    heard.take(event, sent)
                    if stream.info.session_id != session:
                        session = stream.info.session_id
                        heard.connections += 1
            finally:
                if stream.summary is None:
                    sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            heard.audio_ms = stream.summary.audio_ms if stream.summary else 0
    except Exception as error:  # told with the rest, so that one stream doesn't hide the others
        heard.failure = f"{type(error).__name__}: {error}"


def configured(proxy: str, ports: tuple[int, int, int], folder: Path) -> list[str]:
    """The command that runs a proxy by deploy/'s configuration, on other ports."""
    text = CONFIGURATIONS[proxy].read_text()
    text = text.replace("127.0.0.1:8001", f"127.0.0.1:{ports[0]}")
    text = text.replace("127.0.0.1:8002", f"127.0.0.1:{ports[1]}")
    file = folder / CONFIGURATIONS[proxy].name
    if proxy == "nginx":
        text = text.replace("listen 8000", f"listen 127.0.0.1:{ports[2]}")
        file.write_text(f"daemon off;\npid {folder}/pid;\nerror_log stderr;\n{text}")
        return ["nginx", "-c", str(file), "-p", str(folder)]
    text = re.sub(r"bind :8000", f"bind 127.0.0.1:{ports[2]}", text)
    file.write_text(text)
    return ["haproxy", "-f", str(file)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    first, second, front = free_ports(3)
    replicas = [Replica(port, folder / f"{port}.log") for port in (first, second)]
    command = configured(arguments.proxy, (first, second, front), folder)
    log = arguments.proxy_log
    with log.open("w") if log else Path(os.devnull).open("w") as out:
        proxy = subprocess.Popen(command, stdout=out, stderr=out)
    audio = (speech(25.0) * 32767).astype(np.int16).tobytes()
    heard = [Heard() for _ in range(arguments.streams)]
    enough = asyncio.Event()
    try:
        for replica in replicas:
            await replica.wait_ready()
        await asyncio.sleep(2)  # the proxy's own checks
        streams = []
        for each in heard:  # over ten seconds, as clients come; and out of step
            url = f"http://127.0.0.1:{front}"
            streams.append(asyncio.create_task(listen(url, audio, enough, each)))
            await asyncio.sleep(10 / arguments.streams)
        began = time.perf_counter()
        for replica in replicas:
            await replica.restart()
        ended = time.perf_counter()
        alive = sum(not each.done() for each in streams)
        await asyncio.sleep(arguments.seconds)
        enough.set()
        await asyncio.gather(*streams)
    finally:
        proxy.terminate()
        proxy.wait()
        for replica in replicas:
            replica.process.terminate()
            replica.codes.append(replica.process.wait())
    return summary(heard, began, ended, alive, [c for r in replicas for c in r.codes])


def summary(
    heard: list[Heard], began: float, ended: float, alive: int, codes: list[int]
) -> dict[str, Any]:
    during = [late for each in heard for when, late in each.late if began <= when <= ended]
    otherwise = [late for each in heard for when, late in each.late if not began <= when <= ended]
    return {
        "streams": len(heard),
        "failed": [each.failure for each in heard if each.failure],
        "faults": [fault for each in heard for fault in each.faults],
        "starts": sum(len(each.ended) + len(each.open) for each in heard),
        "starts_without_end": sum(len(each.open) for each in heard),
        "ended_by_shutdown": sum(each.reasons.count("shutdown") for each in heard),
        "ended_by_disconnect": sum(each.reasons.count("disconnect") for each in heard),
        "reconnections": sum(each.connections - 1 for each in heard),
        "least_audio_ms": min(each.audio_ms for each in heard),
        "alive_after_restart": alive,
        "restart_s": ended - began,
        "exit_codes": codes,
        "late_ms_during": _percentiles(during),
        "late_ms_otherwise": _percentiles(otherwise),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"p{p}": round(float(np.percentile(values, p)) * 1000, 1) for p in (50, 99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proxy", choices=sorted(CONFIGURATIONS), default="nginx")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20, help="that all go on afterwards")
    parser.add_argument("--proxy-log", type=Path, help="what the proxy says")
    arguments = parser.parse_args()
    if shutil.which(arguments.proxy) is None:
        raise SystemExit(f"{arguments.proxy} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(arguments, Path(folder)))
    table = Table(f"Rolling restart behind {arguments.proxy}", ["", ""])
    table.rows += [[name.replace("_", " "), str(value)] for name, value in found.items()]
    finish([table], found, arguments)
    if found["starts_without_end"] or found["faults"] or found["failed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
