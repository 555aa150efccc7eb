"""Which models requests may name, and that each is the one that answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service import Settings, create_app
from service.state import Models
from vad import Detector
from vad.nn.weights import available

from .conftest import SPEECH_WAV, EnergyDetector, check_problem, spoken, upload


def test_shipped_models_come_with_a_shipped_one_only(real_detector: Detector) -> None:
    assert set(Models(real_detector).names) == set(available())
    assert Models(real_detector).names[0] == real_detector.name
    assert Models(real_detector, ()).names == (real_detector.name,)
    assert Models(EnergyDetector()).names == ("energy",)
    assert Models(EnergyDetector(), ["convad-tiny"]).names == ("energy", "convad-tiny")


def test_a_file_is_heard_by_the_model_that_it_names(
    real_detector: Detector, data_dir: Path
) -> None:
    data = (data_dir / "speech.wav").read_bytes()
    expected = Detector.load("convad-tiny", device="cpu").detect(data).speech
    with TestClient(create_app(Settings(device="cpu"), real_detector)) as client:
        found = client.get("/v1/models").json()["models"]
        assert found[0]["name"] == real_detector.name
        assert {model["name"] for model in found} == set(available())
        assert len({model["sha256"] for model in found}) == len(found)
        for path in ("/v1/vad", "/page/analysis"):
            answer = client.post(path, params={"model": "convad-tiny"}, files=upload(data))
            assert '"model": "convad-tiny"' in answer.text
        answer = client.post("/v1/vad", params={"model": "convad-tiny"}, files=upload(data)).json()
        assert spoken(answer) == [(s.start, s.end) for s in expected]
        other = client.post("/v1/vad", files=upload(data)).json()
        assert other["model"] == real_detector.name
        assert spoken(other) != spoken(answer)


def test_an_unknown_model_is_refused_before_the_file_is_looked_at(client: TestClient) -> None:
    answer = client.post("/v1/vad", params={"model": "convad-huge"}, files=upload(SPEECH_WAV))
    problem = check_problem(answer, 422, "invalid-parameter")
    assert "must be energy" in problem.detail
    # A path is no name: no request makes the server read files of its own.
    answer = client.post("/v1/vad", params={"model": "/etc"}, files=upload(SPEECH_WAV))
    check_problem(answer, 422, "invalid-parameter")


@pytest.mark.parametrize("settings", [{"models": ("convad-none",)}])
def test_a_model_that_is_not_there_says_so(client: TestClient) -> None:
    answer = client.post("/v1/vad", params={"model": "convad-none"}, files=upload(SPEECH_WAV))
    check_problem(answer, 422, "model-not-found")
