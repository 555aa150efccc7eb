"""Calls that are to run in rounds (`service.rounds`), and what becomes of them."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Outcome(Generic[T]):
    """What has become of a call; a future that costs a tenth of one."""

    __slots__ = ("_error", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._error: BaseException | None = None

    def result(self) -> T:
        """What the call returned, or what it raised; once it is done."""
        if not self.done:
            raise InvalidStateError("the call is not done")
        if self._error is not None:
            raise self._error
        return self._value

    def set_result(self, value: T) -> None:
        self._value, self.done = value, True

    def set_exception(self, error: BaseException) -> None:
        self._error, self.done = error, True


class Job(Generic[T]):
    """A call to be run in a greenlet, and who hears of its end."""

    __slots__ = ("call", "outcome", "strand", "then")

    def __init__(
        self,
        call: Callable[[], T],
        strand: Strand,
        outcome: Future[T] | Outcome[T],
        then: Callable[[Outcome[T]], object] | None = None,
    ) -> None:
        self.call, self.strand, self.outcome, self.then = call, strand, outcome, then

    def run(self) -> None:
        try:
            self.outcome.set_result(self.call())
        except BaseException as exc:
            self.outcome.set_exception(exc)
        if self.then is not None and isinstance(self.outcome, Outcome):
            self.then(self.outcome)

    def wanted(self) -> bool:
        """Whether it was not cancelled; from now on it can't be."""
        future = self.outcome
        return isinstance(future, Outcome) or future.set_running_or_notify_cancel()


class Runner(Protocol):
    """Who runs jobs."""

    def enter(self, job: Job[Any]) -> None: ...


class Strand:
    """Jobs that run one after another, in the order of their arrival; made by `Rounds.strand`.

    They run in the context of whoever made it, so that their log records carry the request.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.context = contextvars.copy_context()
        self.running = False  # this and the next are touched by the thread that has the rounds
        self.waiting: deque[Job[Any]] = deque()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queues a call."""
        future: Future[T] = Future()
        self._runner.enter(Job(call, self, future))
        return future

    def post(self, call: Callable[[], T], then: Callable[[Outcome[T]], object]) -> Outcome[T]:
        """Queues a call that can't be cancelled.

        Args:
            then: called with the outcome, in the thread that has the rounds.
        """
        outcome: Outcome[T] = Outcome()
        self._runner.enter(Job(call, self, outcome, then))
        return outcome
