from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.errors import DataError
from vad.frames import HOP_SAMPLES
from vad.training import effects
from vad.training.draw import Draw
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.loop import as_float
from vad.training.mixing import Mixer, short_pauses
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe

EVERYTHING = SceneRecipe(
    seconds=2.0,
    babble=0.5,
    hum=0.5,
    notes=0.5,
    packet_loss=0.5,
    clipped=0.5,
    far_talk=0.5,
    lone=0.3,
    varied=0.5,
)
# Speech as it is, and nothing else.
BARE = SceneRecipe(
    seconds=4.0, without_speech=0, noise=0, music=0, noise_and_music=0, coloured=0, room=0,
    narrow_band=0, effects_over=0, babble=0, far_talk=0, hum=0, packet_loss=0, clipped=0,
    offset=0, level_db=(0.0, 0.0),
)  # fmt: skip


def talkers(corpora: list[Cached]) -> list[Cached]:
    """Short clips of one word each, of which it is plain where it sounds, instead of the reader."""
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(40, 90, 20)]
    labels = np.concatenate([np.pad(np.ones(n - 24, np.int8), 12) for n in lengths])
    audio = rng.standard_normal(len(labels) * 160) * np.repeat(1e-4 + 0.1 * labels, 160)
    rows: list[dict[str, object]] = [
        {"id": f"{i}", "frame": sum(lengths[:i]), "frames": n, "group": "", "level": -20.0}
        for i, n in enumerate(lengths)
    ]
    pcm = np.round(audio * 32767).astype(np.int16)
    return [c for c in corpora if c.kind != "speech"] + [
        Cached("w", "speech", pcm, labels, rows, Path())
    ]


def heard(mixer: Mixer, draw: Draw, count: int) -> tuple[Tensor, Tensor]:
    """Scenes as a network hears them."""
    audio, labels = mixer.scenes(draw, count)
    return as_float(audio), labels


def decibels(audio: Tensor) -> Tensor:
    return 10 * torch.log10(effects.frame_power(audio) + 1e-10)


def test_scenes_are_what_training_needs(cache: list[Cached]) -> None:
    audio, labels = Mixer(cache, EVERYTHING).scenes(Draw("cpu", 1), 60)
    assert (audio.dtype, audio.shape) == (torch.int16, (60, 32_000))
    assert (labels.dtype, labels.shape) == (torch.int8, (60, 200))
    assert audio.min() >= -32_767
    assert set(labels.unique().tolist()) == {SPEECH, NON_SPEECH, IGNORE}
    spread = as_float(audio).std(1)
    assert (spread > 0).all()
    assert len(spread.unique()) == 60


def test_clipped_scenes_stay_at_the_rail(cache: list[Cached]) -> None:
    recipe = replace(BARE, clipped=1.0, offset=1.0)
    audio = as_float(Mixer(cache, recipe).scenes(Draw("cpu", 12), 20)[0])
    assert audio.abs().max() == 1
    assert ((audio.abs() > 0.9).float().mean(1) > 1e-3).all()
    loud = Mixer(cache, recipe)._recorded(Draw("cpu", 13), torch.full((20, 1600), 0.99))
    assert (loud > 0).all()  # an overflow would come out as the other sign
    assert (loud == 32_767).any()


def test_scenes_depend_on_the_draw_alone(cache: list[Cached]) -> None:
    one, other = Mixer(cache, EVERYTHING), Mixer(cache, EVERYTHING)
    one.scenes(Draw("cpu", 1, 4), 8)
    torch.rand(3)
    for step in (3, 9):
        a, b = (mixer.scenes(Draw("cpu", 1, step), 8) for mixer in (one, other))
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    for seeds in ((1, 8), (2, 9)):
        assert not torch.equal(one.scenes(Draw("cpu", *seeds), 8)[0], b[0])


def test_another_process_makes_the_same_scenes(cache: list[Cached]) -> None:
    """What goes there is the cache's place and the recipe, not the sound."""
    mixer = Mixer(cache, EVERYTHING)
    data = pickle.dumps(mixer)
    assert len(data) < 5000
    for one, other in zip(
        mixer.scenes(Draw("cpu", 1), 4), pickle.loads(data).scenes(Draw("cpu", 1), 4), strict=True
    ):
        assert torch.equal(one, other)


def test_without_speech_there_is_none(cache: list[Cached]) -> None:
    silent = replace(EVERYTHING, without_speech=1.0)
    assert (Mixer(cache, silent).scenes(Draw("cpu", 2), 20)[1] == NON_SPEECH).all()
    _, labels = Mixer(cache, replace(BARE, without_speech=0.4)).scenes(Draw("cpu", 2), 400)
    assert float((labels != SPEECH).all(1).float().mean()) == pytest.approx(0.4, abs=0.08)


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_labels_sit_on_the_sound(cache: list[Cached], speed: float) -> None:
    """Frames of speech are loud and the others are not, in clips played faster and slower too."""
    mixer = Mixer(talkers(cache), replace(BARE, speed=speed, speech_spread_db=0.0))
    audio, labels = heard(mixer, Draw("cpu", 3), 40)
    loud = decibels(audio) > -35
    right = loud == (labels == SPEECH)
    if speed == 0:
        assert right.float().mean() > 0.995
    # An edge may fall into a frame, and an equaliser spreads it by some milliseconds.
    edge = torch.nn.functional.pad((labels.diff(dim=1) != 0).int(), (1, 1))
    assert right[(edge[:, 1:] + edge[:, :-1]) == 0].all()
    assert 0.1 < loud.float().mean() < 0.9


def test_speech_under_the_floor_is_not_judged(cache: list[Cached]) -> None:
    quiet = replace(EVERYTHING, level_db=(-70.0, -66.0), without_speech=0)
    assert not (heard(Mixer(cache, quiet), Draw("cpu", 5), 20)[1] == SPEECH).any()


def test_speech_that_noise_covers_is_not_judged(cache: list[Cached]) -> None:
    noisy = replace(BARE, coloured=1.0, snr_db=(-46.0, -45.0, -44.0))
    clear = replace(noisy, snr_db=(29.0, 30.0, 31.0))
    covered, plain = (
        heard(Mixer(talkers(cache), r), Draw("cpu", 6), 20)[1] for r in (noisy, clear)
    )
    assert not (covered == SPEECH).any()
    assert (covered == IGNORE).any()
    assert torch.equal(covered == NON_SPEECH, plain == NON_SPEECH)


@pytest.mark.parametrize("off_db", [-0.3, 0.3])
def test_what_is_not_judged_is_told_to_a_third_of_a_decibel(
    cache: list[Cached], off_db: float
) -> None:
    recipe = replace(BARE, masked_db=-30.0, inaudible_dbfs=-60.0, bridged_ms=50, bridged_db=20.0)
    off = 10 ** (off_db / 10)
    labels = torch.tensor([[SPEECH, SPEECH, SPEECH, NON_SPEECH, SPEECH]], dtype=torch.int8)
    # By frame: under the background, under the floor once the gain is in, neither, a pause in
    # noise, neither.
    speech = torch.tensor([[1e-3 * off, 1e-4 * off, 1.0, 0.0, 1.0]])
    background = torch.tensor([[1.0, 0.0, 0.0, 1e-2 / off, 0.0]])
    level, gain = torch.tensor([[1.0]]), torch.tensor([[0.1]])
    found = Mixer(cache, recipe)._doubt(labels, speech, background, level, gain)
    doubted = [True, True, False, True, False] if off_db < 0 else [False] * 5
    assert (found == IGNORE)[0].tolist() == doubted
    assert torch.equal(found[found != IGNORE], labels[found != IGNORE])


def test_background_stands_where_the_ratio_puts_it(cache: list[Cached]) -> None:
    """10 dB under the speech, by what sounds in the frames where nobody speaks."""
    recipe = replace(BARE, noise=1.0, snr_db=(9.99, 10.0, 10.01), speech_spread_db=0.0)
    audio, labels = heard(Mixer(cache, recipe), Draw("cpu", 7), 40)
    power = effects.frame_power(audio)
    talk = [p[row == SPEECH].mean() for p, row in zip(power, labels, strict=True)]
    rest = [p[row == NON_SPEECH].median() for p, row in zip(power, labels, strict=True)]
    ratio = 10 * torch.log10(torch.stack(talk) / torch.stack(rest))
    assert float(ratio.nanmedian()) == pytest.approx(10.4, abs=2)  # of speech and noise to noise


def test_levels_are_those_of_the_recipe(cache: list[Cached]) -> None:
    recipe = replace(BARE, noise=1.0, level_db=(-30.0, -20.0))
    peak = 20 * torch.log10(heard(Mixer(cache, recipe), Draw("cpu", 8), 60)[0].abs().amax(1))
    assert -30.5 < float(peak.min()) < -28
    assert -22 < float(peak.max()) < -19.5


def test_lone_scenes_hold_one_utterance(cache: list[Cached]) -> None:
    """And the background leaves it in quiet, whatever the others' ratio."""
    loud = replace(BARE, coloured=1.0, snr_db=(-1.0, 0.0, 1.0), speed=0)
    words = []
    for recipe in (loud, replace(loud, lone=1.0)):
        audio, labels = heard(Mixer(talkers(cache), recipe), Draw("cpu", 9), 30)
        spoken = (labels == SPEECH).int()
        words.append(torch.relu(spoken.diff(dim=1, prepend=torch.zeros(30, 1).int())).sum(1))
        level = decibels(audio)
        ratio = level[labels == SPEECH].median() - level[labels == NON_SPEECH].median()
        assert (ratio > 20) == bool(recipe.lone)
    assert words[0].max() > 1
    assert words[1].max() == 1


def test_telephone_scenes_have_a_telephones_band(cache: list[Cached]) -> None:
    recipe = replace(BARE, noise=1.0, level_db=(0.0, 0.0), snr_db=(-10.0, -9.0, -8.0))
    wide, narrow = (
        heard(Mixer(cache, replace(recipe, narrow_band=p, mu_law=0.0)), Draw("cpu", 10), 20)[0]
        for p in (0.0, 1.0)
    )

    def above(audio: Tensor) -> float:
        power = torch.fft.rfft(audio).abs().square().mean(0)
        ratio = power[4500 * 4 : 7500 * 4].mean() / power[500 * 4 : 2500 * 4].mean()
        return float(10 * torch.log10(ratio))

    assert above(wide) > -12
    assert above(narrow) < -28  # what is left there is the converter's own noise


def test_held_out_clips_are_never_drawn(cache: list[Cached]) -> None:
    rules = ("hum", ":p", "hiss%2")
    mixer = Mixer(cache, replace(EVERYTHING, held_out=rules))
    noise, music = mixer.background.noise, mixer.background.music
    assert noise is not None
    assert music is not None
    assert len(noise.count) == len(music.count) == 1
    assert music.lengths.tolist() == [250]
    kept = [sum(map(ord, str(row["id"]))) % 2 for c in cache if c.name == "hiss" for row in c.clips]
    assert len(noise.starts) == sum(kept) < len(kept)
    drawn = noise.lay(
        Draw("cpu", 1), torch.zeros(50, 4, dtype=torch.int64), torch.zeros(50, 4).long(), 300
    ).clip
    assert drawn.unique().tolist() == list(range(sum(kept)))
    with pytest.raises(DataError):
        Mixer(cache, replace(EVERYTHING, held_out=("reader",)))
    with pytest.raises(DataError):
        Mixer(cache, replace(EVERYTHING, held_out=("hum", "hiss", "tones")))


def test_held_out_sound_is_in_no_scene(cache: list[Cached]) -> None:
    """Clips marked by a constant that nothing else has."""
    marked = [
        replace(c, audio=c.audio.copy(), labels=c.labels.copy()) if c.name == "hiss" else c
        for c in cache
    ]
    (hiss,) = (c for c in marked if c.name == "hiss")
    first = hiss.clips[0]
    hiss.audio[int(str(first["frame"])) * 160 :][: int(str(first["frames"])) * 160] = 32_000
    recipe = replace(
        BARE, without_speech=1.0, noise=1.0, held_out=("hum", "tones"), level_db=(-1.0, -1.0)
    )

    def constant(recipe: SceneRecipe) -> bool:
        audio = heard(Mixer(marked, recipe), Draw("cpu", 11), 30)[0]
        still = audio.unflatten(1, (-1, 160)).std(2)  # type: ignore[no-untyped-call]
        return bool((still < 0.01).float().mean() > 0.1)

    assert constant(recipe)
    hiss.clips[0] = first | {"group": "marked"}
    assert not constant(replace(recipe, held_out=(*recipe.held_out, ":marked")))


def test_another_noise_comes_and_goes_over_a_background(cache: list[Cached]) -> None:
    def spread(layered: float) -> Tensor:
        """Of the level from one tenth of a scene to another."""
        recipe = replace(
            BARE, without_speech=1, noise=0, coloured=1, snr_db=(-1, 0, 1), layered=layered
        )
        audio = heard(Mixer(cache, recipe), Draw("cpu", 3), 40)[0]
        return 10 * audio.view(40, 10, -1).square().mean(2).log10().std(1)

    assert spread(1.0).mean() > 2 * spread(0.0).mean()
    # Where there is no background there is none to lay it over.
    recipe = replace(BARE, without_speech=1, layered=1)
    audio = heard(Mixer(cache, recipe), Draw("cpu", 4), 10)[0]
    assert decibels(audio).max() < -45


def test_short_pauses_have_speech_on_both_sides() -> None:
    labels = torch.tensor(
        [[0, 0, 1, 0, 0, 1, 0, 0, 0, 1], [1, 0, -1, 0, 1, 0, 1, 1, 0, 0], [0] * 10],
        dtype=torch.int8,
    )
    assert short_pauses(labels, 2).int().tolist() == [
        [0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        [0] * 10,
    ]
    assert short_pauses(labels, 3).int().tolist()[:2] == [
        [0, 0, 0, 1, 1, 0, 1, 1, 1, 0],
        [0, 1, 0, 1, 0, 1, 0, 0, 0, 0],
    ]


def test_short_pauses_in_noise_are_not_judged(cache: list[Cached]) -> None:
    recipe = replace(BARE, coloured=1, bridged_ms=1500, bridged_db=12)

    def pauses(snr_db: float, bridged_ms: int) -> int:
        some = replace(recipe, snr_db=(snr_db - 1, snr_db, snr_db + 1), bridged_ms=bridged_ms)
        labels = Mixer(talkers(cache), some).scenes(Draw("cpu", 5), 30)[1]
        return int(short_pauses(labels, 150).sum())

    assert pauses(40, 1500) == pauses(40, 0) > 1000
    assert pauses(0, 0) > 1000
    assert pauses(0, 1500) < 20


def test_muted_scenes_are_digital_silence_before_the_words_and_never_in_them(
    cache: list[Cached],
) -> None:
    def zeros(recipe: SceneRecipe) -> tuple[Tensor, Tensor]:
        audio, labels = Mixer(talkers(cache), recipe).scenes(Draw("cpu", 6), 40)
        return (audio.view(40, -1, HOP_SAMPLES) == 0).all(2), labels

    loud = replace(BARE, coloured=1, snr_db=(0, 1, 2), level_db=(-6, 0))
    assert not zeros(loud)[0].any()
    silent, labels = zeros(replace(loud, muted=1))
    assert silent.any(1).float().mean() > 0.8
    assert silent[:, :30].sum() > 1.5 * silent[:, -30:].sum()
    assert not silent[labels != 0].any()
    # Some end within 100 ms of a word, and some don't.
    ends = torch.nonzero(silent[:, :-10] & ~silent[:, 1:-9])
    soon = torch.stack([(labels[row, place : place + 11] != 0).any() for row, place in ends])
    assert 0.1 < soon.float().mean() < 0.9


def test_first_words_come_at_any_time(cache: list[Cached]) -> None:
    def first(recipe: SceneRecipe) -> Tensor:
        labels = Mixer(talkers(cache), recipe).scenes(Draw("cpu", 7), 100)[1]
        return (labels == SPEECH).int().argmax(1) / labels.shape[1]

    assert (first(BARE) > 0.6).float().mean() < 0.1
    late = first(replace(BARE, late=1))
    assert 0.2 < (late > 0.6).float().mean() < 0.5
    assert (late < 0.3).float().mean() > 0.1
