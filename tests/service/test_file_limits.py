"""The limits of `POST /v1/vad`, each at its boundary."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from .conftest import SPEECH, SPEECH_WAV, check_problem, lines, upload, wav


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
