"""The drop-in for speaches' route: its form, its defaults, its bare answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import Settings, create_app
from vad import Detector
from vad.config import PRESETS

from .conftest import SPEECH, SPEECH_WAV, check_problem, pattern, pcm, running, spoken, upload, wav

ROUTE = "/v1/audio/speech/timestamps"
# Loud in [1, 2) and [3, 4) s; then enough silence for its default of 1000 ms.
TALK = np.concatenate([SPEECH, np.zeros(16_000, np.float32)])
TALK_WAV = wav(TALK)


def ask(client: TestClient, data: bytes = TALK_WAV, **fields: Any) -> Any:
    response = client.post(ROUTE, files={"file": ("a.wav", data, "audio/wav")}, data=fields)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer_is_a_bare_list_of_milliseconds(client: TestClient) -> None:
    assert ask(client) == [{"start": 1000, "end": 4000}]  # 1000 ms of silence don't separate
    assert ask(client, wav(pattern((1, 0)))) == []


def test_its_fields(client: TestClient) -> None:
    assert ask(client, min_silence_duration_ms=500) == [
        {"start": 1000, "end": 2000}, {"start": 3000, "end": 4000}
    ]  # fmt: skip
    assert ask(client, speech_pad_ms=200) == [{"start": 800, "end": 4200}]
    assert ask(client, min_speech_duration_ms=5000) == []
    parts = ask(client, max_speech_duration_s=1.5)
    assert len(parts) > 1
    assert max(part["end"] - part["start"] for part in parts) <= 1500


def test_its_thresholds(client: TestClient) -> None:
    # Probabilities of .7: speech for most, not for speaches' default of .75.
    murmur = wav(pattern((1, 0), (1, 0.35), (1.2, 0)))
    assert ask(client, murmur) == []
    assert ask(client, murmur, threshold=0.65, neg_threshold=0.1) == [{"start": 1000, "end": 2000}]


@pytest.mark.parametrize("unlimited", ["inf", "Infinity", "1e9", "86400"])
def test_no_bound_is_one_that_no_file_reaches(client: TestClient, unlimited: str) -> None:
    assert ask(client, max_speech_duration_s=unlimited) == ask(client)


@pytest.mark.parametrize("model", ["silero_vad_v5", "silero_vad_v6", "energy"])
def test_the_names_its_clients_know(client: TestClient, model: str) -> None:
    assert ask(client, model=model) == ask(client)


@pytest.mark.parametrize("media_type", ["audio/pcm", "audio/raw"])
def test_headerless_audio_by_its_type(client: TestClient, media_type: str) -> None:
    files = {"file": ("a", pcm(TALK), media_type)}
    assert client.post(ROUTE, files=files).json() == ask(client)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"threshold": "2"}, "threshold"),
        ({"threshold": "high"}, "threshold"),
        ({"model": "whisper-1"}, "model"),
        ({"max_speech_duration_s": "long"}, "max_speech_duration_s"),
        ({"response_format": "srt"}, "response_format"),
    ],
)
def test_a_bad_field_names_itself(client: TestClient, fields: Any, param: str) -> None:
    for place in ("data", "params"):
        options: dict[str, Any] = {place: fields}
        response = client.post(ROUTE, files={"file": SPEECH_WAV}, **options)
        problem = check_problem(response, 422, "invalid-parameter")
        assert [error.param for error in problem.errors or ()] == [param]


def test_one_file_in_a_form(client: TestClient) -> None:
    response = client.post(ROUTE, files=upload(SPEECH_WAV, SPEECH_WAV))
    problem = check_problem(response, 422, "invalid-parameter")
    assert [error.param for error in problem.errors or ()] == ["file"]
    check_problem(client.post(ROUTE, content=SPEECH_WAV), 415, "unsupported-media")
    check_problem(client.post(ROUTE, files={"file": b"text"}), 400, "undecodable-audio")


def test_its_documented_request_works_on_a_real_server(tmp_path: Path) -> None:
    """As in speaches' own docs: httpx, a file, no other field."""
    path = tmp_path / "audio.wav"
    path.write_bytes(TALK_WAV)
    with running() as (_, port), path.open("rb") as file:
        url = f"http://127.0.0.1:{port}{ROUTE}"
        found = httpx.post(url, files={"file": file}, timeout=60).json()
    assert found == [{"start": 1000, "end": 4000}]


def test_it_is_the_file_route_with_the_preset(data_dir: Path, real_detector: Detector) -> None:
    data = (data_dir / "speech.wav").read_bytes()
    preset = {k: v for k, v in vars(PRESETS["speaches"]).items() if v is not None}
    with TestClient(create_app(Settings(), real_detector)) as client:
        expected = spoken(client.post("/v1/vad", content=data, params=preset).json())
        found = ask(client, data)
    assert expected
    assert [(item["start"] / 1000, item["end"] / 1000) for item in found] == expected
