"""How many live streams a server carries: WebSockets in real time until the events come late.

    python benchmarks/service_load.py > service_load.json

The server has one core, the load another. Each stream sends 20 ms of speech every 20 ms; an
event's latency is from the sending of the chunk that decides it to its receipt. Streams begin at
different places of the speech, or all their events would come at once. The number of streams
grows until twice in a row the 99th percentile exceeds the bound or something is lost. Beside it,
in the same run: FastAPI with silero-vad as its users write it, and a server that only takes the
audio.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import CHUNK, RATE, Table, finish, parser, pin, speech
from peers import SILERO_CHUNK
from servers import server
from silero_vad import VADIterator, load_silero_vad
from websockets_raw import Client, frame

from vad import Detector, SpeechDiscarded, SpeechStarted, SpeechStopped

TURNS = 16  # places at which streams begin
PATH = "/v1/vad/stream?sample_rate=16000&encoding=pcm_s16le"
EVENTS = (b'"speech_started"', b'"speech_stopped"', b'"speech_discarded"')


@dataclass(frozen=True)
class Script:
    """What each stream sends, and the chunks after which an event must come, in order."""

    frames: list[bytes]
    decided_by: list[int]


def audio(seconds: float, turn: int) -> list[bytes]:
    samples = (speech(seconds) * 32767).astype(np.int16).reshape(-1, CHUNK)
    return [chunk.tobytes() for chunk in np.roll(samples, turn * len(samples) // TURNS, axis=0)]


def for_convad(seconds: float, turn: int = 0) -> Script:
    chunks = audio(seconds, turn)
    stream = Detector.load(device="cpu").stream(RATE, encoding="pcm_s16le")
    kinds = (SpeechStarted, SpeechStopped, SpeechDiscarded)
    decided = [
        i for i, chunk in enumerate(chunks) for e in stream.push(chunk) if isinstance(e, kinds)
    ]
    return Script([frame(chunk) for chunk in chunks], decided)


def for_silero(seconds: float, turn: int = 0) -> Script:
    chunks = audio(seconds, turn)
    samples = np.frombuffer(b"".join(chunks), np.int16).astype(np.float32) / 32768
    iterator = VADIterator(load_silero_vad(onnx=True), sampling_rate=RATE)
    decided = []
    for end in range(SILERO_CHUNK, len(samples) + 1, SILERO_CHUNK):
        if iterator(torch.from_numpy(samples[end - SILERO_CHUNK : end])):
            decided.append((end - 1) // CHUNK)
    return Script([frame(chunk) for chunk in chunks], decided)


def for_echo(seconds: float, turn: int = 0) -> Script:
    chunks = audio(seconds, turn)
    return Script([frame(chunk) for chunk in chunks], list(range(49, len(chunks), 50)))


SCRIPTS: dict[str, Callable[[float, int], Script]] = {
    "convad": for_convad,
    "silero": for_silero,
    "echo": for_echo,
}


@dataclass
class Stream:
    """When one connection sent its chunks and received its events."""

    script: Script
    offset: float
    sent: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)

    def take(self, message: bytes) -> None:
        if any(event in message for event in EVENTS):
            self.received.append(time.perf_counter())


async def run(port: int, scripts: list[Script], count: int) -> dict[str, Any]:
    """So many streams through the whole of their scripts, which they take in turn."""
    loop = asyncio.get_running_loop()
    rng = random.Random(0)
    streams = [Stream(scripts[i % len(scripts)], rng.uniform(0, 0.02)) for i in range(count)]
    clients = []
    for stream in streams:
        _, client = await loop.create_connection(
            lambda stream=stream: Client(PATH, stream.take), "127.0.0.1", port
        )
        await client.opened
        clients.append(client)
    order = sorted(range(count), key=lambda i: streams[i].offset)
    start, late = time.perf_counter() + 0.2, 0.0
    for i in range(len(scripts[0].frames)):
        for each in order:
            due = start + i * 0.02 + streams[each].offset
            now = time.perf_counter()
            if due > now + 0.0005:
                await asyncio.sleep(due - now)
            late = max(late, time.perf_counter() - due)
            streams[each].sent.append(time.perf_counter())
            if not clients[each].lost:
                clients[each].send(streams[each].script.frames[i])
        await asyncio.sleep(0)
    await asyncio.sleep(0.5)
    lost = sum(client.lost for client in clients)
    for client in clients:
        client.close()
    return _judged(streams, lost, late)


def _judged(streams: list[Stream], lost: int, late: float) -> dict[str, Any]:
    latencies, missing = [], 0
    for stream in streams:
        decided_by = stream.script.decided_by
        missing += len(decided_by) - len(stream.received)
        for at, chunk in zip(stream.received, decided_by, strict=False):
            latencies.append(1000 * (at - stream.sent[chunk]))
    p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (np.inf, np.inf)
    return {
        "streams": len(streams),
        "events": len(latencies),
        "missing": missing,
        "lost": lost,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "load_late_ms": 1000 * late,
    }


def ramp(kind: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs with more and more streams, the last of which fails."""
    scripts = [SCRIPTS[kind](arguments.seconds, turn) for turn in range(TURNS)]
    assert all(script.decided_by for script in scripts), "no event to wait for"
    found: list[dict[str, Any]] = []
    with server(kind, arguments.server_core, 100_000) as (_, port):
        asyncio.run(run(port, [Script(scripts[0].frames[:50], [])], 5))
        count, failed = arguments.start, False
        while count <= arguments.most:
            result = asyncio.run(run(port, scripts, count))
            found.append({"server": kind, **result})
            good = _good(result, arguments.bound_ms)
            if not good and failed:
                break
            if good:
                count = max(count + 1, round(count * arguments.factor))
            failed = not good  # once more: the machine may have been busy
    return found


def _good(result: dict[str, Any], bound_ms: float) -> bool:
    return result["p99_ms"] <= bound_ms and not result["missing"] and not result["lost"]


def carried(found: list[dict[str, Any]], bound_ms: float) -> dict[str, Any] | None:
    """The run with the most streams that all went well."""
    good = [each for each in found if _good(each, bound_ms)]
    return max(good, key=lambda each: each["streams"], default=None)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--servers", nargs="*", default=["convad", "silero", "echo"])
    options.add_argument("--repeats", type=int, default=1, help="of each ramp; 5 for a report")
    options.add_argument("--seconds", type=float, default=10, help="of each run")
    options.add_argument("--start", type=int, default=20, help="streams")
    options.add_argument("--most", type=int, default=3000)
    options.add_argument("--factor", type=float, default=1.4)
    options.add_argument("--bound-ms", type=float, default=50)
    options.add_argument("--server-core", type=int, default=0)
    options.add_argument("--load-core", type=int, default=1)
    arguments = options.parse_args()
    pin(arguments.load_core)
    raw = []
    columns = ["server", "streams", "p50 ms", "p99 ms", "load late by ms", "then"]
    table = Table("Live streams through a server on one core", columns)
    for _ in range(arguments.repeats):
        for kind in arguments.servers:
            found = ramp(kind, arguments)
            raw += found
            best, last = carried(found, arguments.bound_ms), found[-1]
            then = f"{last['streams']}: p99 {last['p99_ms']:.0f} ms, {last['missing']} missing"
            shown = ("streams", "p50_ms", "p99_ms", "load_late_ms")
            cells = [f"{best[name]:.4g}" if best else "none" for name in shown]
            table.rows.append([kind, *cells, then])
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
