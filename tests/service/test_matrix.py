"""Each field does what it says in each place, and each format tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import Settings, create_app
from service.fields import FileFields
from service.http.timestamps import SpeachesFields
from vad.formats import FORMATS, MEDIA_TYPES

from .conftest import SPEECH, SPEECH_WAV, EnergyDetector, pcm, rest, wav

STEREO = wav(np.stack([SPEECH, np.zeros_like(SPEECH)], axis=1))
# A value of each field, and what it makes of SPEECH: loud in [1, 2) and [3, 4) s.
FIELDS: dict[str, tuple[str, list[tuple[float, float]]]] = {
    "threshold": ("0.9", [(0.97, 2.03), (2.97, 4.03)]),
    "neg_threshold": ("0.3", [(0.97, 2.03), (2.97, 4.03)]),
    "min_speech_duration_ms": ("2000", []),
    "min_silence_duration_ms": ("1500", [(0.97, 4.5)]),
    "max_speech_duration_s": ("30", [(0.97, 2.03), (2.97, 4.03)]),
    "speech_pad_ms": ("0", [(1, 2), (3, 4)]),
    "start_pad_ms": ("100", [(0.9, 2.03), (2.9, 4.03)]),
    "end_pad_ms": ("-500", [(0.97, 1.5), (2.97, 3.5)]),
    "model": ("energy", [(0.97, 2.03), (2.97, 4.03)]),
}
OTHERS = {"channels", "include", "response_format", "encoding", "sample_rate"}  # further below


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """One for all: nothing here changes it."""
    with TestClient(create_app(Settings(), EnergyDetector())) as client:
        yield client


def test_the_matrix_knows_every_field() -> None:
    assert FIELDS.keys() | OTHERS == FileFields.model_fields.keys()


Send = Callable[[TestClient, dict[str, str]], Any]
PLACES: dict[str, Send] = {
    "form": lambda client, fields: client.post(
        "/v1/vad", files={"file": SPEECH_WAV}, data=fields
    ),
    "query beside a form": lambda client, fields: client.post(
        "/v1/vad", files={"file": SPEECH_WAV}, params=fields
    ),
    "query beside a raw body": lambda client, fields: client.post(
        "/v1/vad", content=SPEECH_WAV, params=fields, headers={"Content-Type": "audio/wav"}
    ),
}  # fmt: skip


def from_json(text: str) -> list[tuple[float, float]]:
    return _speech(json.loads(text)["segments"])


def from_ndjson(text: str) -> list[tuple[float, float]]:
    *segments, summary = map(json.loads, text.splitlines())
    assert summary["type"] == "summary"
    return _speech(segments)


def from_rttm(text: str) -> list[tuple[float, float]]:
    rows = [line.split() for line in text.splitlines()]
    return [(float(row[3]), round(float(row[3]) + float(row[4]), 3)) for row in rows]


def from_clock(text: str) -> list[tuple[float, float]]:
    """SRT and WebVTT."""
    spans = [line.split(" --> ") for line in text.splitlines() if " --> " in line]
    return [(_seconds(start), _seconds(end)) for start, end in spans]


def from_csv(text: str) -> list[tuple[float, float]]:
    head, *rows = [line.split(",") for line in text.splitlines()]
    return _speech([dict(zip(head, row, strict=True)) for row in rows])


def from_textgrid(text: str) -> list[tuple[float, float]]:
    lines = [line.strip() for line in text.splitlines()]
    marked = [i for i, line in enumerate(lines) if line == 'text = "speech"']
    return [
        (float(lines[i - 2].split(" = ")[1]), float(lines[i - 1].split(" = ")[1])) for i in marked
    ]


def from_audacity(text: str) -> list[tuple[float, float]]:
    rows = [line.split("\t") for line in text.splitlines()]
    return [(float(row[0]), float(row[1])) for row in rows if row[2].startswith("speech")]


READERS: dict[str, Callable[[str], list[tuple[float, float]]]] = {
    "json": from_json, "ndjson": from_ndjson, "rttm": from_rttm, "srt": from_clock,
    "vtt": from_clock, "csv": from_csv, "textgrid": from_textgrid, "audacity": from_audacity,
}  # fmt: skip


def _speech(segments: list[Any]) -> list[tuple[float, float]]:
    found = [s for s in segments if s["label"] == "speech"]
    return [(float(s["start"]), float(s["end"])) for s in found]


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)


def test_the_matrix_knows_every_format() -> None:
    assert READERS.keys() == set(FORMATS)


@pytest.mark.parametrize("place", PLACES)
def test_every_field_in_every_place(client: TestClient, place: str) -> None:
    for (name, (value, expected)), format in zip(FIELDS.items(), cycle(READERS), strict=False):
        response = PLACES[place](client, {name: value, "response_format": format})
        assert response.status_code == 200, (name, response.text)
        assert response.headers["Content-Type"].startswith(MEDIA_TYPES[format])
        assert READERS[format](response.text) == expected, name


@pytest.mark.parametrize("format", READERS)
def test_every_format_by_name_and_by_accept(client: TestClient, format: str) -> None:
    ways = ({"params": {"response_format": format}}, {"headers": {"Accept": MEDIA_TYPES[format]}})
    for way in ways:
        response = client.post("/v1/vad", content=SPEECH_WAV, **way)  # type: ignore[arg-type]
        assert response.headers["Content-Type"].startswith(MEDIA_TYPES[format])
        assert READERS[format](response.text) == [(0.97, 2.03), (2.97, 4.03)]


@pytest.mark.parametrize("place", PLACES)
def test_a_bad_value_of_every_field_names_itself(client: TestClient, place: str) -> None:
    for name in FileFields.model_fields:
        response = PLACES[place](client, {name: "~"})
        assert response.status_code == 422, name
        assert name in [error["param"] for error in response.json()["errors"]]


def test_channels(client: TestClient) -> None:
    spans = [(0.97, 2.03), (2.97, 4.03)]
    for channels, expected in (("mix", spans), ("0", spans), ("1", [])):
        fields = {"channels": channels, "threshold": "0.4"}
        response = client.post("/v1/vad", content=STEREO, params=fields)
        assert from_json(response.text) == expected, channels


@pytest.mark.parametrize("format", READERS)
def test_separate_channels_in_every_format(client: TestClient, format: str) -> None:
    fields = {"channels": "separate", "threshold": "0.4", "response_format": format}
    response = client.post("/v1/vad", content=STEREO, params=fields)
    assert response.status_code == 200
    assert {(0.97, 2.03), (2.97, 4.03)} <= set(READERS[format](response.text))


def test_every_encoding(client: TestClient) -> None:
    for encoding in ("pcm_s16le", "pcm_f32le", "mulaw", "alaw"):
        silence = {"mulaw": 0xFF, "alaw": 0xD5}.get(encoding, 0)
        data = pcm(SPEECH) if encoding == "pcm_s16le" else bytes([silence]) * 16_000
        fields = {"encoding": encoding, "sample_rate": "16000"}
        response = client.post("/v1/vad", content=data, params=fields)
        expected = [(0.97, 2.03), (2.97, 4.03)] if encoding == "pcm_s16le" else []
        assert from_json(response.text) == expected, encoding


@pytest.mark.parametrize("place", PLACES)
def test_probabilities_where_they_are_asked_for(client: TestClient, place: str) -> None:
    for format in ("json", "ndjson"):
        fields = {"include": "probabilities", "response_format": format}
        last = PLACES[place](client, fields).text.splitlines()[-1]
        assert len(json.loads(last)["frames"]["probabilities"]) == 450


def test_every_threshold_on_the_stream(client: TestClient) -> None:
    for name, (value, expected) in FIELDS.items():
        with client.websocket_connect(f"/v1/vad/stream?{name}={value}") as stream:
            stream.send_bytes(pcm(SPEECH))
            stream.send_json({"type": "end"})
            messages, _ = rest(stream)
        stops = [m for m in messages if m["type"] == "speech_stopped"]
        found = [(m["audio_start_ms"] / 1000, m["audio_end_ms"] / 1000) for m in stops]
        assert found == expected, name


# Its preset bridges the silences of SPEECH; the last, of half a second, ends nothing.
DROP_IN: dict[str, tuple[str, list[tuple[int, int]]]] = {
    "threshold": ("0.9", [(1000, 4500)]),
    "neg_threshold": ("0.7", [(1000, 4500)]),
    "min_speech_duration_ms": ("4000", []),
    "min_silence_duration_ms": ("500", [(1000, 2000), (3000, 4500)]),
    "max_speech_duration_s": ("30", [(1000, 4500)]),
    "speech_pad_ms": ("100", [(900, 4500)]),
    "start_pad_ms": ("200", [(800, 4500)]),
    "end_pad_ms": ("-500", [(1000, 4000)]),
    "model": ("energy", [(1000, 4500)]),
}


def test_every_field_of_the_drop_in(client: TestClient) -> None:
    assert DROP_IN.keys() == SpeachesFields.model_fields.keys()
    for (name, (value, expected)), place in product(DROP_IN.items(), ("data", "params")):
        options: dict[str, Any] = {place: {name: value}}
        response = client.post(
            "/v1/audio/speech/timestamps", files={"file": SPEECH_WAV}, **options
        )  # fmt: skip
        assert response.status_code == 200, (name, response.text)
        assert [(item["start"], item["end"]) for item in response.json()] == expected, name
