from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vad.config import DEFAULT_MODEL
from vad.errors import CorruptModel, ModelNotFound
from vad.nn import ARCHITECTURES, Network, weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "small"
    network = Network(ARCHITECTURES["conv-dense"])
    weights.save(network.model(), folder, {"note": "for a test"})
    return folder


def test_round_trip(saved: Path) -> None:
    torch.manual_seed(0)
    original = Network(ARCHITECTURES["conv-dense"])
    model = weights.load(saved)
    assert model.name == "small"
    assert model.about["note"] == "for a test"
    assert model.architecture == original.architecture
    for name, tensor in Network.of(model).state_dict().items():
        assert torch.equal(original.state_dict()[name], tensor)
    weights.save(model, saved, {"note": "again"})
    assert weights.load(saved).about["note"] == "again"
    assert not list(saved.glob("*.partial"))


def test_changed_weights_are_refused(saved: Path) -> None:
    file = saved / weights.WEIGHTS
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptModel, match="sha256"):
        weights.load(saved)


@pytest.mark.parametrize("change", [{"hop_ms": 32}, {"sample_rate": 8000}, {"architecture": {}}])
def test_config_that_does_not_fit_is_refused(saved: Path, change: dict[str, object]) -> None:
    file = saved / weights.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CorruptModel):
        weights.load(saved)


def test_other_architecture_is_refused(saved: Path) -> None:
    file = saved / weights.CONFIG
    other = ARCHITECTURES["mlpconv"].to_dict()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architecture": other}))
    with pytest.raises(CorruptModel, match="do not fit"):
        weights.load(saved)


def test_unknown_layer_is_refused(saved: Path) -> None:
    file = saved / weights.CONFIG
    other = {"name": "x", "layers": [{"type": "transformer"}], "delay": 0}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architecture": other}))
    with pytest.raises(CorruptModel):
        weights.load(saved)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"delay": -3}])
def test_steps_of_nothing_and_a_negative_delay_are_refused(
    saved: Path, wrong: dict[str, int]
) -> None:
    file = saved / weights.CONFIG
    about = json.loads(file.read_text())
    pool = next(spec for spec in about["architecture"]["layers"] if spec["type"] == "pool")
    changed = pool if "size" in wrong else about["architecture"]
    changed.update(wrong)
    file.write_text(json.dumps(about))
    with pytest.raises(CorruptModel, match="ValueError"):
        weights.load(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / weights.WEIGHTS).unlink()
    with pytest.raises(CorruptModel):
        weights.load(saved)


@pytest.mark.parametrize("name", ["nothing-here", "../models", "no/such/folder"])
def test_unknown_model_names_those_that_are_here(name: str) -> None:
    with pytest.raises(ModelNotFound, match=DEFAULT_MODEL):
        weights.load(name)


def test_default_model_ships() -> None:
    assert DEFAULT_MODEL in weights.available()
    model = weights.load(DEFAULT_MODEL)
    assert model.architecture.macs_per_second <= 15_000_000
    assert model.about["lookahead_ms"] == model.architecture.lookahead_ms
    assert (weights.models_folder() / DEFAULT_MODEL / "README.md").is_file()


@pytest.mark.parametrize("name", sorted(f.name for f in weights.models_folder().iterdir()))
def test_shipped_models_are_whole_and_small(name: str) -> None:
    """Weights, the ONNX files and a card, none above 3 MB."""
    folder = weights.models_folder() / name
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    graphs = {"model.onnx", "model-step.onnx", "model-silero.onnx"}
    assert set(files) == {"README.md", "config.json", "model.safetensors"} | graphs
    assert max(files.values()) < 3_000_000
    network = weights.load(name).architecture
    assert network.lookahead_ms <= 40
    assert network.macs_per_second <= 15_000_000
