"""What is to be done: the listing, less what is done, in the order in which it is done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from vad.batch.sink import WHOLE, Held, Shard
from vad.batch.work import Recording, Work


@dataclass(frozen=True)
class Plan:
    """The work of one run.

    Attributes:
        recordings: to be analysed, the largest first, so that none is left over at the end on
            which one core works while the others wait.
        done: how many have their row already.
        failed_before: how many of these are of errors.
        stale: URIs whose row is of another file, model or parameters, or is to be tried again.
    """

    recordings: list[Recording]
    done: int
    failed_before: int
    stale: list[str]


def plan(
    recordings: Iterable[Recording],
    held: dict[str, Held],
    work: Work,
    shard: Shard = WHOLE,
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> Plan:
    """What is left to do.

    Args:
        recordings: all, also those of other shards.
        held: the rows that are there.
        work: what is asked now.
        shard: only this part of the recordings.
        overwrite: nothing counts as done.
        retry_errors: rows of errors don't.
    """
    mine = [each for each in recordings if shard_of(each.uri, shard.count) == shard.index]
    rest: list[Recording] = []
    failed = 0
    for each in mine:
        row = held.get(each.uri)
        again = overwrite or (retry_errors and row is not None and row.status == "error")
        if row is None or again or not row.answers(each, work):
            rest.append(each)
        else:
            failed += row.status == "error"
    rest.sort(key=lambda each: -(each.size or 0))
    stale = [each.uri for each in rest if each.uri in held]
    return Plan(rest, len(mine) - len(rest), failed, stale)


def shard_of(uri: str, count: int) -> int:
    """Which part of the work a recording is: by its name alone.

    So jobs that list at different times, while recordings are added, still divide them alike.
    """
    if count == 1:
        return 0
    digest = hashlib.blake2s(uri.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count
