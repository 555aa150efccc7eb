"""One network on one device, for many callers.

A caller's `Session` holds what is its own: the samples that do not yet fill a step, the
network's state, and how many frames it has had. The engine holds what all share: the folded
network. Nothing else is kept between calls, so sessions cannot touch each other.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import ParameterError
from vad.frames import SAMPLE_RATE, frame_count
from vad.nn import Network, fold_norms
from vad.nn.layers import State

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]

# A whole file goes through in pieces of 20 s: long enough that dispatch does not show, short
# enough that the first layer's output (400 frames/s of 48 filters) stays within 4 MB a second.
PIECE_STEPS = 1000


class Session:
    """One signal on its way through the network. Made by `Engine.session`.

    Attributes:
        samples: received so far, at 16 kHz.
        frames: given out so far.
    """

    def __init__(self, state: State, delay: int) -> None:
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

    def session(self) -> Session:
        """A new signal."""
        return Session(self.network.initial_state(1), self.network.delay)

    def push(self, session: Session, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio`, [samples] at 16 kHz, completes."""
        session.samples += len(audio)
        if len(session.pending):
            audio = np.concatenate([session.pending, audio])
        size = self.network.step_samples
        ready = len(audio) - len(audio) % size
        # Copied: the caller may reuse its buffer, and a view would keep a long block alive.
        session.pending = np.array(audio[ready:], np.float32)
        if not ready:
            return np.zeros(0, np.float32)
        outputs = []
        for start in range(0, ready, PIECE_STEPS * size):
            piece = audio[start : min(start + PIECE_STEPS * size, ready)]
            values, session.state = self._step(piece, session.state)
            outputs.append(values)
        return _take(session, np.concatenate(outputs))

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
        values, _ = self._step(tail, session.state)
        found = values[session.skip : session.skip + wanted]
        session.skip += wanted
        session.frames += wanted
        return found

    def forget(self, session: Session) -> None:
        """Forget all sound heard, after a flush; time goes on.

        What is left of a step is filled with zeros, so that steps keep their place in time.
        """
        session.pending = np.zeros(len(session.pending), np.float32)
        session.state = self.network.initial_state(1)

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

    def _step(self, audio: Audio, state: State) -> tuple[Frames, State]:
        with torch.inference_mode():
            # A copy: torch warns of arrays that may not be written, such as memory maps.
            block = torch.from_numpy(np.array(audio, np.float32)).to(self.device)
            logits, state = self.network.step(block.unsqueeze(0), state)
            return logits[0].float().sigmoid().cpu().numpy(), state


def _take(session: Session, values: Frames) -> Frames:
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
