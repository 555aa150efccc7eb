"""Recordings that decoders trip over, over HTTP: raw, as a form, and while they arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.audio.test_cases import CASES, REFUSED
from vad import Detector

from .conftest import check_problem, lines


def post(client: TestClient, path: Path, how: str) -> Any:
    data = path.read_bytes()
    if how == "form":
        return client.post("/v1/vad", files={"file": (path.name, data)})
    if how == "raw":
        return client.post("/v1/vad", content=data)
    pieces = (data[i : i + 5000] for i in range(0, len(data), 5000))
    return client.post("/v1/vad?response_format=ndjson", content=pieces)


# tests/audio reads them all, by path, bytes and pipe; HTTP adds the three ways to send one.
@pytest.mark.parametrize("name", CASES)
def test_is_read_whole_and_finds_the_same_as_by_path(
    client: TestClient, detector: Detector, data_dir: Path, name: str
) -> None:
    info, seconds, warnings = CASES[name]
    path = data_dir / "cases" / name
    expected = [(s.label, s.start, s.end) for s in detector.detect(path).segments]
    ways = ("form", "raw", "arriving")
    # Those whose tracks begin late or change on the way in each of them, the others in turn.
    for how in ways if info.start or warnings else (ways[list(CASES).index(name) % 3],):
        response = post(client, path, how)
        assert response.status_code == 200, response.text
        answers = lines(response) if how == "arriving" else [response.json()]
        assert answers[-1]["duration"] == pytest.approx(seconds, abs=0.03)
        assert answers[-1]["source"] == vars(info)
        assert len(answers[-1]["warnings"]) == len(warnings)
        found = [
            segment
            for line in answers
            for segment in line.get("segments", [line] if line.get("type") == "segment" else [])
        ]
        assert [(s["label"], s["start"], s["end"]) for s in found] == expected, how


@pytest.mark.parametrize("how", ["form", "raw", "arriving"])
def test_is_refused_with_the_reason(client: TestClient, data_dir: Path, how: str) -> None:
    for name in REFUSED:
        response = post(client, data_dir / "cases" / name, how)
        problem = check_problem(response, 400, "undecodable-audio")
        reasons = ("encrypted", "no audio track", "encoding")
        assert any(part in problem.detail for part in reasons), name


def test_what_has_no_header_is_read_once_it_is_described(
    client: TestClient, data_dir: Path
) -> None:
    data = (data_dir / "cases" / "call.ul").read_bytes()
    fields = {"encoding": "mulaw", "sample_rate": "8000"}
    for response in (
        client.post("/v1/vad", params=fields, content=data),
        client.post("/v1/vad", data=fields, files={"file": ("call.ul", data)}),
    ):
        assert response.json()["duration"] == 6
