"""One network on one device, for many callers.

A caller's `Session` holds what is its own: the samples that do not yet fill a step, the
network's state, and how many frames it has had. The engine holds what all share: the folded
network. Nothing else is kept between calls, so sessions cannot touch each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import ParameterError
from vad.frames import SAMPLE_RATE, frame_count
from vad.nn import Network, fold_norms

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]

# A whole file goes through in pieces of 20 s: long enough that dispatch does not show, short
# enough that the first layer's output (400 frames/s of 48 filters) stays within 4 MB a second.
PIECE_STEPS = 1000


class Session:
    """One signal on its way through the network. Made by `Engine.session`.

    Attributes:
        state: [values], the past of all layers, one after another.
        samples: received so far, at 16 kHz.
        frames: given out so far.
    """

    def __init__(self, state: Tensor, delay: int) -> None:
        self.state = state
        self.pending: Audio = np.zeros(0, np.float32)
        self.samples = 0
        self.frames = 0
        # Outputs that the network has yet to make before the next frame that is wanted: the
        # first `delay` speak of time before the start, and some may have gone out with a flush.
        self.skip = delay


class Engine:
    """Runs a network.

    Args:
        network: as trained; norms are folded into a copy.
        device: `auto` takes a GPU when there is one.

    Raises:
        ParameterError: no such device here.
    """

    def __init__(self, network: Network, device: str = "auto") -> None:
        self.device = _device(device)
        self.network = fold_norms(network).to(self.device).requires_grad_(False)
        self._shapes = [tensor.shape[1:] for tensor in self.network.initial_state(1)]

    def session(self) -> Session:
        """A new signal."""
        return Session(self._initial_state(), self.network.delay)

    def push(self, session: Session, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio`, [samples] at 16 kHz, completes."""
        return self.push_many([(session, audio)])[0]

    def push_many(self, pushes: Sequence[tuple[Session, Audio]]) -> list[Frames]:
        """As `push` of each, in batches over the sessions.

        Audio of different lengths is cut: all sessions take their common number of steps
        together, then those that have more left go on. If anything fails, no session has moved.

        Args:
            pushes: each session at most once, with its audio.

        Returns:
            The probabilities of each, in order.
        """
        size = self.network.step_samples
        audio = [np.concatenate([session.pending, samples]) for session, samples in pushes]
        steps = [len(samples) // size for samples in audio]
        states = [session.state for session, _ in pushes]
        outputs: list[list[Frames]] = [[] for _ in pushes]
        done = 0
        while rows := [i for i, count in enumerate(steps) if count > done]:
            until = min(steps[i] for i in rows)
            until = min(until, done + max(1, PIECE_STEPS // len(rows)))
            block = np.stack([audio[i][done * size : until * size] for i in rows])
            values, after = self._step(block, torch.stack([states[i] for i in rows]))
            for i, found, state in zip(rows, values, after, strict=True):
                outputs[i].append(found)
                states[i] = state
            done = until
        for i, (session, samples) in enumerate(pushes):
            session.samples += len(samples)
            # Copied: the caller may reuse its buffer, and a view would keep a long block alive.
            session.pending = np.array(audio[i][steps[i] * size :], np.float32)
            session.state = states[i]
        return [_take(session, found) for (session, _), found in zip(pushes, outputs, strict=True)]

    def flush(self, session: Session, frames: int | None = None) -> Frames:
        """The frames of all samples received, as if zeros followed; the state is not moved.

        A frame is given out once: what comes after a flush in the middle of a frame starts
        with the frame behind it.

        Args:
            frames: how many there are since the start; None counts the samples received,
                which a resampler on the way may have held back or rounded.
        """
        total = frame_count(session.samples, SAMPLE_RATE) if frames is None else frames
        wanted = total - session.frames
        if wanted <= 0:
            return np.zeros(0, np.float32)
        size = self.network.step_samples
        steps = -(-(session.skip + wanted) // self.network.step_frames)
        tail = np.zeros(steps * size, np.float32)
        tail[: len(session.pending)] = session.pending
        values, _ = self._step(tail[None], session.state[None])
        found = values[0, session.skip : session.skip + wanted]
        session.skip += wanted
        session.frames += wanted
        return found

    def forget(self, session: Session) -> None:
        """Forget all sound heard, after a flush; time goes on.

        What is left of a step is filled with zeros, so that steps keep their place in time.
        """
        session.pending = np.zeros(len(session.pending), np.float32)
        session.state = self._initial_state()

    def probabilities(self, audio: Audio) -> Frames:
        """[ceil(samples / 160)] probabilities of a whole signal [samples] at 16 kHz."""
        session = self.session()
        return np.concatenate([self.push(session, audio), self.flush(session)])

    def warm_up(self) -> None:
        """Run each usual shape once, so that the first caller does not pay for it."""
        session = self.session()
        for steps in (1, 2, 5, PIECE_STEPS):
            self.push(session, np.zeros(steps * self.network.step_samples, np.float32))
        self.flush(session)

    def _initial_state(self) -> Tensor:
        return torch.cat([tensor.flatten() for tensor in self.network.initial_state(1)])

    def _step(self, audio: Audio, state: Tensor) -> tuple[Frames, list[Tensor]]:
        """Probabilities [batch, frames] of the next samples [batch, n · step_samples], and the
        states after them, one a row; `state` is [batch, values]."""
        with torch.inference_mode():
            # A copy: torch warns of arrays that may not be written, such as memory maps.
            block = torch.from_numpy(np.array(audio, np.float32)).to(self.device)
            parts = torch.split(state, [math.prod(shape) for shape in self._shapes], dim=1)
            split = [p.reshape(-1, *s) for p, s in zip(parts, self._shapes, strict=True)]
            logits, after = self.network.step(block, split)
            joined = torch.cat([tensor.flatten(1) for tensor in after], dim=1)
            # Each row for itself, so that an idle session doesn't keep a whole batch alive.
            rows = [row.clone() for row in joined] if len(joined) > 1 else [joined[0]]
            return logits.float().sigmoid().cpu().numpy(), rows


def _take(session: Session, outputs: Sequence[Frames]) -> Frames:
    values = np.concatenate([*outputs, np.zeros(0, np.float32)])
    skipped = min(session.skip, len(values))
    session.skip -= skipped
    session.frames += len(values) - skipped
    return values[skipped:]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each of torch's many backends fails in a way of its own
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ParameterError("device", f"{name!r} cannot be used here: {reason[:160]}") from error
    return device
