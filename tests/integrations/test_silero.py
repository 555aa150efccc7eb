"""silero-vad's interface as its users call it, beside silero-vad itself where it is installed."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vad.errors import ParameterError
from vad.integrations import silero
from vad.integrations.silero import arrays

ROOT = Path(__file__).parents[2]
# https://github.com/snakers4/silero-vad/blob/806dcba/tests/test_basic.py, a checkout of which
# SILERO_CHECKOUT names.
CHECKOUT = os.environ.get("SILERO_CHECKOUT", "")


@pytest.fixture(scope="module")
def model() -> silero.SileroVAD:
    found = silero.load_silero_vad()
    assert isinstance(found, silero.SileroVAD)
    return found


@pytest.fixture(scope="module")
def audio(data_dir: Path) -> Any:
    return silero.read_audio(data_dir / "speech.wav")


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("silero_vad", reason="silero-vad is what is compared with")


def test_signatures_are_those_of_silero(theirs: Any) -> None:
    for name in theirs.__all__:
        ours, other = (inspect.signature(getattr(each, name)) for each in (silero, theirs))
        assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
            (p.name, p.kind, p.default) for p in other.parameters.values()
        ], name
    calls = [inspect.signature(each.VADIterator.__call__) for each in (silero, theirs)]
    named = [[(p.name, p.default) for p in call.parameters.values()] for call in calls]
    assert named[0] == named[1]


rules = st.fixed_dictionaries(
    {
        "sampling_rate": st.sampled_from([8000, 16_000]),
        "threshold": st.sampled_from([0.3, 0.5, 0.8]),
        "neg_threshold": st.sampled_from([None, 0.2]),
        "min_speech_duration_ms": st.sampled_from([0, 32, 100, 250]),
        "max_speech_duration_s": st.sampled_from([float("inf"), 0.3, 0.5, 0.64, 1, 2]),
        "min_silence_duration_ms": st.sampled_from([0, 30, 64, 100, 300]),
        "speech_pad_ms": st.sampled_from([0, 30, 100]),
        "return_seconds": st.booleans(),
        "time_resolution": st.sampled_from([1, 3]),
        "min_silence_at_max_speech": st.sampled_from([0, 40, 64, 98]),
        "use_max_poss_sil_at_max_speech": st.booleans(),
        "step": st.sampled_from([1, 3]),
    }
)


@settings(deadline=None, max_examples=300)
@given(
    runs=st.lists(st.tuples(st.sampled_from([0.05, 0.25, 0.4, 0.6, 0.95]), st.integers(1, 12))),
    rule=rules,
    short=st.integers(0, 255),
)
@example(  # a pause of just as many windows as one has to be longer than to be cut at
    runs=[(0.95, 3), (0.05, 3), (0.95, 12)],
    rule={
        "max_speech_duration_s": 0.5,
        "min_silence_duration_ms": 300,
        "min_speech_duration_ms": 0,
        "min_silence_at_max_speech": 64,
        "use_max_poss_sil_at_max_speech": False,
        "sampling_rate": 16_000,
    },
    short=0,
)
def test_segments_of_given_probabilities_are_silero_s(
    theirs: Any, runs: list[tuple[float, int]], rule: dict[str, Any], short: int
) -> None:
    probs = [p for p, count in runs for _ in range(count)]
    window = 512 if rule["sampling_rate"] == 16_000 else 256
    length = max(0, len(probs) * window - short)
    wanted = theirs.get_speech_timestamps_from_probs(probs, audio_length_samples=length, **rule)
    found = silero.get_speech_timestamps_from_probs(probs, audio_length_samples=length, **rule)
    assert found == wanted


def test_as_many_segments_as_silero_in_speech(theirs: Any, audio: Any, model: Any) -> None:
    pytest.importorskip("onnxruntime", reason="silero-vad's model runs in it")
    wanted = theirs.get_speech_timestamps(
        audio, theirs.load_silero_vad(onnx=True), return_seconds=True
    )
    found = silero.get_speech_timestamps(audio, model, return_seconds=True)
    assert len(found) == len(wanted) == 5
    for ours, other in zip(found, wanted, strict=True):
        assert abs(ours["start"] - other["start"]) <= 0.3
        assert abs(ours["end"] - other["end"]) <= 0.3


def test_a_stream_agrees_with_the_recording(audio: Any, model: Any) -> None:
    iterator = silero.VADIterator(model)
    events = [
        event
        for i in range(0, len(audio) - 511, 512)
        if (event := iterator(audio[i : i + 512], return_seconds=True, time_resolution=3))
    ]
    found = silero.get_speech_timestamps(audio, model, return_seconds=True, time_resolution=3)
    assert [next(iter(event)) for event in events] == ["start", "end"] * len(found)
    times = [time for span in found for time in span.values()]
    for event, time in zip(events, times, strict=True):
        assert abs(next(iter(event.values())) - time) <= 0.05
    iterator.reset_states()
    again = [iterator(audio[i : i + 512]) for i in range(0, len(audio) - 511, 512)]
    assert [list(e) for e in again if e] == [list(e) for e in events]


def forms(audio: Any) -> dict[str, Any]:
    plain = np.asarray(audio)
    found = {
        "float64": plain.astype(np.float64),
        "int16": (plain * 32768).clip(-32768, 32767).astype(np.int16),
        "list": plain.tolist(),
        "[1, samples]": plain[None],
        "[samples, 1]": plain[:, None],
        "[1, 1, samples]": plain[None, None],
        "reversed strides": plain[::-1].copy()[::-1],
        "read-only": np.frombuffer(plain.tobytes(), np.float32),
    }
    if arrays.torch() is not None:
        tensor = arrays.torch().from_numpy(plain.copy())
        found |= {
            "a tensor": tensor,
            "with a gradient": tensor.clone().requires_grad_(),
            "int16 tensor": arrays.torch().from_numpy(found["int16"]),
            "float64 tensor": tensor.double(),
        }
    return found


def test_any_form_of_the_same_audio_gives_the_same(audio: Any, model: Any) -> None:
    wanted = silero.get_speech_timestamps(audio, model)
    for form, given_ in forms(audio).items():
        assert silero.get_speech_timestamps(given_, model) == wanted, form


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 16_000), np.float32), r"one channel, \[samples\]; it is \[2, 16000\]"),
        (np.float32(0), "one channel"),
        ("speech.wav", "one channel"),
        (None, "one channel"),
        (np.full(16_000, 20_000.0), "divide 16-bit samples by 32768"),
        ([20_000] * 16_000, "give 16-bit samples as int16"),
    ],
)
def test_what_is_no_audio_is_refused(model: Any, samples: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        silero.get_speech_timestamps(samples, model)


@pytest.mark.parametrize("rate", [0, 1, -16_000, 3999, 200_000, "16000", 16_000.5, None])
def test_other_rates_are_refused(audio: Any, model: Any, rate: Any) -> None:
    with pytest.raises(ParameterError, match="sampling_rate"):
        silero.get_speech_timestamps(audio[:16_000], model, sampling_rate=rate)


NAN = float("nan")
WRONG = {
    "threshold": [1.5, -0.1, NAN, "0.5", None, True],
    "neg_threshold": [-0.1, 1.1, NAN, "0.5"],
    "min_speech_duration_ms": [-1, NAN, "250", None],
    "min_silence_duration_ms": [-1, NAN, "100", None],
    "max_speech_duration_s": [0, -1, NAN, "inf", None],
    "speech_pad_ms": [NAN, float("inf"), "30", None],
    "time_resolution": [NAN, 1.5, -1, "1"],
    "min_silence_at_max_speech": [-1, NAN, "98"],
    "sampling_rate": [NAN, 16_000.5, "16000", None, 0],
    "audio_length_samples": [NAN, float("inf"), -1, "9"],
    "step": [NAN, 0, 1.5, "1"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_impossible_parameters_are_refused_at_every_door(
    audio: Any, model: Any, name: str, value: Any
) -> None:
    doors: list[tuple[Any, tuple[Any, ...]]] = [
        (silero.get_speech_timestamps, (audio[:16_000], model)),
        (silero.get_speech_timestamps_sequence, (audio[:16_000], silero.SileroVADSequence(""))),
        (silero.get_speech_timestamps_from_probs, ([0.1, 0.9],)),
        (silero.VADIterator, (model,)),
        (silero.read_audio, ("speech.wav",)),
        (silero.save_audio, ("speech.wav", audio)),
        (silero.load_silero_vad, (False, 16, True)),
        (silero.VADIterator(model), (audio[:512],)),
    ]
    refused = 0
    for door, args in doors:
        if name in inspect.signature(door).parameters:
            with pytest.raises(ParameterError, match=name):
                door(*args, **{name: value})
            refused += 1
    assert refused
    if value is not None and value == value and name == "sampling_rate":
        with pytest.raises(ParameterError, match="sr"):
            model(audio[:512], value)


@pytest.mark.parametrize(
    "spans",
    [[{"start": NAN, "end": 9}], [{"start": 0, "end": "9"}], [{"start": 1}], [(1, 2)], "spans"],
)
def test_what_are_no_spans_is_refused(audio: Any, spans: Any) -> None:
    for door in (silero.collect_chunks, silero.drop_chunks):
        with pytest.raises(ParameterError, match=r"start|end|tss"):
            door(spans, audio)
        with pytest.raises(ParameterError, match="sampling_rate"):
            door([], audio, seconds=True, sampling_rate=NAN)
        with pytest.raises(ParameterError, match="wav: must be"):
            door([{"start": 0, "end": 9}], audio[None])


def test_what_is_left_is_left_once(audio: Any) -> None:
    """In whatever order spans come, and though they overlap."""
    spans = [{"start": 500, "end": 900}, {"start": 50, "end": 90}, {"start": 60, "end": 70}]
    left = silero.drop_chunks(spans, audio)
    wanted = np.delete(np.asarray(audio), [*range(50, 90), *range(500, 900)])
    np.testing.assert_array_equal(np.asarray(left), wanted)


@pytest.mark.parametrize("probs", [[0.1, NAN], None, ["a"], np.zeros((2, 3)), 0.5])
def test_what_are_no_probabilities_is_refused(probs: Any) -> None:
    with pytest.raises(ParameterError, match="speech_probs"):
        silero.get_speech_timestamps_from_probs(probs)


def test_probabilities_as_a_model_gives_them(audio: Any, model: Any) -> None:
    model.reset_states()
    calls = [model(audio[i : i + 512], 16_000) for i in range(0, 96_000, 512)]
    wanted = silero.get_speech_timestamps_from_probs([float(each) for each in calls])
    assert wanted
    assert silero.get_speech_timestamps_from_probs(calls) == wanted
    assert silero.get_speech_timestamps_from_probs(np.array(wanted[:0])) == []


def test_pads_may_trim_all_of_it(audio: Any, model: Any) -> None:
    found = silero.get_speech_timestamps(audio, model, speech_pad_ms=-1500, time_resolution=1.0)
    assert 0 < len(found) < 5
    assert all(span["start"] < span["end"] for span in found)
    assert silero.get_speech_timestamps(audio, model, speech_pad_ms=-1e9) == []


def rates() -> list[Any]:
    found: list[Any] = [16_000.0, np.int64(16_000), np.float32(16_000), np.array(16_000)]
    if arrays.torch() is not None:
        found += [arrays.torch().tensor(16_000), arrays.torch().tensor([16_000.0])]
    return found


@pytest.mark.parametrize("rate", rates(), ids=repr)
def test_a_rate_is_a_whole_number_of_any_type(
    audio: Any, model: Any, rate: Any, tmp_path: Path, data_dir: Path
) -> None:
    model.reset_states()
    wanted = [float(model(audio[i : i + 512], 16_000)) for i in (0, 512)]
    model.reset_states()
    assert [float(model(audio[i : i + 512], rate)) for i in (0, 512)] == wanted
    spans = silero.get_speech_timestamps(audio, model)
    assert silero.get_speech_timestamps(audio, model, sampling_rate=rate) == spans
    assert silero.VADIterator(model, sampling_rate=rate).sampling_rate == 16_000
    silero.save_audio(tmp_path / "a.wav", audio, sampling_rate=rate)
    assert len(silero.read_audio(tmp_path / "a.wav", sampling_rate=rate)) == len(audio)
    seconds = [{"start": 0.5, "end": 1}]
    assert len(silero.collect_chunks(seconds, audio, True, rate)) == 8000


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513])
def test_next_to_nothing_has_no_speech(audio: Any, model: Any, samples: int) -> None:
    assert silero.get_speech_timestamps(audio[:samples], model) == []
    assert model.audio_forward(audio[:samples], 16_000).shape == (1, -(-samples // 512))


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_other_rates_give_positions_in_their_own_samples(audio: Any, model: Any, rate: int) -> None:
    from vad.audio import Resampler

    plain = np.asarray(audio)
    resampler = Resampler(16_000, rate)
    there = np.concatenate([resampler.push(plain[:, None]), resampler.flush()])[:, 0]
    wanted = silero.get_speech_timestamps(audio, model, return_seconds=True, time_resolution=3)
    found = silero.get_speech_timestamps(there, model, sampling_rate=rate)
    assert len(found) == len(wanted)
    for ours, other in zip(found, wanted, strict=True):
        for edge in ("start", "end"):
            assert isinstance(ours[edge], int)
            assert abs(ours[edge] / rate - other[edge]) < 0.25


def test_what_is_not_finite_is_told_and_does_no_harm(audio: Any, model: Any) -> None:
    wanted = silero.get_speech_timestamps(audio, model)
    spoilt = np.asarray(audio).copy()
    spoilt[1000] = np.nan
    with pytest.warns(UserWarning, match="replaced by 0"):
        assert silero.get_speech_timestamps(spoilt, model) == wanted
    with pytest.warns(UserWarning, match="replaced by 0"):
        assert np.isfinite(np.asarray(model(np.full(512, np.inf, np.float32), 16_000))).all()


def test_a_batch_equals_its_rows_and_a_new_one_starts_anew(audio: Any, model: Any) -> None:
    rows = np.stack([np.asarray(audio)[i : i + 51_200] for i in (0, 60_000, 120_000)])
    alone = []
    for row in rows:
        model.reset_states()
        alone.append([float(model(row[i : i + 512], 16_000)) for i in range(0, 51_200, 512)])
    together = [
        np.asarray(model(rows[:, i : i + 512], 16_000))[:, 0] for i in range(0, 51_200, 512)
    ]
    np.testing.assert_allclose(np.array(together).T, alone, atol=1e-5)
    fresh = float(model(rows[0, :512], 16_000))  # another batch size
    assert fresh == pytest.approx(alone[0][0], abs=1e-6)
    with pytest.raises(ParameterError, match="one stream, not a batch of 3"):
        silero.VADIterator(model)(rows[:, :512])


@pytest.mark.parametrize(
    ("chunk", "rate"), [(511, 16_000), (512, 8000), (1536, 16_000), (0, 16_000), (352, 11_025)]
)
def test_chunks_of_another_length_are_refused(model: Any, chunk: int, rate: int) -> None:
    with pytest.raises(ParameterError, match=f"has {chunk} samples, but chunks of 32 ms"):
        model(np.zeros(chunk, np.float32), rate)


def test_threads_share_a_model_for_recordings(audio: Any, model: Any) -> None:
    wanted = silero.get_speech_timestamps(audio, model)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: silero.get_speech_timestamps(audio, model), range(8)))
    assert found == [wanted] * 8


def test_copies_are_streams_of_their_own(audio: Any, model: Any) -> None:
    chunks = [np.asarray(audio)[i : i + 512] for i in range(0, 30 * 512, 512)]
    model.reset_states()
    wanted = [float(model(chunk, 16_000)) for chunk in chunks]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [float(other(chunk, 16_000)) for chunk in chunks] == wanted


def test_what_is_kept_and_what_is_dropped_is_everything(audio: Any, model: Any) -> None:
    found = silero.get_speech_timestamps(audio, model)
    kept, dropped = silero.collect_chunks(found, audio), silero.drop_chunks(found, audio)
    assert len(kept) == sum(span["end"] - span["start"] for span in found)
    assert len(kept) + len(dropped) == len(audio)
    assert type(kept) is type(audio)
    seconds = [{edge: at / 16_000 for edge, at in span.items()} for span in found]
    again = silero.collect_chunks(seconds, audio, seconds=True, sampling_rate=16_000)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(kept))
    assert len(silero.collect_chunks([], audio)) == 0
    assert len(silero.drop_chunks([], audio)) == len(audio)
    with pytest.raises(ParameterError, match="sampling_rate"):
        silero.collect_chunks(seconds, audio, seconds=True)


@pytest.mark.parametrize("name", ["speech.mp3", "speech.opus", "speech-48k-stereo.flac"])
def test_whatever_ffmpeg_reads_is_read(data_dir: Path, audio: Any, name: str) -> None:
    found = silero.read_audio(data_dir / name)
    assert type(found) is type(audio)
    assert abs(len(found) - len(audio)) < 4000


def test_what_is_saved_is_read_again(tmp_path: Path, audio: Any) -> None:
    silero.save_audio(tmp_path / "all.wav", audio)
    found = silero.read_audio(tmp_path / "all.wav")
    np.testing.assert_allclose(np.asarray(found), np.asarray(audio), atol=1 / 32768)
    with pytest.raises(ParameterError, match="must end in one of"):
        silero.save_audio(tmp_path / "all.txt", audio)
    with pytest.raises(ParameterError, match="nothing to write"):
        silero.save_audio(tmp_path / "none.wav", silero.collect_chunks([], audio))
    assert [path.name for path in tmp_path.iterdir()] == ["all.wav"]


def test_progress_rises_to_100(audio: Any, model: Any) -> None:
    told: list[float] = []
    silero.get_speech_timestamps(audio, model, progress_tracking_callback=told.append)
    assert told == sorted(told)
    assert told[-1] == 100


def test_recordings_in_sequence(audio: Any, model: Any) -> None:
    sequence = silero.load_silero_vad(sequence=True)
    found = silero.get_speech_timestamps_sequence(audio, sequence)
    assert found == silero.get_speech_timestamps(audio, model)


def test_another_s_model_is_refused(audio: Any) -> None:
    with pytest.raises(ParameterError, match="what load_silero_vad gives"):
        silero.get_speech_timestamps(audio, object())


@pytest.mark.parametrize(
    "call",
    ["cpu", "cuda", "half", "bfloat16", "float", "double", "eval", "train", "share_memory"],
)
def test_the_model_is_called_like_a_torch_module(audio: Any, model: Any, call: str) -> None:
    model.reset_states()
    wanted = float(model(audio[:512], 16_000))
    found = getattr(silero.load_silero_vad(), call)()
    assert float(found(audio[:512], 16_000)) == wanted
    found.reset_states()
    assert float(found.forward(audio[:512], 16_000)) == wanted


def test_what_else_is_done_with_a_torch_module(audio: Any, model: Any) -> None:
    torch = pytest.importorskip("torch")
    assert model.to("cpu") is model.to(device="cpu", dtype=torch.float32) is model.train(False)
    assert model.requires_grad_(False) is model
    weights = list(model.parameters())
    assert next(model.parameters()).device == torch.device("cpu")
    assert sum(each.numel() for each in weights) >= 10_000
    assert [name for name, _ in model.named_parameters()] == [*model.state_dict()]
    assert model.training is False
    chunk = audio[:512]
    with torch.no_grad():
        for given_ in (chunk.half(), chunk.bfloat16(), chunk.double(), chunk.unsqueeze(0)):
            model.reset_states()
            assert float(model(given_.to(weights[0].device), torch.tensor(16_000))) < 0.5


def test_a_recording_ends_the_stream(audio: Any, model: Any) -> None:
    chunks = [audio[i : i + 512] for i in range(16_000, 32_000, 512)][:30]
    model.reset_states()
    wanted = [float(model(chunk, 16_000)) for chunk in chunks]
    for hear in (
        lambda: silero.get_speech_timestamps(audio, model),
        lambda: model.audio_forward(audio, sr=16_000),
    ):
        hear()
        assert [float(model(chunk, 16_000)) for chunk in chunks] == wanted


def test_torch_hub_loads_a_checkout(audio: Any) -> None:
    torch = pytest.importorskip("torch")
    model, utils = torch.hub.load(str(ROOT), "silero_vad", source="local", onnx=True)
    (get_speech_timestamps, save_audio, read_audio, iterator, collect_chunks) = utils
    assert len(get_speech_timestamps(audio, model)) == 5
    assert iterator(model)(audio[:512]) is None
    assert (save_audio, read_audio) == (silero.save_audio, silero.read_audio)
    assert collect_chunks is silero.collect_chunks


def test_without_torch_arrays_are_numpy_s(data_dir: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from vad.integrations.silero import *\n"
        "model, audio = load_silero_vad(), read_audio(sys.argv[1])\n"
        "found = get_speech_timestamps(audio, model)\n"
        "kept = collect_chunks(found, audio)\n"
        "print(len(found), type(kept).__module__, type(model(audio[:512], 16000)).__module__)"
    )
    command = [sys.executable, "-c", code, str(data_dir / "speech.wav")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["5", "numpy", "numpy"], done.stderr


@pytest.mark.skipif(not CHECKOUT, reason="SILERO_CHECKOUT names no checkout of silero-vad")
def test_silero_s_own_tests_pass(tmp_path: Path) -> None:
    """Unchanged: `silero_vad` is convad's module there."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, vad.integrations.silero as found; sys.modules['silero_vad'] = found\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/test_basic.py"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
