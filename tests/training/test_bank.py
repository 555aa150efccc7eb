"""Rows of clips laid by operations on whole batches, against a plain loop over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vad.frames import HOP_SAMPLES
from vad.training.bank import Bank, held_out, unknown
from vad.training.draw import Draw
from vad.training.prepare import Cached

Audio = NDArray[np.float32]
SLOTS = 4


def corpus(name: str, lengths: list[int], kind: str = "speech", seed: int = 0) -> Cached:
    """Clips of noise and of labels by lot, so many frames each."""
    rng, frames = np.random.default_rng(seed), sum(lengths)
    audio = rng.integers(-30_000, 30_000, frames * HOP_SAMPLES).astype(np.int16)
    labels = rng.integers(-1, 2, frames).astype(np.int8)
    rows: list[dict[str, object]] = [
        {"id": f"{name}{i}", "frame": sum(lengths[:i]), "frames": n, "group": "", "level": -20.0}
        for i, n in enumerate(lengths)
    ]
    return Cached(name, kind, audio, labels, rows, Path())


def bank(*corpora: Cached, **boost: float) -> Bank:
    found = Bank.of(corpora, corpora[0].kind, boost, ())
    assert found is not None
    return found


CLIPS = bank(corpus("a", [60, 90, 110, 400], seed=1), corpus("b", [70], seed=2))


@dataclass
class Plain:
    """What `Bank.lay` does, one clip after the other."""

    frames: int
    longest: int | None = None

    def lay(
        self, seed: int, corpora: torch.Tensor, gaps: torch.Tensor, speed: float, backwards: bool
    ) -> tuple[Audio, NDArray[np.int8], NDArray[np.int64]]:
        draw = Draw("cpu", seed)  # the same numbers that the bank gets
        clip = CLIPS.first[corpora] + draw.below(CLIPS.count[corpora])
        most = int(np.ceil(speed * min(self.longest or self.frames, self.frames)))
        lengths = CLIPS.lengths[clip].clamp_max(most)
        sources = CLIPS.starts[clip] + draw.below(CLIPS.lengths[clip] - lengths + 1)
        audio = np.zeros((len(gaps), self.frames * HOP_SAMPLES), np.float32)
        labels = np.zeros((len(gaps), self.frames), np.int8)
        slots = np.full((len(gaps), self.frames), SLOTS)
        for row in range(len(gaps)):
            at = 0
            for slot in range(SLOTS):
                at += int(gaps[row, slot])
                source, length = int(sources[row, slot]), int(lengths[row, slot])
                sound, spoken = self._clip(source, length, speed, backwards)
                fits = max(0, min(len(spoken), self.frames - at))
                audio[row, at * HOP_SAMPLES : (at + fits) * HOP_SAMPLES] = sound[
                    : fits * HOP_SAMPLES
                ]
                labels[row, at : at + fits] = spoken[:fits]
                slots[row, at : at + fits] = slot
                at += len(spoken)
        return audio, labels, slots

    def _clip(
        self, source: int, length: int, speed: float, backwards: bool
    ) -> tuple[Audio, NDArray[np.int8]]:
        start = source * HOP_SAMPLES
        samples = CLIPS.audio.numpy()[start : start + length * HOP_SAMPLES].astype(np.float64)
        labels = CLIPS.labels.numpy()[source : source + length]
        if backwards:
            samples, labels = samples[::-1], labels[::-1]
        lasts = int(length / speed)
        where = np.arange(lasts * HOP_SAMPLES) * speed
        sound = (np.interp(where, np.arange(len(samples)), samples) / 32768).astype(np.float32)
        ramp = np.minimum(np.arange(HOP_SAMPLES) / 80, 1).astype(np.float32)  # 5 ms
        sound[:HOP_SAMPLES] *= ramp
        sound[-HOP_SAMPLES:] *= ramp[::-1]
        centres = ((np.arange(lasts) + 0.5) * speed).astype(int)
        return sound, labels[np.minimum(centres, length - 1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("longest", [None, 50])
@pytest.mark.parametrize(
    ("speed", "backwards"),
    [(1.0, False), (1.0, True), (1.5, False), (0.75, False), (2.0, True), (0.5, True)],
)
def test_rows_are_what_a_loop_over_clips_makes(
    seed: int, longest: int | None, speed: float, backwards: bool
) -> None:
    """Clips that end in the row, that its end cuts off, and that never come into it."""
    rows, frames = 6, 400
    corpora = Draw("cpu", 9, seed).below(torch.full((rows, SLOTS), 2))
    gaps = Draw("cpu", 8, seed).below(torch.full((rows, SLOTS), 80))
    gaps[0, 0], gaps[1, 1], gaps[2, 2] = 0, 0, 10_000
    found = CLIPS.lay(
        Draw("cpu", seed), corpora, gaps, frames, longest=longest,
        speed=torch.full((rows, SLOTS), speed), backwards=torch.full((rows, SLOTS), backwards),
    )  # fmt: skip
    audio, labels, slots = Plain(frames, longest).lay(seed, corpora, gaps, speed, backwards)
    assert (labels != 0).any(axis=1).all()
    np.testing.assert_array_equal(found.labels.numpy(), labels)
    np.testing.assert_array_equal(found.slot.numpy(), slots)
    if speed == 1:
        np.testing.assert_array_equal(found.audio.numpy(), audio)
    else:
        np.testing.assert_allclose(found.audio.numpy(), audio, atol=1e-4)


def test_mixed_speeds_in_a_row_are_each_clips_own() -> None:
    gaps = torch.full((3, SLOTS), 5)
    corpora = torch.zeros_like(gaps)
    speed = torch.tensor([1.0, 1.5, 1.0, 0.75]).expand(3, -1)
    backwards = torch.tensor([False, False, True, True]).expand(3, -1)
    found = CLIPS.lay(
        Draw("cpu", 1), corpora, gaps, 2000, speed=speed, backwards=backwards
    )  # fmt: skip
    for slot in range(SLOTS):
        alone = CLIPS.lay(
            Draw("cpu", 1), corpora, gaps, 2000,
            speed=speed[:, slot : slot + 1].expand(-1, SLOTS),
            backwards=backwards[:, slot : slot + 1].expand(-1, SLOTS),
        )  # fmt: skip
        for row in range(3):
            here, there = found.slot[row] == slot, alone.slot[row] == slot
            assert torch.equal(found.labels[row, here], alone.labels[row, there])
            a = found.audio.view(3, -1, HOP_SAMPLES)[row, here]
            assert torch.equal(a, alone.audio.view(3, -1, HOP_SAMPLES)[row, there])


def test_left_out_speed_and_direction_are_as_recorded() -> None:
    gaps = torch.full((2, SLOTS), 7)
    plain = CLIPS.lay(Draw("cpu", 3), torch.zeros_like(gaps), gaps, 300)
    told = CLIPS.lay(
        Draw("cpu", 3), torch.zeros_like(gaps), gaps, 300,
        speed=torch.ones(2, SLOTS), backwards=torch.zeros(2, SLOTS, dtype=torch.bool),
    )  # fmt: skip
    assert torch.equal(plain.audio, told.audio)
    assert torch.equal(plain.labels, told.labels)


def test_scaling_and_unit_power_are_by_clip() -> None:
    gaps = torch.full((2, SLOTS), 10)
    rows = CLIPS.lay(Draw("cpu", 4), torch.ones_like(gaps), gaps, 400)
    gains = torch.tensor([[1.0, 2.0, 0.5, 0.0]] * 2)
    for made, wanted in (
        (rows.scaled(gains), None),
        (rows.at_unit_power(), torch.ones(2, SLOTS)),
        (rows.at_unit_power(gains), gains),
    ):
        framed = made.view(2, -1, HOP_SAMPLES)
        assert (framed[rows.slot == SLOTS] == 0).all()
        for slot in range(SLOTS):
            here = rows.slot == slot
            if wanted is None:
                original = rows.audio.view(2, -1, HOP_SAMPLES)[here]
                torch.testing.assert_close(framed[here], original * gains[0, slot])
            else:
                level = framed[here].square().mean().sqrt()
                assert float(level) == pytest.approx(float(wanted[0, slot]), abs=1e-3)


def test_corpora_are_drawn_by_the_root_of_their_size_and_their_boost() -> None:
    small, big = corpus("small", [100] * 4), corpus("big", [400] * 9)  # 400 and 3600 frames: 1 : 3
    plain = bank(small, big)
    boosted = bank(small, big, small=6.0)
    for made, share in ((plain, 1 / 4), (boosted, 6 / 9)):
        drawn = made.corpora(Draw("cpu", 1), 20_000)
        assert float((drawn == 0).float().mean()) == pytest.approx(share, abs=0.015)
        assert int(drawn.max()) == 1
    assert plain.up_to.tolist() == pytest.approx([0.25, 1.0])


def test_clips_without_speech_are_no_speech() -> None:
    quiet = corpus("q", [100, 100])
    quiet.labels[100:] = 0
    quiet.labels[110:124] = 1  # a frame less than the shortest word
    assert len(bank(quiet).lengths) == 1
    noise = replace(quiet, kind="noise")
    assert len(bank(noise).lengths) == 2
    assert Bank.of([noise], "music", {}, ()) is None
    assert Bank.of([noise], "noise", {}, ("q",)) is None


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


def test_names_of_nothing_that_is_here_are_found() -> None:
    here = corpus("a", [60])
    here.clips[0]["group"] = "g"
    named = ["a", "a:g", ":g", "a%7", "%7", "%7:g", "b", "a:h", ":h", "b%7", "b:g"]
    assert unknown([here, corpus("c", [60])], named) == named[6:]
