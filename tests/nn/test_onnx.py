from __future__ import annotations

import errno
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from vad.cli.main import app
from vad.errors import MissingExtra, ParameterError
from vad.inference.engine import Engine
from vad.nn import ARCHITECTURES, Architecture, Network, weights
from vad.nn.onnx import export, to_onnx
from vad.nn.spec import LAYERS, Conv, dense
from vad.nn.weights import Model

pytest.importorskip("onnx", reason="onnx writes the files")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime reads them")

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
Audio = NDArray[np.float32]


def session(data: bytes | str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options)


def random_model(architecture: Architecture) -> Model:
    """An architecture with weights and running statistics as if it had been trained."""
    torch.manual_seed(0)
    network = Network(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    return network.model()


def noise(batch: int, samples: int) -> Audio:
    random = np.random.default_rng(samples)
    return (0.1 * random.standard_normal((batch, samples))).astype(np.float32)


def expected(model: Model, audio: Audio) -> Audio:
    with torch.inference_mode():
        return Network.of(model)(torch.from_numpy(audio)).sigmoid().numpy()


class Step:
    """The streaming graph with its states."""

    def __init__(self, data: bytes, batch: int) -> None:
        self.session = session(data)
        states = self.session.get_inputs()[1:]
        self.states = {s.name: np.zeros((batch, *s.shape[1:]), np.float32) for s in states}

    def __call__(self, audio: Audio) -> Audio:
        found, *after = self.session.run(None, {"audio": audio, **self.states})
        self.states = dict(zip(self.states, after, strict=True))
        return np.asarray(found)


@pytest.fixture(scope="module")
def shipped() -> Model:
    return weights.load("convad-base")


@pytest.fixture(scope="module")
def step_bytes(shipped: Model) -> bytes:
    return to_onnx(shipped, "streaming")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_offline_equals_torch_for_any_length_and_batch(name: str) -> None:
    model = random_model(ARCHITECTURES[name])
    run = session(to_onnx(model)).run
    for batch, samples in ((1, 1), (2, 159), (1, 160), (3, 161), (1, 320), (2, 16_001), (1, 5000)):
        audio = noise(batch, samples)
        (found,) = run(None, {"audio": audio})
        assert found.shape == (batch, -(-samples // 160))
        np.testing.assert_allclose(found, expected(model, audio), atol=1e-4)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_step_equals_torch(name: str) -> None:
    model = random_model(ARCHITECTURES[name])
    size = model.architecture.step_samples
    step, audio = Step(to_onnx(model, "streaming"), 2), noise(2, 40 * size)
    found = np.concatenate([step(piece) for piece in np.split(audio, 10, axis=1)], axis=1)
    silent = model.architecture.delay  # what speaks of time before the start
    whole = expected(model, audio)[:, : found.shape[1] - silent]
    np.testing.assert_allclose(found[:, silent:], whole, atol=1e-4)


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_step_gives_the_same_for_any_chunking(step_bytes: bytes, cuts: list[int]) -> None:
    audio = noise(1, 320 * sum(cuts))
    pieces = np.split(audio, 320 * np.cumsum(cuts)[:-1], axis=1)
    cut, whole = Step(step_bytes, 1), Step(step_bytes, 1)
    found = np.concatenate([cut(piece) for piece in pieces], axis=1)
    np.testing.assert_allclose(found, whole(audio), atol=1e-5)
    for name, state in whole.states.items():
        np.testing.assert_allclose(cut.states[name], state, atol=1e-4)


def test_real_speech_through_the_shipped_model(shipped: Model, data_dir: Path) -> None:
    audio = sf.read(data_dir / "speech.wav", dtype="float32")[0]
    (found,) = session(to_onnx(shipped)).run(None, {"audio": audio[None]})
    wanted = Engine(shipped, "cpu").probabilities(audio)
    assert 0.2 < (wanted > 0.5).mean() < 0.95
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


def test_files_say_what_they_are(shipped: Model, tmp_path: Path) -> None:
    for options, form, delay in (
        ((), "offline", 0),
        (("--streaming",), "streaming", shipped.architecture.delay),
        (("--interface", "silero"), "silero", shipped.architecture.delay),
    ):
        place = tmp_path / f"{form}.onnx"
        done = CliRunner().invoke(app, ["export", "convad-base", str(place), *options])
        assert done.exit_code == 0, done.output
        assert place.stat().st_size < 3_000_000
        about = session(str(place)).get_modelmeta().custom_metadata_map
        assert (about["name"], about["sha256"]) == ("convad-base", shipped.sha256)
        assert (about["licence"], about["form"]) == ("MIT", form)
        assert (about["sample_rate"], about["hop_ms"]) == ("16000", "10")
        assert int(about["delay_frames"]) == delay
        assert int(about["lookahead_ms"]) == shipped.architecture.lookahead_ms
        assert int(about["step_samples"]) == shipped.architecture.step_samples
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["offline.onnx", "silero.onnx", "streaming.onnx"]


def test_a_file_that_is_there_is_replaced_on_demand_alone(tmp_path: Path) -> None:
    """It may be another detector's, whose place convad's is to take."""
    place = tmp_path / "silero_vad.onnx"
    place.write_text("before")
    words = ["export", "convad-tiny", str(place), "--interface", "silero"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, ParameterError)
    assert "--overwrite" in str(refused.exception)
    assert place.read_text() == "before"
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    assert place.stat().st_size > 100_000


def test_inputs_and_outputs_have_names(step_bytes: bytes) -> None:
    made = session(step_bytes)
    inputs, outputs = (
        [each.name for each in puts()] for puts in (made.get_inputs, made.get_outputs)
    )
    count = len(inputs) - 1
    assert inputs == ["audio", *(f"state_{n}" for n in range(count))]
    assert outputs == ["probabilities", *(f"next_state_{n}" for n in range(count))]
    assert all(each.shape[0] == "batch" for each in made.get_inputs())


def test_the_example_of_the_page_runs(
    shipped: Model,
    step_bytes: bytes,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (code,) = re.findall(r"^```python onnx\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "example.py").write_text(code)
    (tmp_path / "model-step.onnx").write_bytes(step_bytes)
    shutil.copy(data_dir / "speech.wav", tmp_path)
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path("example.py")["probabilities"]
    audio = sf.read("speech.wav", dtype="float32")[0]
    wanted = Engine(shipped, "cpu").probabilities(audio)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_export_leaves_what_was_there(
    shipped: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "model.onnx"
    place.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr("vad.nn.onnx.OPSET", 3)  # too old for what is written
        with pytest.raises(Exception, match="Bad node"):
            export(shipped, place)
    assert place.read_text() == "before"
    with pytest.raises(ParameterError, match="lies in none"):
        export(shipped, tmp_path / "none" / "model.onnx")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _full)
        with pytest.raises(OSError, match="No space"):
            export(shipped, place)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]

    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"pip install '\.\[onnx\]'"):
        export(shipped, place)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "conv": {"channels_in": 2, "channels_out": 2, "kernel": 3},
    "pool": {"size": 2},
    "log": {"floor_dbfs": -65.0},
    "norm": {"channels": 2},
    "dense": {"channels_in": 2, "channels_out": 2},
    "mean": {"channels": 2, "length": 3},
    "dropout": {"p": 0.5},
    "mlpconv": {"channels_in": 2, "channels_out": 2, "kernel": 3},
    "residual": {"channels": 2, "kernel": 3, "dilation": 2, "groups": 2},
    "bottleneck": {"channels": 2, "width": 3, "kernel": 3, "dilation": 2},
    "patches": {"maps_in": 1, "maps_out": 1, "bands": 2, "kernel": 2, "taps": 3},
}


@pytest.mark.parametrize("kind", list(LAYERS))
def test_every_kind_of_layer_can_be_written(kind: str) -> None:
    """A kind that is new in the table fails here until the exporter knows it."""
    front, last = Conv(1, 2, 200, stride=160), dense(2, 2 if kind == "pool" else 1)
    tested = LAYERS[kind](**ARGUMENTS.get(kind, {}))
    model = random_model(Architecture("tested", (front, tested, last), delay=1))
    audio = noise(1, 5000)
    (found,) = session(to_onnx(model)).run(None, {"audio": audio})
    np.testing.assert_allclose(found, expected(model, audio), atol=1e-4)


@pytest.mark.parametrize("name", ["model.onnx", "model-step.onnx", "model-silero.onnx"])
@pytest.mark.parametrize("model", sorted(f.name for f in weights.models_folder().iterdir()))
def test_shipped_files_are_of_the_shipped_weights(model: str, name: str) -> None:
    """Retrained? `vad export` writes them anew."""
    folder = weights.models_folder() / model
    about = session(str(folder / name)).get_modelmeta().custom_metadata_map
    assert about["sha256"] == weights.load(model).sha256
