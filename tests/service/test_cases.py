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


@pytest.mark.parametrize("how", ["form", "raw", "arriving"])
@pytest.mark.parametrize("name", CASES)
def test_is_read_whole(client: TestClient, data_dir: Path, name: str, how: str) -> None:
    info, seconds, warnings = CASES[name]
    response = post(client, data_dir / "cases" / name, how)
    assert response.status_code == 200, response.text
    found = lines(response)[-1] if how == "arriving" else response.json()
    assert found["duration"] == pytest.approx(seconds, abs=0.03)
    assert found["source"] == vars(info)
    assert len(found["warnings"]) == len(warnings)


@pytest.mark.parametrize("how", ["form", "raw", "arriving"])
@pytest.mark.parametrize("name", CASES)
def test_finds_the_same_as_by_path(
    client: TestClient, detector: Detector, data_dir: Path, name: str, how: str
) -> None:
    path = data_dir / "cases" / name
    expected = [(s.label, s.start, s.end) for s in detector.detect(path).segments]
    response = post(client, path, how)
    found = [
        segment
        for line in (lines(response) if how == "arriving" else [response.json()])
        for segment in line.get("segments", [line] if line.get("type") == "segment" else [])
    ]
    assert [(s["label"], s["start"], s["end"]) for s in found] == expected


@pytest.mark.parametrize("how", ["form", "raw", "arriving"])
@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(
    client: TestClient, data_dir: Path, name: str, how: str
) -> None:
    problem = check_problem(post(client, data_dir / "cases" / name, how), 400, "undecodable-audio")
    assert any(part in problem.detail for part in ("encrypted", "no audio track", "encoding"))


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
