from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.config import DEFAULT_MODEL
from vad.errors import ParameterError
from vad.inference.arrays import Arrays, Numpy, Torch
from vad.inference.engine import PART_S, PIECE_STEPS, Engine, Signal
from vad.nn import Network, weights

Audio = NDArray[np.float32]
ENGINE = Engine(weights.load(DEFAULT_MODEL), "cpu")
ONE_THREAD = Engine(weights.load(DEFAULT_MODEL), "cpu", threads=1)


def noise(samples: int, seed: int = 0) -> Audio:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def push_all(session: Signal, audio: Audio, cuts: Sequence[int]) -> NDArray[np.float32]:
    return np.concatenate([ENGINE.push(session, piece) for piece in np.split(audio, sorted(cuts))])


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 8000),
    cuts=st.lists(st.integers(0, 8000), max_size=6),
    seed=st.integers(0, 9),
)
def test_any_chunking_gives_the_same(samples: int, cuts: list[int], seed: int) -> None:
    audio = noise(samples, seed)
    session = ENGINE.signal()
    stepped = push_all(session, audio, [cut for cut in cuts if cut <= samples])
    found = np.concatenate([stepped, ENGINE.flush(session)])
    whole = ENGINE.probabilities(audio)
    assert len(found) == len(whole) == -(-samples // 160)
    np.testing.assert_allclose(found, whole, atol=1e-4)


def test_long_audio_in_pieces_equals_the_network_in_one() -> None:
    audio = noise((PIECE_STEPS + 7) * ENGINE.architecture.step_samples + 55)
    with torch.inference_mode():
        network = Network.of(weights.load(DEFAULT_MODEL))
        whole = network(torch.from_numpy(audio)[None])[0].sigmoid().numpy()
    np.testing.assert_allclose(ENGINE.probabilities(audio), whole, atol=1e-4)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("odd", [0, 320 * 3 + 7])
def test_threads_share_a_long_signal_and_equal_one(threads: int, odd: int) -> None:
    engine = Engine(weights.load(DEFAULT_MODEL), "cpu", threads=threads)
    before, audio = noise(320 * 40, seed=1), noise((PART_S * threads + 1) * 16_000 + odd)
    rest = noise(320 * 300, seed=2)
    found = []
    for each in (engine, ONE_THREAD):
        session = each.signal()
        parts = [each.push(session, piece) for piece in (before, audio, rest)]
        found.append(np.concatenate([*parts, each.flush(session)]))
    np.testing.assert_allclose(*found, atol=1e-4)


FORK = """
import os, signal
import numpy as np
from vad.inference.engine import PART_S, Engine
from vad.nn import weights
engine = Engine(weights.load("convad-tiny"), "cpu", threads=2)
audio = np.zeros(2 * PART_S * 16_000, np.float32)
engine.probabilities(audio)
child = os.fork()
if not child:
    signal.alarm(20)  # ends it, where it would wait for ever
    engine.probabilities(audio)
    os._exit(0)
print("child:", os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_threads_of_its_own() -> None:
    found = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "child: 0"


def test_interleaved_sessions_equal_solo() -> None:
    signals = [noise(4000 + 300 * i, seed=i) for i in range(5)]
    sessions = [ENGINE.signal() for _ in signals]
    found: list[list[NDArray[np.float32]]] = [[] for _ in signals]
    for start in range(0, 6000, 70):
        for i, signal in enumerate(signals):
            found[i].append(ENGINE.push(sessions[i], signal[start : start + 70]))
    for i, signal in enumerate(signals):
        mixed = np.concatenate([*found[i], ENGINE.flush(sessions[i])])
        np.testing.assert_allclose(mixed, ENGINE.probabilities(signal), atol=1e-4)


@pytest.mark.parametrize("at", [0, 1, 159, 160, 161, 479, 800, 3333])
def test_flush_leaves_the_state_alone(at: int) -> None:
    audio = noise(8000)
    whole = ENGINE.probabilities(audio)
    session = ENGINE.signal()
    before = ENGINE.push(session, audio[:at])
    flushed = ENGINE.flush(session)
    # A flush gives every frame that has begun, as if the audio ended there.
    np.testing.assert_allclose(
        np.concatenate([before, flushed]), ENGINE.probabilities(audio[:at]), atol=1e-4
    )
    assert len(ENGINE.flush(session)) == 0
    rest = np.concatenate([ENGINE.push(session, audio[at:]), ENGINE.flush(session)])
    # No frame comes twice, none is lost, and those after it are as if there had been no flush.
    first = -(-at // 160)
    assert len(rest) == len(whole) - first
    np.testing.assert_allclose(rest, whole[first:], atol=1e-4)


def test_forget_leaves_no_trace() -> None:
    """After a reset on a step's edge, the answer is that of a new session."""
    audio = noise(320 * 20)
    session = ENGINE.signal()
    ENGINE.push(session, noise(320 * 50, seed=3))
    ENGINE.flush(session)
    ENGINE.forget(session)
    again = np.concatenate([ENGINE.push(session, audio), ENGINE.flush(session)])
    np.testing.assert_allclose(again, ENGINE.probabilities(audio), atol=1e-5)


def test_flush_to_more_frames_than_samples_fills_with_zeros() -> None:
    session = ENGINE.signal()
    ENGINE.push(session, noise(320))
    assert len(ENGINE.flush(session, frames=3)) == 3
    assert session.frames == 3


def test_callers_buffer_may_change() -> None:
    audio = noise(1000)
    session = ENGINE.signal()
    buffer = audio[:500].copy()
    first = ENGINE.push(session, buffer)
    buffer[:] = 9
    found = [first, ENGINE.push(session, audio[500:]), ENGINE.flush(session)]
    np.testing.assert_allclose(np.concatenate(found), ENGINE.probabilities(audio), atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(0, 2500), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_many_at_once_equal_solo(lengths: list[list[int]]) -> None:
    signals = [noise(sum(cuts), seed=i) for i, cuts in enumerate(lengths)]
    sessions = [ENGINE.signal() for _ in signals]
    found: list[list[Audio]] = [[] for _ in signals]
    for turn in range(3):
        pushes = [
            (session, signal[sum(cuts[:turn]) : sum(cuts[: turn + 1])])
            for session, signal, cuts in zip(sessions, signals, lengths, strict=True)
        ]
        for values, got in zip(ENGINE.push_many(pushes), found, strict=True):
            got.append(values)
    for session, signal, got in zip(sessions, signals, found, strict=True):
        together = np.concatenate([*got, ENGINE.flush(session)])
        np.testing.assert_allclose(together, ENGINE.probabilities(signal), atol=1e-4)


def test_many_at_once_with_a_long_one_among_them() -> None:
    audio = [noise(320 * steps + 7, seed=steps) for steps in (1, PIECE_STEPS + 50, 3)]
    sessions = [ENGINE.signal() for _ in audio]
    found = ENGINE.push_many(list(zip(sessions, audio, strict=True)))
    for session, signal, values in zip(sessions, audio, found, strict=True):
        alone = ENGINE.signal()
        np.testing.assert_allclose(values, ENGINE.push(alone, signal), atol=1e-4)
        assert (session.samples, session.frames) == (alone.samples, alone.frames)


def test_none_at_once() -> None:
    assert ENGINE.push_many([]) == []


def test_a_failure_moves_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [ENGINE.signal() for _ in range(2)]
    run, calls = ENGINE.plan.run, 0

    def breaks(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("out of memory")
        return run(*arguments)

    pushes = [(sessions[0], noise(320)), (sessions[1], noise(640))]
    with monkeypatch.context() as patch:
        patch.setattr(ENGINE.plan, "run", breaks)
        with pytest.raises(RuntimeError, match="memory"):
            ENGINE.push_many(pushes)
    for session in sessions:
        assert (session.samples, session.frames) == (0, 0)
        found = np.concatenate([ENGINE.push(session, noise(4000)), ENGINE.flush(session)])
        np.testing.assert_allclose(found, ENGINE.probabilities(noise(4000)), atol=1e-4)


def test_a_session_keeps_no_more_than_its_past() -> None:
    session = ENGINE.signal()
    ENGINE.push(session, noise(PIECE_STEPS * 320))
    assert session.state is not None
    for array in (session.state.audio, *session.state.rows):
        assert array.base is None


def test_state_is_small() -> None:
    assert ENGINE.state_bytes <= 128 * 1024


def test_a_slot_is_used_again_and_holds_nothing_of_the_last() -> None:
    engine = Engine(weights.load(DEFAULT_MODEL), "cpu")
    for _ in range(3):
        sessions = [engine.signal() for _ in range(2)]
        audio = [noise(320, seed=1), noise(320, seed=2)]
        for _ in range(30):
            engine.push_many(list(zip(sessions, audio, strict=True)))
        found = [engine.signal() for _ in range(2)]
        values = engine.push_many([(session, noise(1600)) for session in found])
        np.testing.assert_allclose(values[0], ENGINE.probabilities(noise(1600))[:7], atol=1e-4)
        assert {session.slot for session in (*sessions, *found)} == {0, 1, 2, 3}
        del sessions, found


def test_a_session_that_is_forgotten_gives_back_its_slot() -> None:
    engine = Engine(weights.load(DEFAULT_MODEL), "cpu")
    sessions = [engine.signal() for _ in range(2)]
    engine.push_many([(session, noise(320)) for session in sessions])
    assert {session.slot for session in sessions} == {0, 1}
    engine.forget(sessions[0])
    new = [engine.signal() for _ in range(2)]
    engine.push_many([(session, noise(320)) for session in new])
    assert sessions[0].slot is None
    assert {session.slot for session in new} == {0, 2}


@pytest.mark.parametrize("arrays", [Numpy(), Torch("cpu")])
def test_sessions_in_many_threads_equal_solo(
    arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live streams grow the engine's slots while files go through it."""
    monkeypatch.setattr(arrays, "slots", 8)
    engine = Engine(weights.load(DEFAULT_MODEL), "cpu", arrays)
    audio = noise(320 * 40)
    expected = ENGINE.probabilities(audio)

    def live(_: int) -> Audio:
        sessions = [engine.signal() for _ in range(40)]
        found = []
        for start in range(0, len(audio), 640):
            block = audio[start : start + 640]
            found.append(engine.push_many([(session, block) for session in sessions])[7])
        return np.concatenate([*found, engine.flush(sessions[7])])

    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(live, range(3)), *pool.map(engine.probabilities, [audio] * 3)]
    for found in together:
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert engine._buffers.slots >= 120


def test_unknown_device_is_named() -> None:
    model = weights.load(DEFAULT_MODEL)
    for name in ("tpu9", "cuda:99"):
        with pytest.raises(ParameterError, match=name):
            Engine(model, name)
