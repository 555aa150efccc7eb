"""What all benchmarks share: the machine, repetitions, tables, audio, and memory."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "tests" / "data" / "speech.wav"
RATE = 16_000
CHUNK = RATE // 50  # 20 ms
# Where `--write` puts a benchmark's tables, below docs/: between `<!-- NAME -->` and its end.
PAGES = {
    "engine": "performance.md",
    "roofline": "performance.md",
    "cold_start": "performance.md",
    "service_load": "performance.md",
    "soak": "performance.md",
    "page": "performance.md",
    "batch": "scale.md",
    "innocent": "operators.md",
    "ladder": "ladder.md",
    "silero_segments": "dropins.md",
    "what_counts": "what-counts-as-speech.md",
}


@dataclass
class Table:
    """Results for people: rows of text under named columns."""

    name: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Spread:
    """Of several repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)}–{_short(self.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def speech(seconds: float) -> NDArray[np.float32]:
    """So many seconds of speech and pauses at 16 kHz, the same recording again and again."""
    found, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    return np.resize(found, round(seconds * RATE))


def write_speech(path: Path, hours: float) -> None:
    """A WAV file of so many hours, piece by piece."""
    found, _ = soundfile.read(SPEECH, dtype="int16")
    left = round(hours * 3600 * RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while left > 0:
            file.write(found[:left])
            left -= len(found)


def durations(
    call: Callable[[], object], seconds: float, least: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How long each of many calls took, and how much processor time, in seconds."""
    call()
    wall: list[float] = []
    busy: list[float] = []
    end = time.perf_counter() + seconds
    while len(wall) < least or time.perf_counter() < end:
        start, start_busy = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    return np.array(wall), np.array(busy)


def pin(core: int) -> None:
    """This process, and those it starts, on one core."""
    os.sched_setaffinity(0, {core})


def last_core() -> int:
    return max(os.sched_getaffinity(0))


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    info = Path("/proc/cpuinfo").read_text()
    flags = set(info.split("flags", 1)[1].split("\n", 1)[0].split())
    packages = ("numpy", "torch", "onnxruntime", "silero-vad")
    return {
        "cpu": info.split("model name", 1)[1].split(":", 1)[1].split("\n", 1)[0].strip(),
        "cores": os.cpu_count(),
        "vectors": [
            name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags
        ],
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "command": " ".join(["python", *sys.argv]),
        "time": time.strftime("%Y-%m-%d %H:%M"),
        **{name: version(name) for name in packages},
    }


def parser(doc: str) -> argparse.ArgumentParser:
    """For a benchmark's arguments, of which `--write` is one where its tables have a page."""
    found = argparse.ArgumentParser(description=doc.split("\n")[0])
    if page := PAGES.get(Path(sys.argv[0]).stem):
        found.add_argument("--write", action="store_true", help=f"the tables into docs/{page}")
    return found


def put(page: str, name: str, text: str) -> str:
    """A page with a text in the place of a benchmark's."""
    changed, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda found: f"{found[1]}\n{text}\n\n{found[2]}",
        page,
        flags=re.DOTALL,
    )
    assert count == 1, f"the page has {count} places for {name}"
    return changed


def shown(tables: Sequence[Table], about: dict[str, Any], summary: str = "") -> str:
    """Tables as Markdown, what stands above them, and what they were measured on."""
    vectors = ", ".join(about["vectors"])
    machine = (
        f"`{about['command']}` on {about['time']}: {about['cpu']}, {about['cores']} cores "
        f"({vectors}), load {about['load']:.1f} at the end; numpy {about['numpy']}, "
        f"torch {about['torch']}, onnxruntime {about['onnxruntime']}, "
        f"silero-vad {about['silero-vad']}."
    )
    parts = [f"**{table.name}**\n\n{table.markdown()}" for table in tables]
    return "\n\n".join([*([summary] if summary else []), *parts, machine])


def finish(tables: list[Table], raw: Any, arguments: argparse.Namespace, summary: str = "") -> None:
    """Print everything as JSON, and the tables for reading to standard error.

    With `--write` the tables go to the benchmark's page too.
    """
    for table in tables:
        print(f"\n{table.name}\n{table.markdown()}", file=sys.stderr)
    about = machine()
    if getattr(arguments, "write", False):
        name = Path(sys.argv[0]).stem
        page = ROOT / "docs" / PAGES[name]
        text = put(page.read_text(encoding="utf-8"), name, shown(tables, about, summary))
        page.write_text(text, encoding="utf-8")
    result = {
        "machine": about,
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "tables": [asdict(table) for table in tables],
        "raw": raw,
    }
    print(json.dumps(result, indent=1, default=asdict))
