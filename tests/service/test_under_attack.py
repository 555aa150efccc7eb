"""A SIGTERM amid an attack: all ends in time, and an innocent stream gets its stop.

The attacks are the benchmark's. A few are run each time, each for what it holds on to; `-m slow`
runs them all.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from .conftest import PATIENCE_S, messages, running
from .test_server import start_speech

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from attacks import ATTACKS

GRACE_S, BUSY_S = 1, 5  # the latter is what a busy machine takes
EACH_TIME = (
    "pipelined",
    "ping-floods",
    "flush-floods",
    "audio-floods",
    "deaf-streams",
    "slow-bodies",
    "reconnects",
    "requests-at-once",
)


@pytest.mark.skipif(sys.platform != "linux", reason="attackers need an address of their own")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in EACH_TIME else pytest.mark.slow) for n in ATTACKS]
)
def test_sigterm_amid_an_attack(name: str) -> None:
    def attack() -> None:
        with suppress(OSError, httpx.HTTPError):
            ATTACKS[name](port, time.monotonic() + 1.5)

    with running(shutdown_grace_s=GRACE_S) as (server, port):
        thread = threading.Thread(target=attack)
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream", close_timeout=PATIENCE_S) as client:
            start_speech(client)
            thread.start()
            time.sleep(0.7)
            asked = time.monotonic()
            server.handle_exit(signal.SIGTERM, None)
            found, code = messages(client)
    took = time.monotonic() - asked
    thread.join(PATIENCE_S)
    assert [m["type"] for m in found] == ["speech_stopped", "error", "session.closed"]
    assert (found[0]["reason"], code) == ("shutdown", 1012)
    assert took < GRACE_S + 5 + BUSY_S
