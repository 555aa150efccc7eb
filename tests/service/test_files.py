from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import Settings, create_app
from service.http.schemas import Batch, Detection
from service.problems import Problem
from vad import Detector, Segmentation
from vad.formats import FORMATS, MEDIA_TYPES, render

from .conftest import (
    SPEECH,
    SPEECH_WAV,
    EnergyDetector,
    EnergyEngine,
    check_problem,
    lines,
    pattern,
    pcm,
    spoken,
    upload,
    wav,
)

FOUND = [(0.97, 2.03), (2.97, 4.03)]


@pytest.mark.parametrize("media_type", ["audio/wav", "application/octet-stream", "video/mp4"])
def test_raw_body(client: TestClient, media_type: str) -> None:
    response = client.post("/v1/vad", content=SPEECH_WAV, headers={"Content-Type": media_type})
    assert response.status_code == 200
    answer = Detection.model_validate(response.json(), extra="forbid")
    assert answer.id.startswith("vad_")
    assert (answer.model, answer.duration) == ("energy", 4.5)
    assert answer.source is not None
    assert answer.source.container == "wav"
    assert answer.params.neg_threshold == 0.35
    assert answer.frames is None
    assert answer.timing.decode_ms > 0
    assert spoken(response.json()) == FOUND


def test_segments_tile_the_file(client: TestClient) -> None:
    segments = client.post("/v1/vad", files=upload(SPEECH_WAV)).json()["segments"]
    assert segments[0]["start"] == 0
    assert segments[-1]["end"] == 4.5
    assert all(a["end"] == b["start"] for a, b in pairwise(segments))


def test_fields_come_by_form_and_query(client: TestClient) -> None:
    response = client.post(
        "/v1/vad?min_silence_duration_ms=1500",
        files=upload(SPEECH_WAV),
        data={"speech_pad_ms": "0", "include": "probabilities", "model": "energy"},
    )
    answer = response.json()
    assert spoken(answer) == [(1.0, 4.5)]
    assert answer["params"]["min_silence_duration_ms"] == 1500
    assert answer["frames"]["hop_ms"] == 10
    assert len(answer["frames"]["probabilities"]) == 450
    assert answer["frames"]["probabilities"][150] == 1.0


def test_a_field_in_both_places_is_refused(client: TestClient) -> None:
    data = {"threshold": "0.5"}
    response = client.post("/v1/vad?threshold=0.5", files=upload(SPEECH_WAV), data=data)
    found = check_problem(response, 422, "invalid-parameter")
    assert [error.param for error in found.errors or ()] == ["threshold"]


def test_separate_channels(client: TestClient) -> None:
    stereo = np.stack([SPEECH, np.zeros_like(SPEECH)], axis=1)
    query = "channels=separate&include=probabilities"
    answer = client.post(f"/v1/vad?{query}", content=wav(stereo)).json()
    assert {s["channel"] for s in answer["segments"]} == {0, 1}
    assert len(answer["frames"]["probabilities"]) == 2
    one = client.post("/v1/vad?channels=1", content=wav(stereo)).json()
    assert spoken(one) == []


def test_headerless_pcm(client: TestClient) -> None:
    query = "encoding=pcm_s16le&sample_rate=16000"
    answer = client.post(f"/v1/vad?{query}", content=pcm(SPEECH)).json()
    assert spoken(answer) == FOUND


def test_batch_keeps_order_and_reports_the_failed_one(client: TestClient) -> None:
    response = client.post("/v1/vad", files=upload(SPEECH_WAV, b"no audio at all", SPEECH_WAV))
    assert response.status_code == 200
    batch = Batch.model_validate(response.json(), extra="forbid")
    first, failed, last = batch.results
    assert isinstance(first, Detection)
    assert isinstance(failed, Problem)
    assert isinstance(last, Detection)
    assert failed.status == 400
    assert "1.wav" in failed.detail
    assert first.id != last.id


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in ("json", "ndjson")])
def test_text_formats_are_the_librarys(client: TestClient, format: str) -> None:
    result = EnergyDetector().detect(SPEECH, 16_000, segmentation=Segmentation())
    response = client.post(f"/v1/vad?response_format={format}", files=upload(SPEECH_WAV))
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(MEDIA_TYPES[format])
    assert response.text == render(replace(result, name="0.wav"), format)
    accepted = client.post(
        "/v1/vad", files=upload(SPEECH_WAV), headers={"Accept": MEDIA_TYPES[format]}
    )
    assert accepted.text == response.text


def test_a_batch_as_text_names_each_file(client: TestClient) -> None:
    response = client.post("/v1/vad?response_format=rttm", files=upload(SPEECH_WAV, SPEECH_WAV))
    names = [line.split()[1] for line in response.text.splitlines()]
    assert names == ["0", "0", "1", "1"]


def test_a_batch_as_text_fails_as_a_whole(client: TestClient) -> None:
    response = client.post("/v1/vad?response_format=rttm", files=upload(SPEECH_WAV, b"junk"))
    assert "1.wav" in check_problem(response, 400, "undecodable-audio").detail


def test_ndjson_ends_in_a_summary(client: TestClient) -> None:
    whole = client.post("/v1/vad", content=SPEECH_WAV).json()
    *segments, summary = lines(client.post("/v1/vad?response_format=ndjson", content=SPEECH_WAV))
    assert segments == [{"type": "segment"} | segment for segment in whole["segments"]]
    assert summary["type"] == "summary"
    assert summary.keys() == (whole.keys() | {"type"}) - {"segments"}
    assert summary["speech_ratio"] == whole["speech_ratio"]


def test_ndjson_of_a_batch_goes_on_after_a_failure(client: TestClient) -> None:
    files = upload(SPEECH_WAV, b"junk", SPEECH_WAV)
    found = lines(client.post("/v1/vad?response_format=ndjson", files=files))
    ends = [(line["type"], line["file"]) for line in found if line["type"] != "segment"]
    assert ends == [("summary", "0.wav"), ("error", "1.wav"), ("summary", "2.wav")]


def test_ndjson_of_a_single_bad_file_has_its_status(client: TestClient) -> None:
    response = client.post("/v1/vad?response_format=ndjson", content=b"junk")
    check_problem(response, 400, "undecodable-audio")


@pytest.mark.parametrize("detector", [EnergyDetector(EnergyEngine(fails_at=48_000))])
def test_ndjson_tells_of_a_late_failure_in_its_last_line(client: TestClient) -> None:
    *segments, last = lines(client.post("/v1/vad?response_format=ndjson", content=SPEECH_WAV))
    assert [line["type"] for line in segments] == ["segment", "segment"]
    assert last["type"] == "error"
    assert last["problem"]["status"] == 500
    assert "secret" not in json.dumps(last)


@pytest.mark.parametrize("detector", [EnergyDetector(EnergyEngine(fails_at=48_000))])
def test_a_fault_in_the_engine_is_a_500_without_details(client: TestClient) -> None:
    response = client.post("/v1/vad", content=SPEECH_WAV)
    check_problem(response, 500, "internal")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("body", "media_type", "status", "slug"),
    [
        (b"", "audio/wav", 400, "undecodable-audio"),
        (b"junk", "audio/wav", 400, "undecodable-audio"),
        (SPEECH_WAV[:30], "audio/wav", 400, "undecodable-audio"),
        (b"{}", "text/plain", 415, "unsupported-media"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported-media"),
        (b"x", "multipart/form-data", 400, "malformed-body"),
        (b"x", "multipart/form-data; boundary=b", 400, "malformed-body"),
        (wav(SPEECH, 2000), "audio/wav", 415, "unsupported-audio"),
    ],
)
def test_bad_bodies(
    client: TestClient, body: bytes, media_type: str, status: int, slug: str
) -> None:
    response = client.post("/v1/vad", content=body, headers={"Content-Type": media_type})
    check_problem(response, status, slug)


@pytest.mark.parametrize(
    ("files", "data", "param"),
    [
        ([("audio", ("a.wav", SPEECH_WAV))], {}, "audio"),
        ([("threshold", ("a.wav", b"0.5"))], {}, "threshold"),
        (upload(SPEECH_WAV), {"file": "text"}, "file"),
        (upload(SPEECH_WAV), {"treshold": "0.5"}, "treshold"),
        (upload(SPEECH_WAV), {"threshold": "2"}, "threshold"),
        (upload(SPEECH_WAV), {"model": "other"}, "model"),
        (upload(SPEECH_WAV), {"channels": "5"}, "channels"),
        (upload(SPEECH_WAV), {"encoding": "mulaw"}, "sample_rate"),
    ],
)
def test_bad_forms(client: TestClient, files: Any, data: dict[str, str], param: str) -> None:
    found = check_problem(client.post("/v1/vad", files=files, data=data), 422, "invalid-parameter")
    assert [error.param for error in found.errors or ()] == [param]


def test_a_form_without_a_file(client: TestClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n0.5\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    found = check_problem(
        client.post("/v1/vad", content=body, headers=headers), 422, "invalid-parameter"
    )
    assert [error.param for error in found.errors or ()] == ["file"]


def test_not_acceptable(client: TestClient) -> None:
    response = client.post("/v1/vad", content=SPEECH_WAV, headers={"Accept": "image/png"})
    check_problem(response, 406, "not-acceptable")


def test_a_large_file_goes_through_the_disk(client: TestClient) -> None:
    long = wav(pattern((60, 0), (1, 0.9), (1, 0)))
    assert len(long) > 2**20
    for response in (
        client.post("/v1/vad", content=long),
        client.post("/v1/vad", files=upload(long)),
    ):
        assert spoken(response.json()) == [(59.97, 61.03)]


def test_audio_is_counted(app: FastAPI, client: TestClient) -> None:
    client.post("/v1/vad", content=SPEECH_WAV)
    value = app.state.service.metrics.registry.get_sample_value
    assert value("convad_audio_seconds_total", {"kind": "file"}) == 4.5
    assert value("convad_file_seconds_count") == 1


@pytest.mark.parametrize("name", ["speech.wav", "speech.mp3", "speech.opus", "speech.m4a"])
def test_the_real_detector_hears_the_real_recording(
    name: str, data_dir: Path, real_detector: Detector
) -> None:
    with TestClient(create_app(Settings(), real_detector)) as client:
        response = client.post("/v1/vad", files={"file": (name, (data_dir / name).read_bytes())})
    answer = Detection.model_validate(response.json(), extra="forbid")
    assert answer.model == real_detector.name
    expected = [(s.start, s.end) for s in real_detector.detect(data_dir / name).speech]
    assert expected
    assert spoken(response.json()) == expected


def test_form_that_breaks_off_is_refused(client: TestClient) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    for text in (body, body + b"\r\n--B\r\n"):
        answer = client.post("/v1/vad", content=text, headers=headers)
        assert answer.status_code == 400
        assert "breaks off" in answer.json()["detail"]


def test_unreadable_charset_is_the_clients_fault(client: TestClient) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n0.5\r\n--B--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=B; charset=undefined"}
    assert client.post("/v1/vad", content=body, headers=headers).status_code == 400


def _form(disposition: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"' + disposition
    return head + b"\r\nContent-Type: audio/wav\r\n\r\n" + SPEECH_WAV + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"; filename*=UTF-8''a.wav", "a"),
        (b"; filename*=utf-8'en'caf%C3%A9%20%E4%BD%A0.wav", "café_你"),
        (b"; filename*=iso-8859-1''caf%E9.wav", "café"),
        (b"; filename*=\"UTF-8''a.wav\"", "a"),
        (b"; filename*=UTF-8''a%22%5C%0D%0A%3B.wav", 'a"\\'),
        (b"; filename*=nonsense''a%FF.wav", "a\ufffd"),
        (b"; filename=\"x.wav\"; filename*=UTF-8''%E4%BD%A0.wav", "x"),
    ],
)
def test_an_extended_file_name_alone_makes_a_file(
    client: TestClient, disposition: bytes, name: str
) -> None:
    """RFC 7578 forbids what RFC 5987 describes, and clients send it all the same."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = client.post(
        "/v1/vad?response_format=rttm", content=_form(disposition), headers=headers
    )
    assert response.status_code == 200
    assert response.text.split(" ")[1].startswith(name)


@pytest.mark.parametrize("route", ["/v1/vad", "/v1/vad?response_format=ndjson"])
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_request_is_refused(client: TestClient, route: str, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    problem = check_problem(
        client.post(route, content=SPEECH_WAV, headers=headers), 415, "unsupported-media"
    )
    assert "Content-Encoding" in problem.detail


def test_a_request_that_says_it_is_not_compressed_is_taken(client: TestClient) -> None:
    headers = {"Content-Encoding": "identity"}
    assert client.post("/v1/vad", content=SPEECH_WAV, headers=headers).status_code == 200
