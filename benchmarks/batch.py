"""`vad batch`: hours of audio a core hour, decoding included, beside a loop over `Detector.detect`.

    python benchmarks/batch.py recordings/
    python benchmarks/batch.py recordings/ --small 10000 --long-h 20     # and memory

CPU seconds are those of all processes, start and model included, so other work on the machine moves
them less than it moves the wall clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from common import ROOT, SPEECH, Table, finish, parser, write_speech

from vad.batch.listing import list_recordings

LOOP = """
import sys
from pathlib import Path
from vad import Detector
detector = Detector.load(sys.argv[2], device="cpu")
total = 0.0
for line in Path(sys.argv[1]).read_text().splitlines():
    try:
        total += detector.detect(line).duration
    except Exception as error:
        print(line, error, file=sys.stderr)
print(total)
"""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("recordings", nargs="*")
    options.add_argument("--files", type=int, default=0, help="at most so many")
    options.add_argument("--model", default="convad-base")
    options.add_argument("--ray", action="store_true", help="also on a local Ray cluster")
    options.add_argument("--small", type=int, default=0, help="memory over so many short files")
    options.add_argument("--long-h", type=float, default=0, help="memory over one file of so long")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = [_speed(arguments, Path(folder))] if arguments.recordings else []
        if arguments.small or arguments.long_h:
            tables.append(_memory(arguments, Path(folder)))
        finish(tables, None, arguments)


def _speed(arguments: argparse.Namespace, folder: Path) -> Table:
    found = list_recordings(arguments.recordings).recordings
    found = found[:: max(1, len(found) // arguments.files)] if arguments.files else found
    manifest = folder / "manifest.txt"
    manifest.write_text("".join(f"{each.uri}\n" for each in found))
    loop = [sys.executable, "-c", LOOP, str(manifest), arguments.model]
    runs = {"loop over Detector.detect": {**os.environ, "OMP_NUM_THREADS": "1"}}
    table = Table(
        f"`vad batch` over {len(found)} files",
        ["", "wall s", "CPU s", "hours a core hour", "largest process, MB"],
    )
    wall, cpu, peak, out = _run(loop, runs["loop over Detector.detect"])
    hours = float(out) / 3600
    table.rows.append(["loop over `Detector.detect`", *_row(wall, cpu, peak, hours)])
    ways = {f"{n} worker{'s' * (n > 1)}": ["--workers", str(n)] for n in (1, 2)}
    if arguments.ray:
        ways["Ray, 2 actors"] = ["--workers", "2", "--ray-address", "local"]
    for name, words in ways.items():
        wall, cpu, peak, _ = _run(
            _batch(manifest, folder / name, "--model", arguments.model, *words)
        )
        row = _row(wall, cpu, peak, hours)
        if "--ray-address" in words:
            row[1:3] = "-", "-"  # Ray reaps its actors in a way that leaves their CPU nowhere
        table.rows.append([name, *row])
    table.name += f", {hours:.2f} h"
    return table


def _memory(arguments: argparse.Namespace, folder: Path) -> Table:
    table = Table("Memory of `vad batch`", ["", "wall s", "driver, MB", "largest worker, MB"])
    if arguments.small:
        short = folder / "short.wav"
        _cut(short, 1.0)
        (folder / "small").mkdir()
        for number in range(arguments.small):
            os.link(short, folder / "small" / f"{number}.wav")
        table.rows.append(
            [
                f"{arguments.small} files of 1 s",
                *_watched(folder, folder / "small", arguments.model),
            ]
        )
    if arguments.long_h:
        long = folder / "long" / "long.wav"
        long.parent.mkdir()
        write_speech(long, arguments.long_h)
        table.rows.append(
            [f"one WAV of {arguments.long_h:g} h", *_watched(folder, long.parent, arguments.model)]
        )
    return table


def _watched(folder: Path, recordings: Path, model: str) -> list[str]:
    """Wall seconds, and the most resident memory of driver and workers, seen 20 times a second."""
    command = _batch(
        recordings, folder / f"{recordings.name}-out", "--workers", "2", "--model", model
    )
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    peaks = {"driver": 0.0, "worker": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            try:
                workers = [int(child) for child in children.read_text().split()]
            except OSError:
                return
            peaks["driver"] = max(peaks["driver"], _resident(process.pid))
            peaks["worker"] = max(peaks["worker"], *map(_resident, workers), 0.0)

    thread = threading.Thread(target=watch)
    thread.start()
    said = process.communicate()[1]
    wall = time.perf_counter() - start
    done.set()
    thread.join()
    if process.returncode:
        raise SystemExit(said)
    return [f"{wall:.0f}", f"{peaks['driver']:.0f}", f"{peaks['worker']:.0f}"]


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _batch(source: Path, output: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "vad.cli", "batch", str(source), "-o", str(output), *words]


def _run(
    command: Sequence[str], environment: dict[str, str] | None = None
) -> tuple[float, float, float, str]:
    """Wall and CPU seconds, the largest process in MB, and standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{command[1:4]} ended with {done.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1e3, done.stdout


def _row(wall: float, cpu: float, peak: float, hours: float) -> list[str]:
    return [f"{wall:.1f}", f"{cpu:.1f}", f"{hours / cpu * 3600:.0f}", f"{peak:.0f}"]


def _cut(path: Path, seconds: float) -> None:
    import soundfile

    audio, rate = soundfile.read(SPEECH, dtype="int16")
    soundfile.write(path, audio[: int(seconds * rate)], rate)


if __name__ == "__main__":
    main()
