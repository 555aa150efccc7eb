"""How much all connections together may have done in a turn, so that none keeps others waiting."""

from __future__ import annotations

from asyncio import TimerHandle, get_running_loop
from collections import deque
from collections.abc import Callable

# The next turn is not before this, nor before `SHARE` times what the last one took: the rest of
# the time is for everybody else.
TURN_S, SHARE = 0.008, 4


class Allowance:
    """So many things a turn; who wants more waits, and each address has its turn.

    Args:
        a_turn: how many.

    Attributes:
        left: how many in this turn; once it is not above 0, nobody may go on.
    """

    def __init__(self, a_turn: int) -> None:
        self._a_turn = self.left = a_turn
        self._taken_s = 0.0  # in this turn
        self._waiting: dict[str | None, deque[Callable[[], None]]] = {}
        self._timer: TimerHandle | None = None

    def spend(self, things: int, seconds: float = 0.0) -> None:
        """So many have been done, in so much time."""
        self.left -= things
        self._taken_s += seconds
        self._renew_soon()

    def wait(self, address: str | None, go_on: Callable[[], None]) -> None:
        """Calls once there is more: the addresses in turn, and of one whoever waits longest."""
        self._waiting.setdefault(address, deque()).append(go_on)
        self._renew_soon()

    def _renew_soon(self) -> None:
        if self._timer is None:
            self._timer = get_running_loop().call_later(TURN_S, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if (rest := SHARE * self._taken_s - TURN_S) > 0:
            self._taken_s = 0.0
            self._timer = get_running_loop().call_later(rest, self._renew)
            return
        self.left, self._taken_s = self._a_turn, 0.0
        while self._waiting and self.left > 0:
            address = next(iter(self._waiting))
            waiting = self._waiting.pop(address)
            go_on = waiting.popleft()
            if waiting:
                self._waiting[address] = waiting  # behind all others
            go_on()
        if self._waiting:
            self._renew_soon()
