"""Pasts of many streams in rings: what goes in comes out, and slots do not touch."""

from __future__ import annotations

import pytest
import torch

from vad.nn import ARCHITECTURES, Network, fold_norms
from vad.nn.memory import AHEAD, Line, Past, Rings
from vad.nn.plan import Plan

CPU = torch.device("cpu")
torch.manual_seed(7)
NETWORK = fold_norms(Network(ARCHITECTURES["base"]))
PLAN = Plan(NETWORK)
SIZE = NETWORK.step_samples


def a_past(seed: int) -> Past:
    generator = torch.Generator().manual_seed(seed)
    silent = Past.silent(PLAN, CPU)
    rows = [torch.randn(each.shape, generator=generator) for each in silent.rows]
    return Past(torch.randn(PLAN.context, generator=generator), rows)


def assert_same(one: Past, other: Past) -> None:
    torch.testing.assert_close(one.audio, other.audio)
    torch.testing.assert_close(one.rows, other.rows, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def stepped(rings: Rings, slots: list[int], audio: torch.Tensor, steps: int) -> torch.Tensor:
    index = torch.tensor(slots)
    signal = torch.cat([rings.audio(index), audio], 1)
    found = [
        PLAN.run(signal[:, at * SIZE : (at + 1) * SIZE + PLAN.context], rings.step(index, at))
        for at in range(steps)
    ]
    rings.move(index, steps, signal[:, steps * SIZE :])
    return torch.cat(found, 1)


@torch.inference_mode()
def pieced(past: Past, audio: torch.Tensor) -> tuple[torch.Tensor, Past]:
    line = Line(PLAN, past.rows)
    signal = torch.cat([past.audio, audio])
    return PLAN.run(signal[None], line), Past(signal[len(signal) - PLAN.context :], line.after)


def test_a_slot_gives_back_what_was_put() -> None:
    rings = Rings(PLAN, CPU)
    for slot in (0, 3):
        rings.put(slot, a_past(slot))
    assert_same(rings.take(3), a_past(3))
    assert_same(rings.take(0), a_past(0))


@pytest.mark.parametrize("steps", [1, 3, AHEAD])
def test_both_memories_remember_the_same(steps: int) -> None:
    """After so many turns that every ring has gone round."""
    rings, pasts = Rings(PLAN, CPU), [a_past(0), a_past(1)]
    rings.put(5, pasts[0])
    rings.put(2, pasts[1])
    generator = torch.Generator().manual_seed(8)
    for _ in range(150 // steps):
        audio = torch.randn(2, steps * SIZE, generator=generator) * 0.1
        found = stepped(rings, [5, 2], audio, steps)
        for i in range(2):
            expected, pasts[i] = pieced(pasts[i], audio[i])
            torch.testing.assert_close(found[i : i + 1], expected, atol=1e-4, rtol=0)
    assert_same(rings.take(5), pasts[0])
    assert_same(rings.take(2), pasts[1])


def test_steps_that_were_given_up_leave_no_trace() -> None:
    rings, past = Rings(PLAN, CPU), a_past(0)
    rings.put(0, past)
    wrong = torch.randn(1, PLAN.context + SIZE)
    with torch.inference_mode():
        for ahead in range(AHEAD):
            PLAN.run(wrong, rings.step(torch.tensor([0]), ahead))
    assert_same(rings.take(0), past)


def test_other_slots_stay_as_they_are() -> None:
    rings = Rings(PLAN, CPU)
    for slot in range(3):
        rings.put(slot, a_past(slot))
    stepped(rings, [1], torch.randn(1, SIZE), 1)
    assert_same(rings.take(0), a_past(0))
    assert_same(rings.take(2), a_past(2))


def test_more_streams_than_slots() -> None:
    rings = Rings(PLAN, CPU, slots=2)
    rings.put(1, a_past(1))
    held = rings.slot_bytes
    rings.put(9, a_past(9))
    assert rings.slots == 16
    assert rings.slot_bytes == held
    assert_same(rings.take(1), a_past(1))
    assert_same(rings.take(9), a_past(9))
