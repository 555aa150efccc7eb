"""Runs of `vad batch`, for its tests."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from vad.cli.main import main

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]


def rows(output: Path) -> list[Row]:
    """All rows of a run's Parquet files."""
    import pyarrow.parquet as pq

    files = sorted(output.glob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def batch(*words: object) -> tuple[int, str]:
    """`vad batch`: exit code and standard error. Its workers are processes of their own."""
    out, said = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(said),
    ):
        patch.setattr("sys.argv", ["vad", "batch", *map(str, words)])
        try:
            main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
    assert out.getvalue() == ""
    assert isinstance(code, int) or code is None
    return code or 0, said.getvalue()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "vad.cli", "batch", *map(str, words)]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", **variables}


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it is so, while the process lives."""
    until = time.monotonic() + 240
    while not what():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] == "Z"
    except OSError:
        return True
