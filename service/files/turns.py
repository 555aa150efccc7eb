"""The network for files: in pieces, in turns, and in the time that live streams leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic, sleep
from typing import TypeVar

import numpy as np

from service.live.hub import Hub
from vad.frames import SAMPLE_RATE
from vad.inference.engine import EMPTY, Audio, Engine, Frames, Signal

T = TypeVar("T")

# A file goes through in pieces of so much, between which other files have theirs: a few
# milliseconds of work. A second that a resampler rounded up is not cut in two.
PIECE_SAMPLES = SAMPLE_RATE * 5 // 4
EVERY_S = 0.1  # however busy the streams are, files get a piece as often as this
PAUSE_S = 0.005


class FileTurns:
    """Runs what files have for the network, one piece after another, in a thread of its own.

    It works whenever it may. Only when the hub's turns come late, since streams are more than
    they can be, does it leave them the core, but for a piece now and then.

    Args:
        hub: of the live streams.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._at = -math.inf  # when a file last got a piece
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "network")

    def run(self, call: Callable[[], T]) -> T:
        """Waits for the turn of a call, and for its result. From any other thread."""
        return self._thread.submit(self._when_due, call).result()

    def close(self, *, wait: bool = True) -> None:
        """Finishes what is queued, and takes no more."""
        self._closing = True
        self._thread.shutdown(wait)

    def _when_due(self, call: Callable[[], T]) -> T:
        # Lateness is forgotten as well: the streams may have gone.
        while monotonic() < min(self._at, self._hub.late_at) + EVERY_S and not self._closing:
            sleep(PAUSE_S)
        self._at = monotonic()
        return call()


class FileEngine(Engine):
    """An engine's interface for a thread that analyses one file.

    Args:
        inner: that the hub uses as well.
        turns: for which each piece waits.
        check: called before each piece; raises once the file is not wanted any more.
    """

    def __init__(self, inner: Engine, turns: FileTurns, check: Callable[[], object]) -> None:
        self.device, self.architecture = inner.device, inner.architecture
        self._inner, self._turns, self._check_wanted = inner, turns, check

    def signal(self) -> Signal:
        return self._inner.signal()

    def push(self, signal: Signal, audio: Audio) -> Frames:
        found: list[Frames] = [EMPTY]
        for at in range(0, len(audio), PIECE_SAMPLES):
            self._check_wanted()
            piece = audio[at : at + PIECE_SAMPLES]
            found.append(self._turns.run(partial(self._inner.push, signal, piece)))
        return np.concatenate(found)

    def flush(self, signal: Signal, frames: int | None = None) -> Frames:
        return self._turns.run(partial(self._inner.flush, signal, frames))

    def forget(self, signal: Signal) -> None:
        self._inner.forget(signal)
