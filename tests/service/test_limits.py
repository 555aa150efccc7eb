"""Places, alone and among processes; the limits of requests and streams, each at its boundary."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.errors import KeyStreamsTaken, TooManyStreams
from service.limits import Places, Quota, Ticket

from .conftest import (
    PATIENCE_S,
    SPEECH_WAV,
    EnergyDetector,
    EnergyEngine,
    check_problem,
    rest,
    until,
)

ROUTE = "/v1/vad/stream"
ALPHA, BETA = ({"Authorization": f"Bearer {key}"} for key in ("alpha-key", "beta-key"))
OTHER_PROCESS = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[2]))
    print("taken", flush=True)
except OSError:
    print("refused", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(file: Path, place: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that takes a place, and what came of it; it is killed in the end."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(file), str(place)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_place_that_another_process_holds_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "places"
    places = Places(2, file)
    with other_process(file, 0) as (process, outcome):
        assert outcome == "taken"
        assert (places.take(), places.take()) == (1, None)
        process.kill()
        process.wait(PATIENCE_S)
        assert places.take() == 0  # whoever dies gives back
    with other_process(file, 1) as (_, outcome):
        assert outcome == "refused"
    places.give_back(1)
    with other_process(file, 1) as (_, outcome):
        assert outcome == "taken"


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=30))
def test_no_more_places_than_there_are(limit: int, steps: list[bool]) -> None:
    places, held = Places(limit), set[int]()
    for take in steps:
        if take:
            place = places.take()
            assert (place is None) == (len(held) == limit)
            if place is not None:
                assert place not in held
                held.add(place)
        elif held:
            places.give_back(held.pop())
        assert places.taken == len(held)


def test_a_key_has_its_own_limit_within_that_of_all() -> None:
    quota = Quota(
        "streams", 3, per_key=2, keys=2, full=TooManyStreams, key_full=KeyStreamsTaken
    )  # fmt: skip
    first, _ = quota.take(0), quota.take(0)
    with pytest.raises(KeyStreamsTaken, match="2 streams"):
        quota.take(0)
    held: Ticket = quota.take(1)
    with pytest.raises(TooManyStreams, match="all 3"):
        quota.take(1)
    first.give_back()
    quota.take(1)  # what was refused above has left nothing behind
    held.give_back()
    quota.take(0)


class Gate(EnergyEngine):
    """An engine that lets nothing through before it is opened, once it is warm."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def push(self, session: Any, audio: Any) -> Any:
        if self.calls >= 2:
            self.open.wait(PATIENCE_S)
        return super().push(session, audio)


def busy(client: TestClient, number: int, headers: dict[str, str] | None = None) -> list[Any]:
    """Requests in flight, each in a thread; their statuses once they are done."""
    done: list[Any] = []

    def post() -> None:
        done.append(client.post("/v1/vad", content=SPEECH_WAV, headers=headers).status_code)

    for _ in range(number):
        threading.Thread(target=post, daemon=True).start()
    return done


def open_requests(client: TestClient) -> float:
    value = client.app.state.service.metrics.registry.get_sample_value(  # type: ignore[attr-defined]
        "convad_open_requests"
    )
    return float(value)


@pytest.mark.parametrize("settings", [{"max_requests": 2}])
@pytest.mark.parametrize("detector", [EnergyDetector(Gate())])
def test_request_limit(client: TestClient, detector: EnergyDetector) -> None:
    gate: Any = detector.engine
    done = busy(client, 2)
    until(lambda: open_requests(client) == 2)
    refused = client.post("/v1/vad", content=SPEECH_WAV)
    check_problem(refused, 503, "too-many-requests")
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get("/healthz/ready").status_code == 200  # no work, no place
    gate.open.set()
    until(lambda: done == [200, 200])
    until(lambda: open_requests(client) == 0)
    assert client.post("/v1/vad", content=SPEECH_WAV).status_code == 200


@pytest.mark.parametrize(
    "settings", [{"max_requests_per_key": 1, "api_keys": "alpha-key,beta-key"}]
)
@pytest.mark.parametrize("detector", [EnergyDetector(Gate())])
def test_request_limit_of_a_key(client: TestClient, detector: EnergyDetector) -> None:
    gate: Any = detector.engine
    done = busy(client, 1, ALPHA)
    until(lambda: open_requests(client) == 1)
    refused = client.post("/v1/vad", content=SPEECH_WAV, headers=ALPHA)
    check_problem(refused, 429, "too-many-requests-of-key")
    assert int(refused.headers["Retry-After"]) > 0
    done_too = busy(client, 1, BETA)
    until(lambda: open_requests(client) == 2)
    gate.open.set()
    until(lambda: (done, done_too) == ([200], [200]))


@pytest.mark.parametrize("settings", [{"max_requests": 1}])
def test_a_place_is_held_until_the_last_line(client: TestClient) -> None:
    with client.stream("POST", "/v1/vad?response_format=ndjson", content=SPEECH_WAV) as answer:
        assert answer.status_code == 200
        answer.read()
    until(lambda: open_requests(client) == 0)
    assert client.post("/v1/vad", content=b"nothing").status_code == 400
    assert client.post("/v1/vad", content=SPEECH_WAV).status_code == 200


KEYS = "alpha-key,beta-key"


@pytest.mark.parametrize("settings", [{"max_streams_per_key": 2, "api_keys": KEYS}])
def test_stream_limit_of_a_key(client: TestClient) -> None:
    with ExitStack() as stack:
        for headers in (ALPHA, ALPHA, BETA):
            socket = stack.enter_context(client.websocket_connect(ROUTE, headers=headers))
            assert socket.receive_json()["type"] == "session.created"
        with client.websocket_connect(ROUTE, headers=ALPHA) as socket:
            [error], code = rest(socket)
        assert (error["code"], code) == ("too-many-streams-of-key", 1013)
        with client.websocket_connect(ROUTE) as socket:
            socket.send_json({"type": "auth", "token": "alpha-key"})
            [error], code = rest(socket)
        assert (error["code"], code) == ("too-many-streams-of-key", 1013)


def test_without_keys_no_address_takes_all_places(tmp_path: Path) -> None:
    def quota() -> Quota:
        return Quota(
            "streams", 10, full=TooManyStreams, key_full=KeyStreamsTaken, shared_dir=tmp_path
        )

    mine = quota()
    held = [mine.take(None, "10.0.0.1") for _ in range(9)]
    with pytest.raises(KeyStreamsTaken, match="your address may have 9"):
        mine.take(None, "10.0.0.1")
    mine.take(None, "10.0.0.2").give_back()
    held.pop().give_back()
    held.append(mine.take(None, "10.0.0.1"))
    assert mine.take(None, None)  # whose address is unknown has no share
