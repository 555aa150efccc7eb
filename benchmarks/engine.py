"""The engine on one core, beside silero-vad in the same run.

    python benchmarks/engine.py > engine.json          # some minutes; tables on standard error

One stream in 20 ms chunks, many streams in batches, whole files, and files of hours for their
memory. Everything is repeated in turns, so that a busy machine is busy for all alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    CHUNK,
    RATE,
    ROOT,
    Spread,
    Table,
    durations,
    finish,
    last_core,
    parser,
    peak_mb,
    pin,
    speech,
    write_speech,
)
from peers import SILERO_CHUNK, Bare, Batched, Package, Whole

from vad import Detector


def single(detector: Detector) -> dict[str, tuple[float, Callable[[], object]]]:
    """Case → seconds of audio in a chunk, and what to do with one."""
    chunk, silero_chunk = speech(5)[RATE : RATE + CHUNK], speech(5)[RATE : RATE + SILERO_CHUNK]
    session = detector.engine.signal()
    stream = detector.stream()
    package, bare = Package(), Bare()
    return {
        "convad, engine": (0.02, lambda: detector.engine.push(session, chunk)),
        "convad, Stream with events": (0.02, lambda: stream.push(chunk)),
        "silero package, ONNX": (0.032, lambda: package.step(silero_chunk)),
        "silero ONNX, bare loop": (0.032, lambda: bare.step(silero_chunk)),
    }


def batched(detector: Detector, sizes: list[int]) -> dict[str, tuple[float, Callable[[], object]]]:
    """Case → seconds of audio in a call, all streams together."""
    engine = detector.engine
    cases: dict[str, tuple[float, Callable[[], object]]] = {}
    for size in sizes:
        audio = speech(size + 1)
        pushes = [(engine.signal(), audio[i * RATE : i * RATE + CHUNK]) for i in range(size)]
        cases[f"convad, {size}"] = (0.02 * size, lambda pushes=pushes: engine.push_many(pushes))
        silero = Batched(size)
        block = np.stack([audio[i * RATE : i * RATE + SILERO_CHUNK] for i in range(size)])
        cases[f"silero TorchScript, {size}"] = (
            0.032 * size,
            lambda silero=silero, block=block: silero.step(block),
        )
    cases["convad, 256 of 5120 in turn"] = (0.02 * 256, _rotating(detector))
    return cases


def _rotating(detector: Detector) -> Callable[[], object]:
    """Batches of 256 out of as many streams as a core is to serve: their state is in no cache."""
    engine = detector.engine
    chunk = speech(2)[RATE : RATE + CHUNK]
    pushes = [(engine.signal(), chunk) for _ in range(5120)]
    for start in range(0, len(pushes), 256):
        engine.push_many(pushes[start : start + 256])
    turn = 0

    def call() -> None:
        nonlocal turn
        turn = (turn + 256) % len(pushes)
        engine.push_many(pushes[turn : turn + 256])

    return call


def whole(detector: Detector, folder: Path) -> dict[str, tuple[float, Callable[[], object]]]:
    audio = speech(60)
    path = folder / "minutes.wav"
    write_speech(path, 1 / 6)
    package, script = Whole(onnx=True), Whole(onnx=False)
    return {
        "convad, engine": (60, lambda: detector.engine.probabilities(audio)),
        "convad, WAV to segments": (600, lambda: detector.detect(path)),
        "silero package, ONNX": (60, lambda: package.run(audio)),
        "silero package, TorchScript": (60, lambda: script.run(audio)),
    }


Raw = dict[str, dict[str, list[float]]]


def measured(
    cases: dict[str, tuple[float, Callable[[], object]]], repeats: int, seconds: float
) -> Raw:
    """Case → of each repetition the median and 99th percentile of a call in µs, and × real time.

    The last is seconds of audio for a second of a core's time: what a core can do, whoever else
    is on the machine.
    """
    raw: Raw = {case: {"median_us": [], "p99_us": [], "real_time": []} for case in cases}
    for _ in range(repeats):
        for case, (audio_s, call) in cases.items():
            took, busy = durations(call, seconds)
            raw[case]["median_us"].append(1e6 * float(np.median(took)))
            raw[case]["p99_us"].append(1e6 * float(np.percentile(took, 99)))
            raw[case]["real_time"].append(audio_s / float(np.median(busy)))
    return raw


def table(name: str, unit: str, raw: Raw) -> Table:
    found = Table(name, ["", "µs a call, median", "99th percentile", unit])
    for case, each in raw.items():
        columns = (each["median_us"], each["p99_us"], each["real_time"])
        found.rows.append([case, *(str(Spread.of(values)) for values in columns)])
    return found


def long_file(path: Path) -> None:
    """Run in a process of its own, for its memory."""
    pin(last_core())
    detector = Detector.load(device="cpu")
    detector.detect(speech(20), RATE)
    before, start = peak_mb(), time.perf_counter()
    segments = sum(1 for _ in detector.analyse(path))
    took = time.perf_counter() - start
    print(json.dumps({"seconds": took, "before_mb": before, "peak_mb": peak_mb(), "n": segments}))


def long_files(hours: list[float], folder: Path) -> tuple[Table, Any]:
    found = Table("Files of hours", ["hours", "× real time", "peak MB", "of it before the file"])
    raw = {}
    for each in hours:
        path = folder / "long.wav"
        write_speech(path, each)
        command = [sys.executable, __file__, "--long", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        result = raw[str(each)] = json.loads(run.stdout)
        speed = each * 3600 / result["seconds"]
        memory = (f"{result[name]:.0f}" for name in ("peak_mb", "before_mb"))
        found.rows.append([f"{each:g}", f"{speed:.0f}", *memory])
        path.unlink()
    return found, raw


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--seconds", type=float, default=0.5, help="of each repetition of a case")
    options.add_argument("--sizes", type=int, nargs="*", default=[1, 16, 64, 256, 512])
    options.add_argument("--hours", type=float, nargs="*", default=[1, 20])
    options.add_argument("--model", help="name or path of other weights")
    options.add_argument("--long", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.long:
        long_file(arguments.long)
        return
    torch.set_num_threads(1)
    pin(last_core())
    model = {"model": arguments.model} if arguments.model else {}
    detector = Detector.load(**model, device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw: dict[str, Any] = {}
        tables = []
        kinds = (
            ("One stream", "streams a core", single(detector)),
            ("Batches of live streams", "streams a core", batched(detector, arguments.sizes)),
            ("Whole files", "× real time", whole(detector, folder)),
        )
        for title, unit, cases in kinds:
            raw[title] = measured(cases, arguments.repeats, arguments.seconds)
            tables.append(table(title, unit, raw[title]))
        if arguments.hours:
            longest, raw["hours"] = long_files(arguments.hours, folder)
            tables.append(longest)
    raw["network"] = {
        "model": detector.name,
        "macs_per_second": detector.engine.architecture.macs_per_second,
        "state_bytes": detector.engine.state_bytes,
    }
    finish(tables, raw, arguments)


if __name__ == "__main__":
    main()
