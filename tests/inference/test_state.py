"""Pasts of many streams in buffers: what goes in comes out, and slots do not touch."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.inference.arrays import Numpy
from vad.inference.plan import Plan
from vad.inference.state import MAX_BATCH_STEPS, RingBuffers, SignalContext, State
from vad.nn import weights
from vad.nn.ops import to_probabilities

MODEL = weights.load("convad-base")
SIZE = MODEL.architecture.step_samples
PLAN = Plan(to_probabilities(MODEL.architecture.ops(MODEL.weights)), SIZE, Numpy())


Audio = NDArray[np.float32]


def noise(seed: int, *shape: int) -> Audio:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def a_state(seed: int) -> State:
    silent = State.initial(PLAN)
    return State(noise(seed, PLAN.context), [noise(seed, *rows.shape) for rows in silent.rows])


def assert_same(one: State, other: State) -> None:
    np.testing.assert_array_equal(one.audio, other.audio)
    for own, others in zip(one.rows, other.rows, strict=True):
        np.testing.assert_allclose(own, others, atol=1e-4, rtol=1e-4)


def stepped(buffers: RingBuffers, slots: list[int], audio: Audio, steps: int) -> Audio:
    index = np.array(slots)
    signal = np.concatenate([buffers.audio(index), audio], 1)
    found = []
    for at in range(steps):
        heard = signal[:, at * SIZE : (at + 1) * SIZE + PLAN.context].copy()
        found.append(PLAN.run(heard, buffers.context(index, at)))
    buffers.advance(index, steps, signal[:, steps * SIZE :])
    return np.concatenate(found, 1)


def pieced(state: State, audio: Audio) -> tuple[Audio, State]:
    line = SignalContext(PLAN, state.rows)
    signal = np.concatenate([state.audio, audio])
    values: Audio = PLAN.run(signal[None], line)
    return values, State(signal[len(signal) - PLAN.context :], line.after)


def test_a_slot_gives_back_what_was_put() -> None:
    buffers = RingBuffers(PLAN)
    for slot in (0, 3):
        buffers.write(slot, a_state(slot))
    assert_same(buffers.read(3), a_state(3))
    assert_same(buffers.read(0), a_state(0))


@pytest.mark.parametrize("steps", [1, 3, MAX_BATCH_STEPS])
def test_both_memories_remember_the_same(steps: int) -> None:
    """After so many turns that every ring has gone round."""
    buffers, states = RingBuffers(PLAN), [a_state(0), a_state(1)]
    buffers.write(5, states[0])
    buffers.write(2, states[1])
    for turn in range(150 // steps):
        audio = 0.1 * noise(turn, 2, steps * SIZE)
        found = stepped(buffers, [5, 2], audio, steps)
        for i in range(2):
            expected, states[i] = pieced(states[i], audio[i])
            np.testing.assert_allclose(found[i : i + 1], expected, atol=1e-4)
    assert_same(buffers.read(5), states[0])
    assert_same(buffers.read(2), states[1])


def test_steps_that_were_given_up_leave_no_trace() -> None:
    buffers, state = RingBuffers(PLAN), a_state(0)
    buffers.write(0, state)
    for ahead in range(MAX_BATCH_STEPS):
        PLAN.run(noise(1, 1, PLAN.context + SIZE), buffers.context(np.array([0]), ahead))
    assert_same(buffers.read(0), state)


def test_other_slots_stay_as_they_are() -> None:
    buffers = RingBuffers(PLAN)
    for slot in range(3):
        buffers.write(slot, a_state(slot))
    stepped(buffers, [1], noise(1, 1, SIZE), 1)
    assert_same(buffers.read(0), a_state(0))
    assert_same(buffers.read(2), a_state(2))


def test_more_streams_than_slots() -> None:
    buffers = RingBuffers(PLAN, slots=2)
    buffers.write(1, a_state(1))
    held = buffers.slot_bytes
    buffers.write(9, a_state(9))
    assert buffers.slots == 16
    assert buffers.slot_bytes == held
    assert_same(buffers.read(1), a_state(1))
    assert_same(buffers.read(9), a_state(9))
