"""Who runs the network when: live streams in batches, whole files in between.

    event loop ── submit(job) ──▶ ┌ a round ─────────────────────────────────────────┐
                                  │ each job runs up to its next step of the network  │
                                  │ all steps that wait ── one batch ──▶ jobs go on   │
                                  │ nothing else to do: a piece of a long push        │
                                  └───────────────────────────────────────────────────┘
    file threads ── push ───────▶ one piece of one file after another

On a CPU rounds are the event loop's: they are short, and a thread for them would wait for Python's
lock at each layer of the network, so that its batches came late on a busy server. Other devices
would make the loop wait, so there a thread has the rounds, and the files' pieces as well.

A job is ordinary code: it calls `Stream.push`, which calls `SharedEngine.push`. Each runs in
a greenlet, so that it can be left there and taken up again once its batch has run: no job
needs a thread, and none of their Python runs at the same time as another's.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import numpy as np
from greenlet import getcurrent, greenlet

from service.metrics import Metrics
from service.strand import Job, Strand
from vad.engine import Engine
from vad.frames import SAMPLE_RATE
from vad.session import Audio, Frames, Session

T = TypeVar("T")

MAX_BATCH = 256  # streams: more would make the first of them wait
# Longer pushes count as bulk: whoever sends so much at once doesn't wait for milliseconds.
URGENT_SAMPLES = SAMPLE_RATE // 5
# A bulk push is cut into pieces of so much: a few milliseconds of work, which is as long as a
# live step may have to wait for one. A second that a resampler rounded up is not cut in two.
PIECE_SAMPLES = SAMPLE_RATE * 5 // 4
MAX_IDLE = 256  # greenlets that are kept, of 16 KiB each
BULK_EVERY_S = 0.1  # however busy the streams are, bulk gets a piece as often as this
# A batch costs little more than one stream's step does. So the next one starts no sooner than
# PACE times what the last one took after that one's start, GATHER_S at most: meanwhile others
# arrive. A stream that is alone doesn't wait, and neither does anybody once batches take longer.
PACE = 8
GATHER_S = 0.005


class Reply(NamedTuple):
    """Where the result of a step goes."""

    value: Callable[[Any], object]
    error: Callable[[BaseException], object]


class Step(NamedTuple):
    """A live stream's next step."""

    session: Session
    audio: Audio
    reply: Reply


class Bulk(NamedTuple):
    """A piece of a file, or any other use of the network that may wait."""

    call: Callable[[], Any]
    reply: Reply


class Rounds(ABC):
    """Runs one engine for many callers, in rounds that one thread has.

    Args:
        engine: to be used by nobody else.
        metrics: of the app.

    Attributes:
        engine: the same for everybody: in jobs its steps run in batches with those of other
            jobs, and in any other thread they wait for their turn as bulk.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine: Engine = SharedEngine(self, engine)
        self._inner, self._metrics = engine, metrics
        self._jobs: deque[Job[Any]] = deque()
        self._bulk: deque[Bulk] = deque()
        self._steps: deque[Step] = deque()
        self._closing = False
        self._bulk_at = self._next_batch_at = 0.0
        self._lone: Session | None = None  # whose step was all of the last batch
        self._thread: threading.Thread | None = None  # that has the rounds
        self._hub: Any = None  # its own greenlet
        self._idle: list[Any] = []  # greenlets without a job
        self._given: Job[Any] | None = None  # to the greenlet that is switched to

    def strand(self) -> Strand:
        """For jobs that must not overlap, such as those of one stream."""
        return Strand(self)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queues a call that is independent of all others."""
        return self.strand().submit(call)

    @abstractmethod
    def enter(self, job: Job[Any]) -> None:
        """Queues a job; `Strand.submit` is for callers.

        Raises:
            RuntimeError: it is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Finishes what is queued, and takes no more."""

    @abstractmethod
    def _wait_for(self, call: Callable[[], T]) -> T:
        """Any use of the network by a thread that hasn't the rounds."""

    def step(self, session: Session, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio` completes, once its turn has come."""
        if not self._in_job():
            return self._wait_for(partial(self._inner.push, session, audio))
        job = getcurrent()
        reply = Reply(job.switch, job.throw)
        if len(audio) <= URGENT_SAMPLES:
            self._steps.append(Step(session, audio, reply))
        else:
            self._bulk.append(Bulk(partial(self._inner.push, session, audio), reply))
        found: Frames = self._hub.switch()
        return found

    def call(self, call: Callable[[], T]) -> T:
        """Any other use of the network: at once in a job, else as bulk."""
        return call() if self._in_job() else self._wait_for(call)

    def _in_job(self) -> bool:
        return threading.current_thread() is self._thread and getcurrent() is not self._hub

    def _begin(self) -> None:
        """This thread has the rounds from now on."""
        self._thread, self._hub = threading.current_thread(), getcurrent()

    def _round(self) -> None:
        """All jobs up to their next steps, one batch of steps, and a bulk piece if there's time."""
        while self._jobs:
            self._start(self._jobs.popleft())
        if self._steps:
            count = min(len(self._steps), MAX_BATCH)
            self._batch([self._steps.popleft() for _ in range(count)])
        live = len(self._steps) + len(self._jobs)
        self._metrics.queue_depth.set(live)
        if self._bulk and (not live or monotonic() > self._bulk_at + BULK_EVERY_S):
            self._piece(self._bulk.popleft())

    def _start(self, job: Job[Any]) -> None:
        strand = job.strand
        if strand.running:
            strand.waiting.append(job)
        elif job.wanted():
            strand.running = True
            worker = self._idle.pop() if self._idle else greenlet(self._work)
            worker.gr_context = strand.context
            self._given = job
            worker.switch()

    def _work(self) -> None:
        """One job after another: a new greenlet for each would get and give back memory.

        An idle one holds on to nothing, neither here nor as an argument of its switch.
        """
        me = getcurrent()
        while True:
            job, self._given = self._given, None
            assert job is not None
            job.run()
            self._ended(job.strand)
            del job
            if len(self._idle) >= MAX_IDLE:
                return
            self._idle.append(me)
            self._hub.switch()

    def _ended(self, strand: Strand) -> None:
        strand.running = False
        if strand.waiting:
            # Ahead of what came later, all of which is another strand's or still behind it.
            waiting, strand.waiting = strand.waiting, deque()
            self._jobs.extendleft(reversed(waiting))

    def _batch(self, steps: list[Step]) -> None:
        started = monotonic()
        try:
            found = self._inner.push_many([(step.session, step.audio) for step in steps])
        except Exception as exc:
            if len(steps) == 1:
                steps[0].reply.error(exc)
                return
            for step in steps:  # so that a fault stays with whose it is
                self._batch([step])
            return
        self._metrics.batch_streams.observe(len(steps))
        lone = steps[0].session if len(steps) == 1 else None
        others = lone is None or lone is not self._lone
        pace = min(GATHER_S, PACE * (monotonic() - started)) if others else 0.0
        self._lone, self._next_batch_at = lone, started + pace
        for step, values in zip(steps, found, strict=True):
            step.reply.value(values)

    def _piece(self, piece: Bulk) -> None:
        self._bulk_at = monotonic()
        try:
            value = piece.call()
        except Exception as exc:
            piece.reply.error(exc)
        else:
            piece.reply.value(value)


class SharedEngine(Engine):
    """An engine's interface on `Rounds`; callers wait, each in its own way."""

    def __init__(self, rounds: Rounds, inner: Engine) -> None:
        self.device, self.architecture = inner.device, inner.architecture
        self._rounds, self._inner = rounds, inner

    def session(self) -> Session:
        return self._inner.session()

    def push(self, session: Session, audio: Audio) -> Frames:
        if len(audio) <= PIECE_SAMPLES:
            return self._rounds.step(session, audio)
        pieces = range(0, len(audio), PIECE_SAMPLES)
        return np.concatenate(
            [self._rounds.step(session, audio[at : at + PIECE_SAMPLES]) for at in pieces]
        )

    def flush(self, session: Session, frames: int | None = None) -> Frames:
        return self._rounds.call(partial(self._inner.flush, session, frames))

    def forget(self, session: Session) -> None:
        self._inner.forget(session)

    def warm_up(self) -> None:
        self._rounds.call(self._inner.warm_up)
