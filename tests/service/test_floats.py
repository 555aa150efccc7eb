"""LocalAI's JSON: a list of numbers in, starts and ends out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import SPEECH, SPEECH_WAV, check_problem, pattern, spoken

JSON = {"Content-Type": "application/json"}


def ask(client: TestClient, body: Any, **query: str) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/v1/vad", content=text, headers=JSON, params=query)


def test_the_answer_is_localais_and_that_of_the_file(client: TestClient) -> None:
    body = {"model": "silero-vad", "audio": SPEECH.tolist()}
    answer = ask(client, body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"segments"}
    assert [set(segment) for segment in found["segments"]] == [{"start", "end"}] * 2
    file = client.post("/v1/vad", content=SPEECH_WAV).json()
    assert [(s["start"], s["end"]) for s in found["segments"]] == spoken(file)


def test_parameters_may_stand_beside_the_audio_or_in_the_query(client: TestClient) -> None:
    audio = pattern((0.5, 0), (1, 0.9), (1, 0), rate=8000).tolist()
    body = {"audio": audio, "sample_rate": 8000, "speech_pad_ms": 0, "model": "energy"}
    assert ask(client, body).json() == {"segments": [{"start": 0.5, "end": 1.5}]}
    del body["speech_pad_ms"]
    assert ask(client, body, speech_pad_ms="0").json() == {"segments": [{"start": 0.5, "end": 1.5}]}


@pytest.mark.parametrize("audio", ["[]", "[ ]", "[0]", "[0,1e-3, -1E+0 ,1]", "[1e999, 1e39]"])
def test_any_list_of_numbers_is_audio(client: TestClient, audio: str) -> None:
    answer = ask(client, f'{{"audio":{audio}}}')
    assert (answer.status_code, answer.json()) == (200, {"segments": []})


def test_order_and_white_space_mean_nothing(client: TestClient) -> None:
    body = '{"speech_pad_ms" : 0,\n "audio"\t: [0, 0\n], "model": null}'
    assert ask(client, body).json() == {"segments": []}


@pytest.mark.parametrize(
    ("body", "status", "slug", "param"),
    [
        ("", 400, "malformed-body", None),
        ("{", 400, "malformed-body", None),
        ("[1, 2]", 400, "malformed-body", None),
        ("[" * 50_000, 400, "malformed-body", None),
        ('{"model": "x"}', 422, "invalid-parameter", "audio"),
        ('{"audio": null}', 422, "invalid-parameter", "audio"),
        ('{"audio": "AAAA"}', 422, "invalid-parameter", "audio"),
        ('{"audio": [[1, 2]]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1, null]}', 422, "invalid-parameter", "audio"),
        ('{"audio": ["1"]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [NaN]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1,,2]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1,]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [,]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1 2]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [01]}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1], "audio": [2]}', 422, "invalid-parameter", "audio"),
        ('{"a\\"audio": [1]}', 422, "invalid-parameter", "audio"),
        ('{"x": {"audio": [1]}}', 422, "invalid-parameter", "audio"),
        ('{"audio": [1], "x": 1}', 422, "invalid-parameter", "x"),
        ('{"audio": [1], "threshold": 7}', 422, "invalid-parameter", "threshold"),
        ('{"audio": [1], "threshold": "0.5"}', 422, "invalid-parameter", "threshold"),
        ('{"audio": [1], "model": "whisper"}', 422, "invalid-parameter", "model"),
        ('{"audio": [1], "sample_rate": 1}', 422, "invalid-parameter", "sample_rate"),
        (json.dumps({"audio": [9000] * 99}), 422, "invalid-parameter", "audio"),
    ],
)
def test_what_is_wrong_is_told(
    client: TestClient, body: str, status: int, slug: str, param: str | None
) -> None:
    found = check_problem(ask(client, body), status, slug)
    assert [error.param for error in found.errors or ()] == ([param] if param else [])


@pytest.mark.parametrize("settings", [{"max_json_bytes": 1000}])
def test_a_body_has_its_limit(client: TestClient) -> None:
    body = json.dumps({"audio": [0] * 320})
    assert ask(client, body[:-2].ljust(998) + "]}").status_code == 200
    check_problem(ask(client, body[:-2].ljust(999) + "]}"), 413, "body-too-large")


@settings(max_examples=9, deadline=None)
@given(st.integers(30_000, 40_000))
def test_pieces_make_the_whole(count: int) -> None:
    """However many numbers there are, and wherever a piece ends."""
    import io

    from service.http.floats import _unpack

    audio = io.BytesIO()
    assert _unpack(json.dumps({"audio": [0.5] * count, "x": 1}).encode(), audio) == {"x": 1}
    assert np.array_equal(np.frombuffer(audio.getvalue(), "<f4"), np.full(count, 0.5, "<f4"))
