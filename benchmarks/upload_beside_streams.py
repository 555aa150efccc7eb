"""What a long upload costs live streams, and in memory.

Runs a server of its own, and in pairs: live streams alone, then the same beside uploads of a
long file, one after another. Prints JSON; the event latency is from the sending of the chunk
that decided an event to the event's receipt.

    python benchmarks/upload_beside_streams.py --pairs 5 > upload_beside_streams.json

Linux only (it reads /proc); needs the `client` packages websockets and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from websockets.asyncio.client import connect

from vad import Detector, SpeechDiscarded, SpeechStarted, SpeechStopped

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "tests" / "data" / "speech.wav"
RATE = 16_000
CHUNK = RATE // 50  # 20 ms
EVENTS = ("speech_started", "speech_stopped", "speech_discarded")
UPLOAD = """
import sys, time, httpx
while True:
    started = time.monotonic()
    with open(sys.argv[2], "rb") as file:
        answer = httpx.post(sys.argv[1], files={"file": file}, timeout=3600)
    answer.raise_for_status()
    print(time.monotonic() - started, flush=True)
"""


@dataclass(frozen=True)
class Script:
    """What each stream sends, and after which chunk each of its events must come."""

    chunks: list[bytes]
    decided_by: list[int]

    @classmethod
    def of(cls, seconds: float) -> Script:
        speech, _ = soundfile.read(SPEECH, dtype="int16")
        samples = np.resize(speech, round(seconds * RATE) // CHUNK * CHUNK).reshape(-1, CHUNK)
        chunks = [chunk.tobytes() for chunk in samples]
        stream = Detector.load(device="cpu").stream(RATE, encoding="pcm_s16le")
        kinds = (SpeechStarted, SpeechStopped, SpeechDiscarded)
        decided = [
            i
            for i, chunk in enumerate(chunks)
            for event in stream.push(chunk)
            if isinstance(event, kinds)
        ]
        return cls(chunks, decided)


async def follow(url: str, script: Script, delay: float) -> list[float]:
    """One stream in real time; the latency of each of its events, in seconds."""
    await asyncio.sleep(delay)
    sent: list[float] = []
    received: list[float] = []
    async with connect(url, max_queue=None) as client:

        async def listen() -> None:
            async for message in client:
                if json.loads(message)["type"] in EVENTS:
                    received.append(time.perf_counter())

        listener = asyncio.create_task(listen())
        started = time.perf_counter()
        for i, chunk in enumerate(script.chunks):
            await asyncio.sleep(max(0.0, started + i * 0.02 - time.perf_counter()))
            sent.append(time.perf_counter())
            await client.send(chunk)
        await client.send(json.dumps({"type": "end"}))
        await listener
    # Those after the last are of the end itself.
    assert len(received) >= len(script.decided_by), "events are missing"
    return [at - sent[i] for at, i in zip(received, script.decided_by, strict=False)]


async def run_streams(url: str, script: Script, count: int) -> list[float]:
    rng = random.Random(0)
    streams = [follow(url, script, rng.uniform(0, 1)) for _ in range(count)]
    return [latency for found in await asyncio.gather(*streams) for latency in found]


def tree(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


def pss(root: int) -> int:
    """Bytes that a process and all below it have, shared pages in proportion."""
    total = 0
    for process in tree(root):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return 1024 * total


async def watch(root: int, peaks: list[int]) -> None:
    while True:
        peaks.append(await asyncio.to_thread(pss, root))
        await asyncio.sleep(0.5)


@contextmanager
def server(arguments: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """A server of its own: its process and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"VAD_PORT": str(port), "VAD_DEVICE": arguments.device}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while not is_ready(port):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not get ready"
            time.sleep(0.2)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz/ready").is_success
    except httpx.TransportError:
        return False


@contextmanager
def uploads(port: int, file: Path) -> Iterator[list[float]]:
    """Uploads one after another; afterwards, how long each took that was answered."""
    took: list[float] = []
    url = f"http://127.0.0.1:{port}/v1/vad"
    command = [sys.executable, "-c", UPLOAD, url, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield took
    finally:
        assert process.poll() is None, "an upload has failed"
        process.terminate()
        output, _ = process.communicate()
        took += [float(line) for line in output.split()]


def measured(pid: int, url: str, script: Script, count: int, pool: list[float]) -> dict[str, Any]:
    """One run: latencies in ms, memory in MB; the latencies, in seconds, go to `pool` too."""

    async def run() -> tuple[list[float], list[int]]:
        peaks: list[int] = []
        watcher = asyncio.create_task(watch(pid, peaks))
        latencies = await run_streams(url, script, count)
        watcher.cancel()
        return latencies, peaks

    latencies, peaks = asyncio.run(run())
    pool += latencies
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "events": len(latencies),
        "p50_ms": round(1000 * p50, 2),
        "p99_ms": round(1000 * p99, 2),
        "max_ms": round(1000 * max(latencies), 2),
        "pss_mb": round(max(peaks) / 1e6, 1),
    }


@dataclass
class Pools:
    """Latencies of all runs together, in seconds: 1 % of one run are but a few events."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    def p99_ms(self) -> dict[str, float]:
        both = {"alone": self.alone, "beside": self.beside}
        return {name: round(1000 * np.percentile(pool, 99), 2) for name, pool in both.items()}


def pairs(arguments: argparse.Namespace, file: Path, pools: Pools) -> Iterator[dict[str, Any]]:
    script = Script.of(arguments.seconds)
    with server(arguments) as (pid, port):
        url = f"ws://127.0.0.1:{port}/v1/vad/stream"
        warm_up = Script(script.chunks[:100], [])
        asyncio.run(run_streams(url, warm_up, arguments.streams))
        for _ in range(arguments.pairs):
            alone = measured(pid, url, script, arguments.streams, pools.alone)
            with uploads(port, file) as took:
                beside = measured(pid, url, script, arguments.streams, pools.beside)
            yield {
                "alone": alone,
                "beside": beside,
                "p99_moves_ms": round(beside["p99_ms"] - alone["p99_ms"], 2),
                "pss_grows_mb": round(beside["pss_mb"] - alone["pss_mb"], 1),
                "uploads_s": [round(seconds, 1) for seconds in took],
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30, help="of each run")
    parser.add_argument("--hours", type=float, default=2, help="of the uploaded file")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "long.wav")
        speech, _ = soundfile.read(SPEECH, dtype="int16")
        with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16") as long:
            for _ in range(round(arguments.hours * 3600 * RATE / len(speech))):
                long.write(speech)
        found, pools = [], Pools()
        for pair in pairs(arguments, file, pools):
            found.append(pair)
            print(json.dumps(pair), file=sys.stderr, flush=True)
    summary = {
        "p99_ms_of_all_pairs": pools.p99_ms(),
        "p99_moves_ms_median": statistics.median(pair["p99_moves_ms"] for pair in found),
        "p99_moves_ms_worst": max(pair["p99_moves_ms"] for pair in found),
        "pss_grows_mb_worst": max(pair["pss_grows_mb"] for pair in found),
    }
    print(json.dumps({"arguments": vars(arguments), **summary, "pairs": found}, indent=2))


if __name__ == "__main__":
    main()
