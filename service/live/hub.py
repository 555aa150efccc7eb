"""The tick: what all live streams have sent goes through the network together.

    connections ──▶ what waits of each ──┐
                                         │  a turn, every TICK_S while anything waits
            messages, in order           ▼
            audio, joined ──▶ one batch of the network ──▶ events ──▶ connections

A stream of several channels has a signal for each in the same batch.

On a CPU a turn is the event loop's own: it is short, and a thread would wait for Python's lock
at each layer of the network. Elsewhere the same turn runs in an executor. No session is ever
touched from two threads, since whatever concerns one waits for its turn.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Protocol

import structlog

from service.metrics import Metrics
from service.tracing import Tracing
from vad.inference.engine import Audio, Engine, Frames, Signal

log = structlog.get_logger(__name__)

# From the start of one turn to that of the next. The longer, the more streams share a batch; a
# stream that is alone never waits for it. It is also how long audio that is not live may keep a
# turn, and by how much a turn may be late before files leave it the core.
TICK_S = 0.008
# Messages other than audio have a quarter of the time at most, and so much of a turn.
ANSWERS_S, REST = 0.002, 3
# Of one stream in a batch. Who has more to say goes through by itself, a second a turn, once the
# others are through; but where that holds for many, as when the server was late, all share batches.
SHARE_S, PIECE_S, FEW = 0.1, 1.0, 8


Pushes = Sequence[tuple[Signal, Audio]]


class Member(Protocol):
    """What the hub asks of a connection; all in turns, but for `deliver`."""

    def answer(self, until: float) -> float | None:
        """Handles messages up to the next audio, some at most.

        Args:
            until: when to stop, by `perf_counter`.

        Returns:
            Seconds of audio that wait before the next message of another kind; None if it did not
            get as far as that.
        """
        ...

    def feed(self, seconds: float) -> Pushes:
        """Takes so much of it, at most: a signal a channel; none if the network has no work."""
        ...

    def take(self, probabilities: Sequence[Frames]) -> None:
        """What came of it, of each signal."""
        ...

    def fail(self, exc: BaseException) -> None:
        """Ends the stream."""
        ...

    def deliver(self) -> bool:
        """The turn is over; called in the event loop. Whether another would do something."""
        ...


class Hub:
    """Runs the engines of many streams, in the event loop in which it is made.

    Args:
        metrics: of the app.
        executor: where turns run; None is the event loop.
        tracing: told of each turn, where traces are asked for.

    Attributes:
        late_at: when a turn last came late, by `monotonic`; minus infinity once one is in time.
    """

    def __init__(
        self,
        metrics: Metrics,
        executor: ThreadPoolExecutor | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics, self._executor = metrics, executor
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._ready: dict[Member, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._next = 0.0
        self._between = asyncio.Event()  # no turn is under way
        self._between.set()
        self.late_at = self._answer_at = -math.inf

    def wake(self, member: Member) -> None:
        """Something waits there; it takes part in the next turn."""
        self._ready[member] = None
        if self._timer is None and self._between.is_set():
            now = self._loop.time()
            self._due = max(now, self._next)
            self._timer = self._loop.call_later(self._due - now, self._tick)

    async def leave(self, member: Member) -> None:
        """Takes part no more; returns once no turn is under way."""
        self._ready.pop(member, None)
        while not self._between.is_set():
            await self._between.wait()
        self._ready.pop(member, None)

    def close(self) -> None:
        """No more turns."""
        if self._timer is not None:
            self._timer.cancel()
        if self._executor is not None:
            self._executor.shutdown()

    def _tick(self) -> None:
        now = self._loop.time()
        self.late_at = monotonic() if now > self._due + TICK_S else -math.inf
        self._timer, self._next = None, now + TICK_S
        members, self._ready = list(self._ready), {}
        self._metrics.queue_depth.set(len(members))
        self._between.clear()
        if self._executor is None:
            self._ended(members, self._turn(members))
        else:
            turn = self._loop.run_in_executor(self._executor, self._turn, members)
            turn.add_done_callback(lambda turn: self._ended(members, turn.result()))

    def _ended(self, members: Iterable[Member], unserved: Iterable[Member]) -> None:
        self._between.set()
        arrived, self._ready = self._ready, {}
        waiting = [member for member in members if member.deliver()]
        for member in (*unserved, *waiting, *arrived):  # who waits longest is first
            self.wake(member)

    def _turn(self, members: Sequence[Member]) -> list[Member]:
        """One turn of those for whom something waits; who has got none of it."""
        started = perf_counter()
        until = started + ANSWERS_S if started >= self._answer_at else started
        live: list[Member] = []
        long: list[Member] = []
        unserved: list[Member] = []
        for member in members:
            nothing_left = perf_counter() > until
            if backlog := member.answer(until):
                (long if backlog > SHARE_S else live).append(member)
            elif backlog is None and nothing_left:
                unserved.append(member)
        spent = perf_counter() - started
        if len(long) > FEW:
            live, long = [*live, *long], []
        batches: defaultdict[Engine, list[tuple[Member, Pushes]]] = defaultdict(list)
        for member in live:
            if pushes := member.feed(SHARE_S):
                batches[pushes[0][0].engine].append((member, pushes))
        for engine, fed in batches.items():
            self._batch(engine, fed)
        late = perf_counter() + TICK_S
        for member in long:
            if perf_counter() > late:
                unserved.append(member)
            elif pushes := member.feed(PIECE_S):
                self._alone(member, pushes)
        again = perf_counter()
        for member in (*live, *long):  # such as the end behind the last audio: in the same turn
            member.answer(again + (ANSWERS_S if until > started else 0))
        ended = perf_counter()
        self._answer_at = ended + REST * (spent + ended - again)
        if self._tracing is not None:
            self._tracing.tick(ended - started, len(members))
        return unserved

    def _batch(self, engine: Engine, fed: Sequence[tuple[Member, Pushes]]) -> None:
        batch = [push for _, pushes in fed for push in pushes]
        try:
            found = iter(engine.push_many(batch))
        except Exception:
            for member, pushes in fed:  # so that a fault stays with whose it is
                self._alone(member, pushes)
            return
        self._metrics.batch_streams.observe(len(batch))
        for member, pushes in fed:
            member.take([next(found) for _ in pushes])

    def _alone(self, member: Member, pushes: Pushes) -> None:
        try:
            found = pushes[0][0].engine.push_many(pushes)
        except Exception as exc:
            member.fail(exc)
        else:
            member.take(found)
