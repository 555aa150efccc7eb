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
from vad.engine import Engine
from vad.frames import SAMPLE_RATE
from vad.session import Audio, Frames, Session

T = TypeVar("T")

# A file goes through in pieces of so much, between which other files have theirs: a few
# milliseconds of work. A second that a resampler rounded up is not cut in two.
PIECE_SAMPLES = SAMPLE_RATE * 5 // 4
EVERY_S = 0.1  # however busy the streams are, files get a piece as often as this
PAUSE_S = 0.005


class BulkEngine(Engine):
    """An engine's interface for threads that analyse files; each call waits for its turn.

    One thread works whenever it may. Only when the hub's turns come late, since streams are more
    than they can be, does it leave them the core, but for a piece now and then.

    Args:
        inner: that the hub uses as well.
        hub: of the live streams.
    """

    def __init__(self, inner: Engine, hub: Hub) -> None:
        self.device, self.network = inner.device, inner.network
        self._inner, self._hub = inner, hub
        self._at = -math.inf  # when a file last got a piece
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "network")

    def session(self) -> Session:
        return self._inner.session()

    def push(self, session: Session, audio: Audio) -> Frames:
        found = [
            self._queued(partial(self._inner.push, session, audio[at : at + PIECE_SAMPLES]))
            for at in range(0, len(audio), PIECE_SAMPLES)
        ]
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.float32), *found])

    def flush(self, session: Session, frames: int | None = None) -> Frames:
        return self._queued(partial(self._inner.flush, session, frames))

    def forget(self, session: Session) -> None:
        self._inner.forget(session)

    def warm_up(self) -> None:
        self._queued(self._inner.warm_up)

    def close(self) -> None:
        """Finishes what is queued, and takes no more."""
        self._closing = True
        self._thread.shutdown()

    def _queued(self, call: Callable[[], T]) -> T:
        return self._thread.submit(self._when_due, call).result()

    def _when_due(self, call: Callable[[], T]) -> T:
        # Lateness is forgotten as well: the streams may have gone.
        while monotonic() < min(self._at, self._hub.late_at) + EVERY_S and not self._closing:
            sleep(PAUSE_S)
        self._at = monotonic()
        return call()
