from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vad.training.repeats import APART, Batch, hearing, later, oldest, repeated


def batch(number: int) -> Batch:
    return torch.full((1, 1600), number), torch.full((1, 10), number), torch.zeros(1, 10)


def test_without_repeats_each_step_hears_a_new_batch() -> None:
    assert [hearing(step, 0) for step in range(5)] == [(step, 0) for step in range(5)]


@given(st.integers(0, 4))
def test_every_batch_is_heard_as_often_as_asked(repeats: int) -> None:
    times = repeats + 1
    steps = 10 * APART * times
    heard = Counter(hearing(step, repeats) for step in range(steps))
    settled = range(APART, 5 * APART)
    assert {again for _, again in heard} == set(range(times))
    for number in settled:
        assert [heard[number, again] for again in range(times)] == [1] * times
    assert max(heard.values()) <= times  # the first ones, while there is not much to go back to


@given(st.integers(0, 5000), st.integers(0, 4))
def test_no_step_from_here_on_hears_what_is_older_than_the_oldest(step: int, repeats: int) -> None:
    later_on = range(step, step + (repeats + 1) * APART)
    assert oldest(step, repeats) <= min(hearing(each, repeats)[0] for each in later_on)
    assert all(hearing(each, repeats)[0] <= each // (repeats + 1) for each in later_on)


@given(st.integers(0, 900), st.integers(1, 300), st.integers(0, 3))
def test_a_run_taken_up_anywhere_hears_what_the_whole_run_does(
    start: int, count: int, repeats: int
) -> None:
    steps = range(start, start + count)
    made = iter(map(batch, range(oldest(start, repeats), 10_000)))
    for step, (audio, labels, _) in zip(steps, repeated(made, steps, repeats), strict=True):
        number, again = hearing(step, repeats)
        assert audio[0, 0] == labels[0, 0] == number
        assert labels.shape[1] == 10 - again
    # No more is made than is heard.
    assert next(made)[0][0, 0] == (steps[-1]) // (repeats + 1) + 1


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_what_is_heard_again_begins_later_and_keeps_its_labels(frames: int) -> None:
    audio = torch.arange(10).repeat_interleave(160)[None]
    labels = torch.arange(10)[None]
    sound, said, heard = later((audio, labels, labels / 10), frames)
    assert torch.equal(sound[:, ::160], said)
    assert said[0, 0] == frames
    assert torch.equal(heard, said / 10)
