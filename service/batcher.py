"""The one thread that runs the network: live streams in batches, whole files in between.

    event loop ── submit(job) ──▶ ┌ inference thread ───────────────────────────────┐
                                  │ each job runs up to its next step of the network  │
                                  │ all steps that wait ── one batch ──▶ jobs go on   │
    file threads ── push ───────▶ │ nothing live to do: one piece of one file         │
                                  └───────────────────────────────────────────────────┘

A job is ordinary code: it calls `Stream.push`, which calls `SharedEngine.push`. Each runs in
a greenlet, so that it can be left there and taken up again once its batch has run: no job
needs a thread, and none of their Python runs at the same time as another's.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import monotonic, sleep
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from greenlet import getcurrent, greenlet

from service.metrics import Metrics
from vad.engine import Engine
from vad.frames import SAMPLE_RATE
from vad.session import Audio, Frames, Session

T = TypeVar("T")

MAX_BATCH = 64  # streams: more would make the first of them wait
# Longer pushes count as bulk: whoever sends so much at once doesn't wait for milliseconds.
URGENT_SAMPLES = SAMPLE_RATE // 5
# A bulk push is cut into pieces of so much: a few milliseconds of work, which is as long as a
# live step may have to wait for one. A second that a resampler rounded up is not cut in two.
PIECE_SAMPLES = SAMPLE_RATE * 5 // 4
BULK_EVERY_S = 0.1  # however busy the streams are, bulk gets a piece as often as this
# A batch costs little more than one stream's step does. So the next one starts no sooner than
# PACE times what the last one took after that one's start, GATHER_S at most: meanwhile others
# arrive. A stream that is alone doesn't wait, and neither does anybody once batches take longer.
PACE = 4
GATHER_S = 0.005


class _Reply(NamedTuple):
    """Where the result of a step goes."""

    value: Callable[[Any], object]
    error: Callable[[BaseException], object]


class _Step(NamedTuple):
    """A live stream's next step."""

    session: Session
    audio: Audio
    reply: _Reply


class _Bulk(NamedTuple):
    """A piece of a file, or any other use of the network that may wait."""

    call: Callable[[], Any]
    reply: _Reply


class _Job(Generic[T]):
    """A call to be run in a greenlet."""

    def __init__(self, call: Callable[[], T], strand: Strand) -> None:
        self.call, self.strand = call, strand
        self.future: Future[T] = Future()
        self.context = contextvars.copy_context()

    def run(self) -> None:
        try:
            self.future.set_result(self.call())
        except BaseException as exc:
            self.future.set_exception(exc)


class Strand:
    """Jobs that run one after another, in the order of their arrival; made by `Batcher.strand`."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.running = False  # this and the next are the inference thread's
        self.waiting: deque[_Job[Any]] = deque()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queues a call with the caller's context, so that its log records carry the request."""
        job = _Job(call, self)
        self._batcher.enter(job)
        return job.future


class Batcher:
    """Runs one engine for many callers; starts its thread at once.

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
        self._news = threading.Condition()
        self._jobs: deque[_Job[Any]] = deque()
        self._bulk: deque[_Bulk] = deque()
        self._steps: deque[_Step] = deque()  # touched by the inference thread only
        self._closing = False
        self._bulk_at = self._next_batch_at = 0.0
        self._lone: Session | None = None  # whose step was all of the last batch
        self._hub: Any = None  # the inference thread's own greenlet
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def strand(self) -> Strand:
        """For jobs that must not overlap, such as those of one stream."""
        return Strand(self)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queues a call that is independent of all others."""
        return self.strand().submit(call)

    def close(self) -> None:
        """Finishes what is queued and ends the thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def enter(self, job: _Job[Any]) -> None:
        """Queues a job; `Strand.submit` is for callers."""
        with self._news:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._metrics.queue_depth.set(len(self._steps) + len(self._jobs))
            self._news.notify()

    def step(self, session: Session, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio` completes, once its turn has come."""
        if not self._in_job():
            return self.call(partial(self._inner.push, session, audio))
        job = getcurrent()
        reply = _Reply(job.switch, job.throw)
        if len(audio) <= URGENT_SAMPLES:
            self._steps.append(_Step(session, audio, reply))
        else:
            self._bulk.append(_Bulk(partial(self._inner.push, session, audio), reply))
        found: Frames = self._hub.switch()
        return found

    def call(self, call: Callable[[], T]) -> T:
        """Any other use of the network: at once in a job, else as bulk."""
        if self._in_job():
            return call()
        future: Future[T] = Future()
        with self._news:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            self._bulk.append(_Bulk(call, _Reply(future.set_result, future.set_exception)))
            self._news.notify()
        return future.result()

    def _in_job(self) -> bool:
        return threading.current_thread() is self._thread and getcurrent() is not self._hub

    def _run(self) -> None:
        self._hub = getcurrent()
        while self._wait():
            self._gather()
            while self._jobs:
                self._start(self._jobs.popleft())
            if self._steps:
                count = min(len(self._steps), MAX_BATCH)
                self._batch([self._steps.popleft() for _ in range(count)])
            live = len(self._steps) + len(self._jobs)
            self._metrics.queue_depth.set(live)
            if self._bulk and (not live or monotonic() > self._bulk_at + BULK_EVERY_S):
                self._piece(self._bulk.popleft())

    def _wait(self) -> bool:
        """Until there is something to do; False at the end."""
        with self._news:
            while not (self._jobs or self._steps or self._bulk or self._closing):
                self._news.wait()
            return bool(self._jobs or self._steps or self._bulk)

    def _gather(self) -> None:
        """Lets the moment pass in which live steps gather; bulk may have it."""
        pause = self._next_batch_at - monotonic()
        if pause > 0 and self._bulk:
            self._piece(self._bulk.popleft())
        elif pause > 0 and not self._closing:
            sleep(pause)

    def _start(self, job: _Job[Any]) -> None:
        strand = job.strand
        if strand.running:
            strand.waiting.append(job)
        elif job.future.set_running_or_notify_cancel():
            strand.running = True
            worker = greenlet(partial(self._in_greenlet, job))
            worker.gr_context = job.context
            worker.switch()

    def _in_greenlet(self, job: _Job[Any]) -> None:
        job.run()
        job.strand.running = False
        if job.strand.waiting:
            # Ahead of what came later, all of which is another strand's or still behind it.
            waiting, job.strand.waiting = job.strand.waiting, deque()
            self._jobs.extendleft(reversed(waiting))

    def _batch(self, steps: list[_Step]) -> None:
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

    def _piece(self, piece: _Bulk) -> None:
        self._bulk_at = monotonic()
        try:
            value = piece.call()
        except Exception as exc:
            piece.reply.error(exc)
        else:
            piece.reply.value(value)


class SharedEngine(Engine):
    """An engine's interface on a `Batcher`; callers wait, each in its own way."""

    def __init__(self, batcher: Batcher, inner: Engine) -> None:
        self.device, self.network = inner.device, inner.network
        self._batcher, self._inner = batcher, inner

    def session(self) -> Session:
        return self._inner.session()

    def push(self, session: Session, audio: Audio) -> Frames:
        if len(audio) <= PIECE_SAMPLES:
            return self._batcher.step(session, audio)
        pieces = range(0, len(audio), PIECE_SAMPLES)
        return np.concatenate(
            [self._batcher.step(session, audio[at : at + PIECE_SAMPLES]) for at in pieces]
        )

    def flush(self, session: Session, frames: int | None = None) -> Frames:
        return self._batcher.call(partial(self._inner.flush, session, frames))

    def forget(self, session: Session) -> None:
        self._inner.forget(session)

    def warm_up(self) -> None:
        self._batcher.call(self._inner.warm_up)
