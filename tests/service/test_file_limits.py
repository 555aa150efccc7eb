"""The limits of `POST /v1/vad`, each at its boundary."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.datastructures import UploadFile

from service.files.workers import Cancellation

from .conftest import SPEECH, SPEECH_WAV, check_problem, lines, until, upload, wav


@pytest.mark.parametrize("settings", [{"max_body_bytes": len(SPEECH_WAV)}])
def test_body_limit(client: TestClient) -> None:
    assert client.post("/v1/vad", content=SPEECH_WAV).status_code == 200
    response = client.post("/v1/vad", content=SPEECH_WAV + b"\0")
    check_problem(response, 413, "body-too-large")


@pytest.mark.parametrize("settings", [{"max_body_bytes": 1000}])
def test_body_limit_holds_without_a_declared_length(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 100
            yield bytes(100)

    check_problem(client.post("/v1/vad", content=endless()), 413, "body-too-large")


@pytest.mark.parametrize("settings", [{"max_body_bytes": 1000}])
def test_body_limit_holds_for_a_form(client: TestClient) -> None:
    check_problem(client.post("/v1/vad", files=upload(SPEECH_WAV)), 413, "body-too-large")


@pytest.mark.parametrize("settings", [{"max_audio_s": 4.5}])
def test_duration_limit(client: TestClient) -> None:
    assert client.post("/v1/vad", content=SPEECH_WAV).status_code == 200
    longer = wav(np.concatenate([SPEECH, np.zeros(1, np.float32)]))
    check_problem(client.post("/v1/vad", content=longer), 413, "audio-too-long")
    *_, last = lines(client.post("/v1/vad?response_format=ndjson", content=longer))
    assert last["problem"]["status"] == 413


@pytest.mark.parametrize("settings", [{"max_files": 2}])
def test_file_limit(client: TestClient) -> None:
    assert client.post("/v1/vad", files=upload(*[SPEECH_WAV] * 2)).status_code == 200
    response = client.post("/v1/vad", files=upload(*[SPEECH_WAV] * 3))
    check_problem(response, 413, "too-many-files")
    response = client.post("/v1/vad", files=upload(*[SPEECH_WAV] * 4))
    check_problem(response, 413, "too-many-files")


@pytest.mark.parametrize("settings", [{"max_channels": 2}])
def test_channel_limit(client: TestClient) -> None:
    assert client.post("/v1/vad", content=wav(np.zeros((100, 2), np.float32))).status_code == 200
    response = client.post("/v1/vad", content=wav(np.zeros((100, 3), np.float32)))
    check_problem(response, 415, "unsupported-audio")


@pytest.mark.parametrize("settings", [{"max_probabilities": 450}])
def test_probabilities_of_an_answer_are_bounded(client: TestClient) -> None:
    def ask(*files: bytes, **query: str) -> Any:
        return client.post("/v1/vad", files=upload(*files), params=query)

    assert len(ask(SPEECH_WAV, include="probabilities").json()["frames"]["probabilities"]) == 450
    assert ask(SPEECH_WAV, SPEECH_WAV).status_code == 200  # without any there is no limit
    first, second = ask(SPEECH_WAV, SPEECH_WAV, include="probabilities").json()["results"]
    assert len(first["frames"]["probabilities"]) == 450
    assert (second["status"], second["type"][-14:]) == (413, "audio-too-long")
    stereo = wav(np.stack([SPEECH, SPEECH], 1))
    check_problem(ask(stereo, include="probabilities", channels="separate"), 413, "audio-too-long")
    assert ask(stereo, include="probabilities").status_code == 200


def test_no_room_on_disk_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(self: UploadFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device: /tmp/secret")

    monkeypatch.setattr(UploadFile, "write", full)
    response = client.post("/v1/vad", content=SPEECH_WAV)
    assert "secret" not in check_problem(response, 507, "storage-full").detail


@pytest.mark.parametrize("settings", [{"body_idle_s": 0.3, "min_body_bytes_per_s": 10_000}])
def test_a_body_that_trickles_is_given_up(client: TestClient) -> None:
    def trickle() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield bytes(10)

    problem = check_problem(client.post("/v1/vad", content=trickle()), 408, "body-too-slow")
    assert "10000 bytes a second" in problem.detail


@pytest.mark.parametrize("settings", [{"max_body_s": 0.3}])
def test_a_body_has_so_much_time_in_all(client: TestClient) -> None:
    def steady() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield bytes(10_000)

    check_problem(client.post("/v1/vad", content=steady()), 408, "body-too-slow")


@pytest.mark.parametrize("settings", [{"file_workers": 1, "max_waiting_files": 0}])
def test_more_files_than_may_wait_are_turned_away(app: FastAPI, client: TestClient) -> None:
    service, release = app.state.service, threading.Event()
    assert client.portal is not None
    client.portal.start_task_soon(service.files.run, Cancellation(), release.wait)
    until(lambda: len(service.files._under_way) == 1)
    response = client.post("/v1/vad", content=SPEECH_WAV)
    check_problem(response, 503, "too-many-requests")
    assert response.headers["Retry-After"] == "5"
    release.set()
    until(lambda: not service.files._under_way)
    assert client.post("/v1/vad", content=SPEECH_WAV).status_code == 200


def test_more_fields_than_any_request_needs_are_refused_at_once(client: TestClient) -> None:
    started = time.perf_counter()
    query = "&".join(["include"] * 8000)
    check_problem(client.post(f"/v1/vad?{query}", content=SPEECH_WAV), 422, "invalid-parameter")
    form = {f"f{i}": "1" for i in range(90)}
    problem = check_problem(
        client.post("/v1/vad", files=upload(SPEECH_WAV), data=form), 422, "invalid-parameter"
    )
    assert problem.errors is not None
    assert len(problem.errors) == 10
    assert time.perf_counter() - started < 5
