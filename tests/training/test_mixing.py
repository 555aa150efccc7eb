from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vad.errors import DataError
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.mixing import Mixer, SceneRecipe
from vad.training.pools import held_out
from vad.training.prepare import Cached

EVERYTHING = SceneRecipe(
    seconds=2.0,
    babble=0.5,
    hum=0.5,
    packet_loss=0.5,
    clipped=0.5,
    far_talk=0.5,
    lone=0.3,
    varied=0.5,
    coded=0.3,
)


def test_scenes_are_what_training_needs(cache: list[Cached]) -> None:
    mixer = Mixer(cache, EVERYTHING)
    seen = set()
    for i in range(60):
        audio, labels = mixer.scene(np.random.default_rng([1, i]))
        assert audio.dtype == np.float32
        assert audio.shape == (32_000,)
        assert labels.dtype == np.int8
        assert labels.shape == (200,)
        assert np.abs(audio).max() <= 1
        assert np.isfinite(audio).all()
        seen |= set(labels.tolist())
    assert seen == {SPEECH, NON_SPEECH, IGNORE}


def test_scene_depends_on_its_number_alone(cache: list[Cached]) -> None:
    one, other = Mixer(cache, EVERYTHING), Mixer(cache, EVERYTHING)
    one.scene(np.random.default_rng([1, 4]))
    for i in (3, 9):
        a, b = (m.scene(np.random.default_rng([1, i])) for m in (one, other))
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_without_speech_there_is_none(cache: list[Cached]) -> None:
    mixer = Mixer(cache, replace(EVERYTHING, without_speech=1.0))
    for i in range(10):
        assert (mixer.scene(np.random.default_rng(i))[1] == NON_SPEECH).all()


def test_labels_sit_on_the_sound(cache: list[Cached]) -> None:
    """In a quiet scene, speech frames are loud and the others are not."""
    quiet = SceneRecipe(
        seconds=4.0, without_speech=0, noise=0, music=0, noise_and_music=0, coloured=0, room=0,
        narrow_band=0, effects_over=0, babble=0, far_talk=0, hum=0, packet_loss=0, clipped=0,
        offset=0, level_db=(0.0, 0.0),
    )  # fmt: skip
    mixer = Mixer(cache, quiet)
    loud, still = [], []
    for i in range(15):
        audio, labels = mixer.scene(np.random.default_rng(i))
        level = 10 * np.log10(np.mean(audio.reshape(-1, 160) ** 2, axis=1) + 1e-10)
        loud.append(level[labels == SPEECH])
        still.append(level[labels == NON_SPEECH])
    assert np.median(np.concatenate(loud)) > np.median(np.concatenate(still)) + 20


def test_speech_under_the_floor_is_not_judged(cache: list[Cached]) -> None:
    mixer = Mixer(cache, replace(EVERYTHING, level_db=(-70.0, -66.0), without_speech=0))
    for i in range(5):
        assert not (mixer.scene(np.random.default_rng(i))[1] == SPEECH).any()


def test_held_out_clips_are_never_drawn(cache: list[Cached]) -> None:
    rules = ("hum", ":p", "hiss%2")
    mixer = Mixer(cache, replace(EVERYTHING, held_out=rules))
    assert len(mixer.noise) == 1
    (music,) = mixer.music.pools
    assert music.lengths.tolist() == [250]
    with pytest.raises(DataError):
        Mixer(cache, replace(EVERYTHING, held_out=("reader",)))


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("a", True), ("b", False), ("a:g", True), ("a:h", False), (":g", True), ("b:g", False)],
)
def test_held_out_rules(rule: str, kept: bool) -> None:
    assert held_out("a", {"id": "x", "group": "g"}, (rule,)) is kept


def test_one_clip_in_n_is_held_out() -> None:
    rows: list[dict[str, object]] = [{"id": f"clip{i}", "group": ""} for i in range(700)]
    share = np.mean([held_out("c", row, ("c%7",)) for row in rows])
    assert 0.08 < share < 0.22
