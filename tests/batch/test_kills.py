"""Runs whose processes are killed at any moment: nothing is lost, nothing is there twice."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vad.batch import Recording, Work, processes
from vad.batch.work import empty_row
from vad.errors import VadError

from .batch_kit import batch, environment, gone, place, rows, wait_for

FILES = 160

# The command, but with a file of rows every moment, so that a test needn't last.
HASTY = """
import vad.batch.sink
from vad.cli.main import main
vad.batch.sink.FLUSH_S = (0.05, 0.05)
main()
"""


@pytest.fixture
def many(tmp_path: Path, data_dir: Path) -> Path:
    for number in range(FILES):
        place(data_dir / "speech-8k-mulaw.wav", tmp_path / "in" / f"{number}.wav")
    return tmp_path / "in"


def words(many: Path) -> list[str]:
    return ["batch", str(many), "-o", str(many.parent / "out"), "--model", "convad-tiny"]


def started(many: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HASTY, *words(many), "--workers", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("children of a process are listed on Linux only")
    found = []
    for child in map(int, children.read_text().split()):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(child)
    return found


def check_whole(many: Path) -> None:
    found = rows(many.parent / "out")
    assert len(found) == len({row["uri"] for row in found}) == FILES
    assert {row["status"] for row in found} == {"ok"}


def test_a_killed_worker_costs_nothing(many: Path) -> None:
    process = started(many)
    out = many.parent / "out"
    killed = 0
    for at_least in (2, 10, 20):
        wait_for(lambda n=at_least: len(rows(out)) >= n, process)  # type: ignore[misc]
        os.kill(workers_of(process)[0], signal.SIGKILL)
        killed += 1
    said = process.communicate(timeout=240)[1]
    assert process.returncode == 0, said
    assert killed == 3
    check_whole(many)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_goes_on(many: Path, how: signal.Signals) -> None:
    process = started(many)
    out = many.parent / "out"
    wait_for(lambda: len(rows(out)) >= 5, process)
    workers = workers_of(process)
    os.kill(process.pid, how)
    said = process.communicate(timeout=240)[1]
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "interrupted; " in said
        assert len(said.splitlines()) == 1
    until = time.monotonic() + 30
    while not all(map(gone, workers)):  # none goes on by itself
        assert time.monotonic() < until
        time.sleep(0.05)
    finished = {row["uri"]: row for row in rows(out)}
    assert 5 <= len(finished) < FILES
    code, said = batch(*words(many)[1:], "--workers", 1)
    assert code == 0, said
    assert f"{FILES - len(finished)} files in" in said
    assert f"{len(finished)} were done before" in said
    check_whole(many)
    assert {row["uri"]: row for row in rows(out) if row["uri"] in finished} == finished
    assert not list(out.glob(".*"))


class Deadly:
    """A worker that some files kill."""

    def __init__(self, at_start: bool = False) -> None:
        if at_start:
            os.kill(os.getpid(), signal.SIGKILL)

    def row(self, recording: Recording) -> dict[str, object]:
        if recording.uri.startswith("deadly"):
            os.kill(os.getpid(), signal.SIGSEGV if "segv" in recording.uri else signal.SIGKILL)
        if recording.uri == "mistake":
            raise VadError("the disk is full")
        return {**empty_row(recording, Work(), "", "x"), "status": "ok"}


def run(*uris: str, at_start: bool = False) -> dict[str, dict[str, object]]:
    make = functools.partial(Deadly, at_start)
    given = [Recording(uri) for uri in uris]
    found = list(processes.run(make, given, 2, lambda r: empty_row(r, Work(), "", "")))
    assert len(found) == len(uris)
    return {row["uri"]: row for row in found}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the class above by its module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def test_files_that_kill_get_rows_that_say_so() -> None:
    found = run("1", "deadly", "2", "deadly segv", "3", "4")
    assert {uri for uri, row in found.items() if row["status"] == "ok"} == {"1", "2", "3", "4"}
    assert found["deadly"]["error_type"] == "WorkerDied"
    assert "SIGKILL: is memory short?" in str(found["deadly"]["error"])
    assert "SIGSEGV" in str(found["deadly segv"]["error"])


def test_workers_that_can_not_begin_end_the_run() -> None:
    with pytest.raises(VadError, match="workers end before they can begin"):
        run("1", "2", at_start=True)


def test_what_concerns_every_file_ends_the_run() -> None:
    with pytest.raises(VadError, match="the disk is full"):
        run("1", "mistake", "2")
