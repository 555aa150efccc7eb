"""One signal on its way through a network: what it has had, and what has been said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vad.inference.engine import Engine
    from vad.inference.state import State

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]

EMPTY = np.zeros(0, np.float32)


class Signal:
    """One signal. Made by `Engine.signal`; for one caller at a time.

    Attributes:
        engine: whose it is.
        state: of the network's layers, while the signal has no slot.
        slot: of the engine's, while it has one.
        pending: samples that do not fill a step yet.
        samples: received so far, at 16 kHz.
        frames: given out so far.
        skip: outputs that the network has yet to make before the next frame that is wanted: the
            first `delay` speak of time before the start, and some may have gone out with a flush.
    """

    def __init__(self, engine: Engine, state: State, delay: int) -> None:
        self.engine = engine
        self.state: State | None = state
        self.slot: int | None = None
        self._leave: Callable[[], object] | None = None
        self.pending: Audio = EMPTY
        self.samples = 0
        self.frames = 0
        self.skip = delay

    def enter_slot(self, slot: int, leave: Callable[[], object]) -> None:
        """Have the state in a slot, until it is given back."""
        self.state, self.slot, self._leave = None, slot, leave

    def leave_slot(self, state: State) -> None:
        """Have the state here, and give back the slot."""
        if self._leave is not None:
            self._leave()
        self.state, self.slot, self._leave = state, None, None

    def joined(self, samples: Audio) -> Audio:
        """`samples` behind those that wait for them."""
        return np.concatenate([self.pending, samples]) if len(self.pending) else samples

    def advance(self, samples: int, whole: Audio, done: int, values: Frames) -> Frames:
        """Count what came in and what came of it.

        Args:
            samples: how many came.
            whole: they, behind those that waited.
            done: how many of these went through the network.
            values: its outputs.

        Returns:
            The values that are wanted.
        """
        self.samples += samples
        # Copied: the caller may reuse its buffer, and a view would keep a long block alive.
        self.pending = EMPTY if done == len(whole) else np.array(whole[done:], np.float32)
        if self.skip:
            skipped = min(self.skip, len(values))
            self.skip -= skipped
            values = values[skipped:]
        self.frames += len(values)
        return values
