"""The parent of worker processes, with workers that are quick to start."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs

from service import Settings, supervisor
from service.metrics import SHARED_DIR
from service.supervisor import STARTUP_FAILURE, Supervisor

# Spawned processes import it by name: a test's own functions they could not.
WORKERS = """
import os, signal, sys, time
from pathlib import Path

def note(settings):
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(settings.shared_dir)
    (settings.shared_dir.parent / f"pid-{os.getpid()}").touch()

def good(settings, listener):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note(settings)
    time.sleep(600)

def deaf(settings, listener):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(settings)
    time.sleep(600)

def broken(settings, listener):
    note(settings)
    sys.exit(3)

def mortal(settings, listener):
    note(settings)
    if len(list(settings.shared_dir.parent.glob("pid-*"))) < 3:
        os._exit(9)
    good(settings, listener)
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "workers_of_a_test.py").write_text(WORKERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "workers_of_a_test", raising=False)
    return importlib.import_module("workers_of_a_test")


def run(
    work: Any,
    folder: Path,
    ask_when: Callable[[], bool] | None,
    asks: tuple[signal.Signals, ...] = (signal.SIGTERM,),
    grace_s: float = 120,
) -> int:
    """The exit code; the signals come once something holds."""
    settings = Settings(workers=2, shutdown_grace_s=grace_s, shared_dir=folder)

    def ask() -> None:
        while ask_when is not None and not ask_when():
            time.sleep(0.05)
        for kind in asks:
            os.kill(os.getpid(), kind)
            time.sleep(0.2)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        if ask_when is not None:
            threading.Thread(target=ask, daemon=True).start()
        return Supervisor(settings, work, listener).run()


def started(folder: Path, number: int) -> Callable[[], bool]:
    return lambda: len(list(folder.glob("pid-*"))) == number


def test_an_orderly_end(workers: ModuleType, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run(workers.good, tmp_path, started(tmp_path, 2)) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert SHARED_DIR not in os.environ
    assert not list(tmp_path.glob("convad-*"))  # what they shared is gone


def test_a_worker_that_dies_is_replaced(
    workers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESPAWN_S", 0.01)
    with capture_logs() as logs:
        assert run(workers.mortal, tmp_path, started(tmp_path, 4)) == 0
    died = [record for record in logs if record["event"] == "worker_died"]
    assert [record["exit_code"] for record in died] == [9, 9]


def test_workers_that_cannot_start_end_it_all(workers: ModuleType, tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert run(workers.broken, tmp_path, None) == 1
    codes = [record["exit_code"] for record in logs if record["event"] == "worker_died"]
    assert codes == [STARTUP_FAILURE]


def test_who_does_not_end_in_time_is_killed(
    workers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLACK_S", 0.5)
    with capture_logs() as logs:
        assert run(workers.deaf, tmp_path, started(tmp_path, 2), grace_s=0.5) == 1
    assert [r["event"] for r in logs].count("worker_killed") == 2


def test_who_dies_while_being_counted_is_not_waited_for(
    workers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = supervisor._alive

    def dying(processes: Any) -> Any:
        found = count(processes)
        for process in found:
            process.kill()
            process.join()
        return found

    monkeypatch.setattr(supervisor, "_alive", dying)
    monkeypatch.setattr(supervisor, "SLACK_S", 600)
    asked = time.monotonic()
    assert run(workers.deaf, tmp_path, started(tmp_path, 2), grace_s=0.5) == 1
    assert time.monotonic() - asked < 200


def test_a_second_signal_waits_for_nobody(
    workers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SLACK_S", 600)
    asked = time.monotonic()
    asks = (signal.SIGTERM, signal.SIGINT)
    assert run(workers.deaf, tmp_path, started(tmp_path, 2), asks) == 1
    assert time.monotonic() - asked < 200


def test_what_a_killed_supervisor_left_is_swept(tmp_path: Path) -> None:
    gone, alive, other = (
        tmp_path / name for name in (f"convad-{2**22 + 1}-x", f"convad-{os.getpid()}-x", "convad-x")
    )
    for folder in (gone, alive, other):
        folder.mkdir()
        (folder / "streams.places").touch()
    supervisor._sweep(tmp_path)
    assert [folder.exists() for folder in (gone, alive, other)] == [False, True, True]
