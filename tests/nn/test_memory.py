"""Pasts of many streams in rings: what goes in comes out, and slots do not touch."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vad import weights
from vad.nn.arrays import Numpy
from vad.nn.memory import AHEAD, Line, Past, Rings
from vad.nn.plan import Plan
from vad.nn.spec import to_probabilities

MODEL = weights.load("convad-base")
SIZE = MODEL.architecture.step_samples
PLAN = Plan(to_probabilities(MODEL.architecture.ops(MODEL.weights)), SIZE, Numpy())


Audio = NDArray[np.float32]


def noise(seed: int, *shape: int) -> Audio:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def a_past(seed: int) -> Past:
    silent = Past.silent(PLAN)
    return Past(noise(seed, PLAN.context), [noise(seed, *rows.shape) for rows in silent.rows])


def assert_same(one: Past, other: Past) -> None:
    np.testing.assert_array_equal(one.audio, other.audio)
    for own, others in zip(one.rows, other.rows, strict=True):
        np.testing.assert_allclose(own, others, atol=1e-4, rtol=1e-4)


def stepped(rings: Rings, slots: list[int], audio: Audio, steps: int) -> Audio:
    index = np.array(slots)
    signal = np.concatenate([rings.audio(index), audio], 1)
    found = []
    for at in range(steps):
        heard = signal[:, at * SIZE : (at + 1) * SIZE + PLAN.context].copy()
        found.append(PLAN.run(heard, rings.step(index, at)))
    rings.move(index, steps, signal[:, steps * SIZE :])
    return np.concatenate(found, 1)


def pieced(past: Past, audio: Audio) -> tuple[Audio, Past]:
    line = Line(PLAN, past.rows)
    signal = np.concatenate([past.audio, audio])
    values: Audio = PLAN.run(signal[None], line)
    return values, Past(signal[len(signal) - PLAN.context :], line.after)


def test_a_slot_gives_back_what_was_put() -> None:
    rings = Rings(PLAN)
    for slot in (0, 3):
        rings.put(slot, a_past(slot))
    assert_same(rings.take(3), a_past(3))
    assert_same(rings.take(0), a_past(0))


@pytest.mark.parametrize("steps", [1, 3, AHEAD])
def test_both_memories_remember_the_same(steps: int) -> None:
    """After so many turns that every ring has gone round."""
    rings, pasts = Rings(PLAN), [a_past(0), a_past(1)]
    rings.put(5, pasts[0])
    rings.put(2, pasts[1])
    for turn in range(150 // steps):
        audio = 0.1 * noise(turn, 2, steps * SIZE)
        found = stepped(rings, [5, 2], audio, steps)
        for i in range(2):
            expected, pasts[i] = pieced(pasts[i], audio[i])
            np.testing.assert_allclose(found[i : i + 1], expected, atol=1e-4)
    assert_same(rings.take(5), pasts[0])
    assert_same(rings.take(2), pasts[1])


def test_steps_that_were_given_up_leave_no_trace() -> None:
    rings, past = Rings(PLAN), a_past(0)
    rings.put(0, past)
    for ahead in range(AHEAD):
        PLAN.run(noise(1, 1, PLAN.context + SIZE), rings.step(np.array([0]), ahead))
    assert_same(rings.take(0), past)


def test_other_slots_stay_as_they_are() -> None:
    rings = Rings(PLAN)
    for slot in range(3):
        rings.put(slot, a_past(slot))
    stepped(rings, [1], noise(1, 1, SIZE), 1)
    assert_same(rings.take(0), a_past(0))
    assert_same(rings.take(2), a_past(2))


def test_more_streams_than_slots() -> None:
    rings = Rings(PLAN, slots=2)
    rings.put(1, a_past(1))
    held = rings.slot_bytes
    rings.put(9, a_past(9))
    assert rings.slots == 16
    assert rings.slot_bytes == held
    assert_same(rings.take(1), a_past(1))
    assert_same(rings.take(9), a_past(9))
