"""No session touches another's, whatever is done to either of them and in whichever order."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.inference.engine import Engine, Signal
from vad.inference.state import MAX_BATCH_STEPS
from vad.nn import weights

Audio = NDArray[np.float32]

MODEL = weights.load("convad-tiny")
STEP = MODEL.architecture.step_samples
# Whose sessions are each alone with themselves: their pasts never lie in slots.
SOLO = Engine(MODEL, "cpu", threads=1)


def speech(seed: int, seconds: int = 8) -> Audio:
    """Another piece for each seed, loud enough that a foreign past would be heard."""
    path = Path(__file__).parents[1] / "data" / "speech.wav"
    audio, _ = soundfile.read(path, dtype="float32")
    found: Audio = np.roll(audio, -seed * 30_011)[: seconds * 16_000] * np.float32(3)
    return found


def test_these_signals_would_tell() -> None:
    """A past that is another's shows far over the tolerance of the tests below."""
    ours, other = SOLO.signal(), SOLO.signal()
    SOLO.push(ours, speech(0)[: STEP * 100])
    SOLO.push(other, speech(1)[: STEP * 100])
    piece = speech(0)[STEP * 100 : STEP * 105]
    assert np.abs(SOLO.push(ours, piece) - SOLO.push(other, piece)).max() > 0.01


# What happens in a turn to each of some streams: it gets so many samples (0: an empty block; more
# than MAX_BATCH_STEPS steps: a piece of its own), is flushed, forgets, ends and is followed by a
# new one, or is let alone.
_does = st.one_of(
    st.integers(0, 3 * STEP),
    st.sampled_from(
        [0, STEP, STEP, STEP, MAX_BATCH_STEPS * STEP, (MAX_BATCH_STEPS + 1) * STEP, 40 * STEP + 7]
    ),
    st.sampled_from(["flush", "forget", "finish", "vanish", "wait"]),
)
_turns = st.lists(st.lists(_does, min_size=4, max_size=4), min_size=3, max_size=25)


class _Streams:
    """Some streams of one engine, and of each all that came out."""

    def __init__(self, engine: Engine, signals: Sequence[Audio]) -> None:
        self.engine, self.signals = engine, signals
        self.sessions = [engine.signal() for _ in signals]
        self.at = [0] * len(signals)
        self.found: list[list[Audio]] = [[] for _ in signals]

    def turn(self, does: Sequence[int | str]) -> None:
        pushes = [(i, self._next(i, n)) for i, n in enumerate(does) if isinstance(n, int)]
        values = self.engine.push_many([(self.sessions[i], audio) for i, audio in pushes])
        for (i, _), got in zip(pushes, values, strict=True):
            self.found[i].append(got)
        for i, what in enumerate(does):
            if what in ("flush", "forget", "finish"):
                self.found[i].append(self.engine.flush(self.sessions[i]))
            if what == "forget":
                self.engine.forget(self.sessions[i])
            if what in ("finish", "vanish"):
                self.sessions[i] = self.engine.signal()

    def _next(self, i: int, samples: int) -> Audio:
        start = self.at[i]
        self.at[i] = start + samples
        return self.signals[i][start : start + samples]


@settings(max_examples=60, deadline=None)
@given(turns=_turns)
def test_whatever_happens_each_is_as_if_alone(turns: list[list[int | str]]) -> None:
    signals = [speech(i) for i in range(4)]
    together = _Streams(Engine(MODEL, "cpu", threads=1), signals)
    for does in turns:
        together.turn(does)
    for i in range(4):
        alone = _Streams(SOLO, [signals[i]])
        for does in turns:
            alone.turn(does[i : i + 1])
        assert all(session.slot is None for session in alone.sessions)
        for got, expected in zip(together.found[i], alone.found[0], strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4)


def test_another_engines_session_is_refused() -> None:
    """Its slot would be somebody else's here."""
    engine, other = (Engine(MODEL, "cpu", threads=1) for _ in range(2))
    sessions = [engine.signal() for _ in range(2)]
    engine.push_many([(session, speech(0)[:STEP]) for session in sessions])
    strangers = [other.signal() for _ in range(2)]
    other.push_many([(session, speech(1)[:STEP]) for session in strangers])
    assert sessions[0].slot == strangers[0].slot
    calls: list[Callable[[Signal], object]] = [
        lambda session: engine.push(session, speech(0)[:STEP]),
        lambda session: engine.push_many([(sessions[0], speech(0)[:7]), (session, speech(0)[:7])]),
        engine.flush,
        engine.forget,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="this engine's"):
            call(strangers[0])
    assert [session.samples for session in (*sessions, *strangers)] == [STEP] * 4


def test_a_session_may_not_come_twice_in_a_batch() -> None:
    engine = Engine(MODEL, "cpu", threads=1)
    session = engine.signal()
    with pytest.raises(ValueError, match="once"):
        engine.push_many([(session, speech(0)[:STEP])] * 2)
    assert (session.samples, session.slot) == (0, None)


def test_no_memory_for_more_slots_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(MODEL, "cpu", threads=1)
    put = engine._buffers.write

    def fails(*_: Any) -> None:
        raise MemoryError

    for turn in range(3):
        sessions = [engine.signal() for _ in range(2)]
        pushes = [(session, speech(turn)[:STEP]) for session in sessions]
        with monkeypatch.context() as patch:
            patch.setattr(engine._buffers, "write", fails)
            with pytest.raises(MemoryError):
                engine.push_many(pushes)
        assert engine._buffers.write == put
        engine.push_many(pushes)
        assert {session.slot for session in sessions} == {0, 1}
        del sessions, pushes
        gc.collect()


def test_what_is_no_number_stays_with_whose_it_is() -> None:
    """In a batch, and in the slot that it leaves behind."""
    engine = Engine(MODEL, "cpu", threads=1)
    broken, sound = np.full(STEP, np.nan, np.float32), speech(0)
    sessions = [engine.signal() for _ in range(2)]
    together = [
        engine.push_many([(sessions[0], broken), (sessions[1], sound[at : at + STEP])])[1]
        for at in range(0, 100 * STEP, STEP)
    ]
    expected = SOLO.push(SOLO.signal(), sound[: 100 * STEP])
    np.testing.assert_allclose(np.concatenate(together), expected, atol=1e-4)
    left = sessions[0].slot
    engine.forget(sessions[0])
    for at in range(0, 100 * STEP, STEP):
        again = engine.push_many([(session, sound[at : at + STEP]) for session in sessions])
    assert sessions[0].slot == left
    np.testing.assert_allclose(again[0], expected[-len(again[0]) :], atol=1e-4)


def test_two_threads_on_one_session_spoil_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may do that, and what comes of that session is its own affair. But here its slot
    would be given back while a batch that it is in still finds slots for others."""
    engine = Engine(MODEL, "cpu", threads=1)
    shared, *others = (engine.signal() for _ in range(3))
    engine.push_many([(shared, speech(0)[:STEP]), (engine.signal(), speech(0)[:STEP])])
    assert shared.slot is not None
    put, second = engine._buffers.write, threading.Thread(target=engine.forget, args=(shared,))

    def slow(*arguments: Any) -> None:
        put(*arguments)
        if second.ident is None:
            second.start()
            second.join(0.3)

    monkeypatch.setattr(engine._buffers, "write", slow)
    sessions = [*others, shared]
    pushes = [(session, speech(i)[: STEP * 5]) for i, session in enumerate(sessions)]
    found = engine.push_many(pushes)
    second.join()
    assert shared.slot is None
    for i in range(2):
        expected = SOLO.push(SOLO.signal(), speech(i)[: STEP * 5])
        np.testing.assert_allclose(found[i], expected, atol=1e-4)
