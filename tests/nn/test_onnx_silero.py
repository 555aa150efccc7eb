"""The graph with silero-vad's inputs and outputs, fed as silero's clients feed theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.audio import Resampler
from vad.errors import ParameterError
from vad.inference.engine import Engine
from vad.nn import ARCHITECTURES, Architecture, Network, weights
from vad.nn.onnx import to_onnx
from vad.nn.spec import Conv
from vad.nn.weights import Model

pytest.importorskip("onnx", reason="onnx writes the file")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime reads it")

Audio = NDArray[np.float32]
SHIPPED = sorted(f.name for f in weights.models_folder().iterdir())


class Client:
    """As silero's own wrapper: the context in front, whatever state came out put in again."""

    def __init__(self, session: Any, batch: int = 1, width: int = 128) -> None:
        self.session = session
        self.state = np.zeros((2, batch, width), np.float32)

    def __call__(self, chunk: Audio, rate: int = 16_000) -> Audio:
        fed = {"input": chunk, "state": self.state, "sr": np.array(rate, np.int64)}
        found, self.state = self.session.run(None, fed)
        assert found.shape == (len(chunk), 1)
        return np.asarray(found[:, 0])


def session(data: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what fails on purpose is not told
    return onnxruntime.InferenceSession(data, options)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return session(to_onnx(weights.load("convad-tiny"), "silero"))


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Audio:
    """Six seconds, after a silence in which filters settle."""
    audio = sf.read(data_dir / "speech.wav", dtype="float32")[0][:96_000]
    return np.concatenate([np.zeros(3200, np.float32), audio])


def chunks(audio: Audio, size: int) -> list[Audio]:
    return [audio[None, i : i + size] for i in range(0, len(audio) - size + 1, size)]


def expected(model: Model, audio: Audio, count: int) -> Audio:
    """The largest of the probabilities that come out with each chunk; NaN before the start."""
    shape = model.architecture
    found = Engine(model, "cpu").probabilities(audio)
    largest, frame, waiting = [], -shape.delay, 0
    for _ in range(count):
        steps, waiting = divmod(waiting + 512, shape.step_samples)
        end = frame + steps * shape.step_frames
        largest.append(found[max(0, frame) : end].max() if frame >= 0 else np.nan)
        frame = end
    return np.array(largest)


@pytest.mark.parametrize("name", SHIPPED)
def test_16_khz_gives_the_largest_of_the_frames(name: str, speech: Audio) -> None:
    model = weights.load(name)
    client = Client(session(to_onnx(model, "silero")))
    found = np.concatenate([client(chunk) for chunk in chunks(speech, 512)])
    wanted = expected(model, speech, len(found))
    known = ~np.isnan(wanted)
    assert known.mean() > 0.95
    assert 0.1 < (wanted[known] > 0.5).mean() < 0.95
    np.testing.assert_allclose(found[known], wanted[known], atol=1e-4)
    assert (found[~known] < 0.1).all()  # nobody speaks before the start


@pytest.mark.parametrize("name", SHIPPED)
def test_8_khz_is_resampled_as_files_are(name: str, speech: Audio) -> None:
    model, narrow = weights.load(name), speech[::2].copy()
    client = Client(session(to_onnx(model, "silero")))
    found = np.concatenate([client(chunk, 8000) for chunk in chunks(narrow, 256)])
    late = np.zeros(80, np.float32)  # 5 ms, the filter's delay
    audio = np.concatenate([late, Resampler(8000).push(narrow[:, None])[:, 0]])
    wanted = expected(model, audio, len(found))[3:]
    assert 0.1 < (wanted > 0.5).mean() < 0.95
    np.testing.assert_allclose(found[3:], wanted, atol=1e-4)


@pytest.mark.parametrize(("rate", "size"), [(16_000, 512), (8000, 256)])
def test_a_context_in_front_changes_nothing(tiny: Any, speech: Audio, rate: int, size: int) -> None:
    bare, fed = Client(tiny), Client(tiny)
    context = np.full((1, size // 8), 0.9, np.float32)
    for chunk in chunks(speech, size)[:40]:
        np.testing.assert_array_equal(
            bare(chunk, rate), fed(np.concatenate([context, chunk], axis=1), rate)
        )


@settings(deadline=None, max_examples=15)
@given(turns=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=12))
def test_rows_of_any_age_equal_their_streams_alone(tiny: Any, turns: list[set[int]]) -> None:
    random = np.random.default_rng(0)
    alone = [Client(tiny) for _ in range(4)]
    together = Client(tiny)
    states = [np.zeros((2, 1, tiny.get_outputs()[1].shape[2]), np.float32) for _ in range(4)]
    for turn in map(sorted, turns):
        audio = (0.1 * random.standard_normal((len(turn), 512))).astype(np.float32)
        together.state = np.concatenate([states[i] for i in turn], axis=1)
        found = together(audio)
        for row, i in enumerate(turn):
            states[i] = together.state[:, row : row + 1]
            np.testing.assert_allclose(found[row], alone[i](audio[row : row + 1])[0], atol=1e-5)
            np.testing.assert_allclose(states[i], alone[i].state, atol=1e-4)


def test_zeros_of_any_width_are_a_start(tiny: Any, speech: Audio) -> None:
    wanted = None
    for width in (0, 1, 128, 64, 99_999, tiny.get_outputs()[1].shape[2]):
        client = Client(tiny, width=width)
        found = [client(chunk) for chunk in chunks(speech, 512)[:10]]
        wanted = found if wanted is None else wanted
        np.testing.assert_array_equal(found, wanted)
    client.state[...] = 0  # as clients do between two recordings
    np.testing.assert_array_equal([client(c) for c in chunks(speech, 512)[:10]], wanted)


def test_part_of_a_state_is_an_error(tiny: Any, speech: Audio) -> None:
    """A client that copies 2 · 128 numbers would have a network without a past."""
    first, second = chunks(speech, 512)[:2]
    for _ in range(2):  # silence leaves a mark in the state, too
        client = Client(tiny)
        client(first)
        copied = client.state.ravel()[:256].reshape(2, 1, 128).copy()
        assert np.count_nonzero(copied)
        client.state = copied
        with pytest.raises(Exception, match="state_must_be_the_whole_stateN_of_the_call_before"):
            client(second)
        first = np.zeros_like(first)
    client.state = np.full((2, 1, 128), np.nan, np.float32)
    with pytest.raises(Exception, match="state_must_be_the_whole_stateN_of_the_call_before"):
        client(second)


@pytest.mark.parametrize(
    ("rate", "samples", "error"),
    [
        (32_000, 512, "sr_must_be_8000_or_16000"),
        (0, 512, "sr_must_be_8000_or_16000"),
        (16_000, 256, "input_must_have_512_or_576_samples_at_16_kHz"),
        (16_000, 1536, "input_must_have_512_or_576_samples_at_16_kHz"),
        (16_000, 0, "input_must_have_512_or_576_samples_at_16_kHz"),
        (8000, 512, "input_must_have_256_or_288_samples_at_8_kHz"),
    ],
)
def test_other_rates_and_lengths_are_errors(tiny: Any, rate: int, samples: int, error: str) -> None:
    with pytest.raises(Exception, match=error):
        Client(tiny)(np.zeros((1, samples), np.float32), rate)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize(
    ("rows", "states", "error"),
    [
        (2, 1, "input_and_state_must_have_the_same_batch"),
        (1, 2, "input_and_state_must_have_the_same_batch"),
        (3, 2, "input_and_state_must_have_the_same_batch"),
        (1, 0, "input_and_state_must_have_the_same_batch"),
        (0, 0, "input_must_have_a_batch_of_1_or_more"),
        (0, 1, "must_have"),
    ],
)
def test_another_batch_of_states_is_an_error(
    tiny: Any, rate: int, carried: bool, rows: int, states: int, error: str
) -> None:
    client = Client(tiny, batch=states)
    if carried:
        width = tiny.get_outputs()[1].shape[2]
        client.state = np.full((2, states, width), 0.5, np.float32)
    with pytest.raises(Exception, match=error):
        client(np.zeros((rows, rate * 32 // 1000), np.float32), rate)


@pytest.mark.parametrize("rates", [[], [16_000, 8000], [[16_000, 16_000]]])
def test_several_rates_are_an_error(tiny: Any, rates: Any) -> None:
    fed = {"input": np.zeros((1, 512), np.float32), "state": np.zeros((2, 1, 128), np.float32)}
    with pytest.raises(Exception, match=r"sr_must_be_one_number|Invalid rank"):
        tiny.run(None, {**fed, "sr": np.array(rates, np.int64)})


def test_inputs_and_outputs_are_those_of_silero(tiny: Any) -> None:
    package = pytest.importorskip("silero_vad", reason="silero-vad has the file to compare with")
    theirs = session((Path(package.__file__).parent / "data/silero_vad.onnx").read_bytes())
    for ours, other in (
        (tiny.get_inputs(), theirs.get_inputs()),
        (tiny.get_outputs(), theirs.get_outputs()),
    ):
        assert [(each.name, each.type) for each in ours] == [(e.name, e.type) for e in other]
        assert [len(e.shape) for e in ours] == [len(e.shape) for e in other]


@pytest.mark.parametrize("name", [n for n, a in ARCHITECTURES.items() if a.step_samples <= 512])
def test_every_architecture_can_be_written(name: str) -> None:
    import torch

    torch.manual_seed(0)
    model = Network(ARCHITECTURES[name]).model()
    audio = (0.1 * np.random.default_rng(0).standard_normal(16 * 512)).astype(np.float32)
    client = Client(session(to_onnx(model, "silero")))
    found = np.concatenate([client(chunk) for chunk in chunks(audio, 512)])
    wanted = expected(model, audio, len(found))
    known = ~np.isnan(wanted)
    np.testing.assert_allclose(found[known], wanted[known], atol=1e-4)


def test_steps_that_are_longer_than_a_chunk_are_refused() -> None:
    shape = Architecture("slow", (Conv(1, 4, 640, stride=640),), delay=0)
    model = Model("slow", "", shape, {}, {})
    with pytest.raises(ParameterError, match="chunks of 512 samples hold no step of 640"):
        to_onnx(model, "silero")
