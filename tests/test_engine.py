from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad import weights
from vad.config import DEFAULT_MODEL
from vad.engine import PIECE_STEPS, Engine, Session
from vad.errors import ParameterError

Audio = NDArray[np.float32]
ENGINE = Engine(weights.load(DEFAULT_MODEL).network, "cpu")


def noise(samples: int, seed: int = 0) -> Audio:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def push_all(session: Session, audio: Audio, cuts: Sequence[int]) -> NDArray[np.float32]:
    return np.concatenate([ENGINE.push(session, piece) for piece in np.split(audio, sorted(cuts))])


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 8000),
    cuts=st.lists(st.integers(0, 8000), max_size=6),
    seed=st.integers(0, 9),
)
def test_any_chunking_gives_the_same(samples: int, cuts: list[int], seed: int) -> None:
    audio = noise(samples, seed)
    session = ENGINE.session()
    stepped = push_all(session, audio, [cut for cut in cuts if cut <= samples])
    found = np.concatenate([stepped, ENGINE.flush(session)])
    whole = ENGINE.probabilities(audio)
    assert len(found) == len(whole) == -(-samples // 160)
    np.testing.assert_allclose(found, whole, atol=1e-4)


def test_long_audio_in_pieces_equals_the_network_in_one() -> None:
    import torch

    audio = noise((PIECE_STEPS + 7) * ENGINE.network.step_samples + 55)
    with torch.inference_mode():
        whole = ENGINE.network(torch.from_numpy(audio)[None])[0].sigmoid().numpy()
    np.testing.assert_allclose(ENGINE.probabilities(audio), whole, atol=1e-4)


def test_interleaved_sessions_equal_solo() -> None:
    signals = [noise(4000 + 300 * i, seed=i) for i in range(5)]
    sessions = [ENGINE.session() for _ in signals]
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
    session = ENGINE.session()
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
    session = ENGINE.session()
    ENGINE.push(session, noise(320 * 50, seed=3))
    ENGINE.flush(session)
    ENGINE.forget(session)
    again = np.concatenate([ENGINE.push(session, audio), ENGINE.flush(session)])
    np.testing.assert_allclose(again, ENGINE.probabilities(audio), atol=1e-5)


def test_flush_to_more_frames_than_samples_fills_with_zeros() -> None:
    session = ENGINE.session()
    ENGINE.push(session, noise(320))
    assert len(ENGINE.flush(session, frames=3)) == 3
    assert session.frames == 3


def test_callers_buffer_may_change() -> None:
    audio = noise(1000)
    session = ENGINE.session()
    buffer = audio[:500].copy()
    first = ENGINE.push(session, buffer)
    buffer[:] = 9
    found = [first, ENGINE.push(session, audio[500:]), ENGINE.flush(session)]
    np.testing.assert_allclose(np.concatenate(found), ENGINE.probabilities(audio), atol=1e-4)


def test_state_is_small() -> None:
    session = ENGINE.session()
    size = sum(tensor.numel() * tensor.element_size() for tensor in session.state)
    assert size <= 128 * 1024


def test_unknown_device_is_named() -> None:
    network = weights.load(DEFAULT_MODEL).network
    for name in ("tpu9", "cuda:99"):
        with pytest.raises(ParameterError, match=name):
            Engine(network, name)
