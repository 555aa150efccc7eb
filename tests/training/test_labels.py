from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.evaluation.timing import runs
from vad.training.labels import (
    IGNORE,
    NON_SPEECH,
    SPEECH,
    dilate,
    drop_short,
    fill_short,
    frame_energy_db,
    from_intervals,
    label,
)

masks = st.lists(st.booleans(), max_size=60).map(lambda bits: np.array(bits, bool))


def burst(*spans: tuple[int, int], frames: int = 300, level: float = 0.3) -> NDArray[np.float32]:
    """Noise bursts over [start, end) frames on a faint floor."""
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(frames * 160) * 1e-4
    for start, end in spans:
        audio[start * 160 : end * 160] += rng.standard_normal((end - start) * 160) * level
    return audio.astype(np.float32)


def test_energy_draws_the_line_inside_what_the_reference_takes_for_speech() -> None:
    audio = burst((50, 120), (150, 200))
    reference = np.zeros(300, np.float32)
    reference[45:210] = 0.95  # bridges the pause and runs over both ends
    labels = label(audio, reference)
    assert (labels[51:119] == SPEECH).all()
    assert (labels[151:199] == SPEECH).all()
    assert (labels[125:145] == NON_SPEECH).all()
    assert (labels[:46] == NON_SPEECH).all()
    assert (labels[205:] == NON_SPEECH).all()


def test_loud_sound_that_surely_is_no_speech_is_a_negative_and_doubt_is_ignored() -> None:
    audio = burst((20, 60), (100, 160), (220, 260))
    reference = np.full(300, 0.01, np.float32)
    reference[100:160] = 0.99
    reference[220:260] = 0.2
    labels = label(audio, reference)
    assert (labels[21:59] == NON_SPEECH).all()
    assert (labels[101:159] == SPEECH).all()
    assert (labels[221:259] == IGNORE).all()


def test_stop_closures_are_filled_and_blips_dropped() -> None:
    audio = burst((50, 80), (85, 110), (200, 202))
    reference = np.full(300, 0.9, np.float32)
    labels = label(audio, reference)
    assert (labels[50:110] == SPEECH).all()
    assert not (labels[198:206] == SPEECH).any()


def test_noisy_clips_are_left_to_the_references() -> None:
    rng = np.random.default_rng(1)
    audio = (rng.standard_normal(48_000) * 0.1).astype(np.float32)
    reference = np.repeat(np.array([0.9, 0.4, 0.05], np.float32), 100)
    labels = label(audio, reference)
    assert (labels == np.repeat(np.array([SPEECH, IGNORE, NON_SPEECH]), 100)).all()


def test_energy_is_that_of_the_frame() -> None:
    energy = frame_energy_db(burst((100, 110)))
    assert energy.shape == (300,)
    assert 100 <= int(energy.argmax()) < 110
    assert energy[102] - energy[50] > 50


def test_intervals_by_centre() -> None:
    assert from_intervals([(0.004, 0.026)], 4).tolist() == [1, 1, 1, 0]
    assert from_intervals([(0.006, 0.024)], 4).tolist() == [0, 1, 0, 0]


@given(masks, st.integers(0, 5))
def test_dilate_fill_and_drop(mask: NDArray[np.bool_], n: int) -> None:
    wide = dilate(mask, n)
    for i in range(len(mask)):
        assert wide[i] == mask[max(0, i - n) : i + n + 1].any()
    filled, dropped = fill_short(mask, n), drop_short(mask, n)
    assert (filled >= mask).all()
    assert (dropped <= mask).all()
    assert all(b - a > n for a, b in runs(dropped))
    assert all(b - a > n for a, b in runs(~filled) if a > 0 and b < len(mask))
