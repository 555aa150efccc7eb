"""Places of which a service has so many, however many processes it runs in."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from service.errors import ServiceError


class Places:
    """A number of places, to be taken and given back.

    Several processes share them through a file: place i is a lock on its byte i. The kernel
    lets go of the locks of a process that dies, so no count can go stale.

    Args:
        limit: how many there are.
        file: the common one; None where this process is alone.
    """

    def __init__(self, limit: int, file: Path | None = None) -> None:
        self._limit = limit
        self._taken: set[int] = set()
        self._descriptor: int | None = None
        if file is not None:
            # Never opened twice: closing any descriptor of a file drops all of a process's locks.
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            weakref.finalize(self, os.close, self._descriptor)

    @property
    def taken(self) -> int:
        """How many this process holds."""
        return len(self._taken)

    def take(self) -> int | None:
        """A place; None if all are taken."""
        for place in range(self._limit):
            # A process gets a lock that it holds already: only its own books know of that.
            if place in self._taken:
                continue
            if self._descriptor is None or _locked(self._descriptor, place):
                self._taken.add(place)
                return place
        return None

    def give_back(self, place: int) -> None:
        """Lets others have it."""
        self._taken.remove(place)
        if self._descriptor is not None:
            import fcntl  # POSIX alone has it, and needs it for several processes only

            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)


def _locked(descriptor: int, place: int) -> bool:
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


@dataclass(frozen=True)
class Ticket:
    """One thing that is under way: what it holds."""

    held: tuple[tuple[Places, int], ...]

    def give_back(self) -> None:
        for places, place in self.held:
            places.give_back(place)


class Quota:
    """How many things of a kind may be under way, in all and for each key.

    Args:
        noun: the kind, in the plural; also the name of the common files.
        limit: in all.
        per_key: for each key; None sets no further limit.
        keys: how many keys there are.
        per_address: for each address, where there are no keys; None leaves a tenth to others.
        full, key_full: raised when a limit is reached.
        shared_dir: where several processes meet; None where this one is alone.
    """

    def __init__(
        self,
        noun: str,
        limit: int,
        *,
        full: type[ServiceError],
        key_full: type[ServiceError] | None = None,
        per_key: int | None = None,
        keys: int = 0,
        per_address: int | None = None,
        shared_dir: Path | None = None,
    ) -> None:
        def places(name: str, number: int) -> Places:
            return Places(number, None if shared_dir is None else shared_dir / f"{name}.places")

        self._places = places
        self._per_address = limit - limit // 10 if per_address is None else per_address
        self._of_address: dict[str, Places] = {}
        self._noun, self._limit, self._per_key = noun, limit, per_key
        self._full, self._key_full = full, key_full or full
        self._all = places(noun, limit)
        own = range(keys) if per_key is not None else ()
        self._of_key = {key: places(f"{noun}-key{key}", per_key or 0) for key in own}

    def take(self, key: int | None = None, address: str | None = None) -> Ticket:
        """A place among all, and one among the key's, or without keys among the address's.

        Args:
            key: number of the client's key; None without keys.
            address: the client's, where it is known.

        Raises:
            ServiceError: `key_full` or `full`: none is left.
        """
        held: list[tuple[Places, int]] = []
        mine, whose, most = None, "key", self._per_key
        if key is not None:
            mine = self._of_key.get(key)
        elif address is not None and self._per_address < self._limit:
            mine, whose, most = self._at(address), "address", self._per_address
        if mine is not None:
            if (place := mine.take()) is None:
                raise self._key_full(f"your {whose} may have {most} {self._noun} at a time")
            held.append((mine, place))
        if (place := self._all.take()) is None:
            Ticket(tuple(held)).give_back()
            raise self._full(f"all {self._limit} places for {self._noun} are taken")
        return Ticket((*held, (self._all, place)))

    def _at(self, address: str) -> Places:
        """The places of an address; addresses that hold none are forgotten."""
        if address not in self._of_address:
            self._of_address = {a: p for a, p in self._of_address.items() if p.taken}
            name = sha256(address.encode()).hexdigest()[:16]
            self._of_address[address] = self._places(f"{self._noun}-{name}", self._per_address)
        return self._of_address[address]
