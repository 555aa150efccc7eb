"""From what scenes are drawn: the clips of prepared corpora, but for those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.training.labels import SPEECH
from vad.training.prepare import Cached

SHORTEST_SPEECH = 15  # frames; a clip with less holds no word that could be learnt from


@dataclass(frozen=True)
class Pool:
    """Clips of one corpus.

    Attributes:
        audio: [samples] int16 of the whole corpus.
        labels: [frames] int8 of the whole corpus.
        starts, lengths: of each clip, in frames.
        levels: RMS of each clip's speech, dBFS.
    """

    audio: NDArray[np.int16]
    labels: NDArray[np.int8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    levels: NDArray[np.float64]


@dataclass(frozen=True)
class Pools:
    """Corpora of one kind, drawn in proportion to the square root of their size.

    The root keeps big corpora from drowning small ones, which differ most.
    """

    pools: tuple[Pool, ...]
    up_to: NDArray[np.float64]  # cumulative share

    @classmethod
    def of(
        cls,
        corpora: Sequence[Cached],
        kind: str,
        boost: Mapping[str, float],
        rules: Sequence[str],
    ) -> Pools:
        """What is left of the corpora of a kind.

        Args:
            boost: how much more often than its size says a corpus is drawn.
            rules: what is held out, see `held_out`.
        """
        pools: list[Pool] = []
        weights: list[float] = []
        for corpus in corpora:
            if corpus.kind == kind and (pool := _pool(corpus, rules)) is not None:
                pools.append(pool)
                weights.append(boost.get(corpus.name, 1.0) * float(pool.lengths.sum()) ** 0.5)
        return cls(tuple(pools), np.cumsum(weights) / max(sum(weights), 1e-9))

    def __len__(self) -> int:
        return len(self.pools)

    def draw(self, rng: np.random.Generator) -> Pool:
        index = int(np.searchsorted(self.up_to, rng.random(), side="right"))
        return self.pools[min(index, len(self.pools) - 1)]  # shares may sum to a hair under 1


def held_out(corpus: str, row: dict[str, object], rules: Sequence[str]) -> bool:
    """Whether a clip is kept for testing.

    Rules: `corpus` (all of it), `corpus:group`, `:group` (in any corpus), `corpus%n` (every n-th
    clip, by a hash of its id that never changes).
    """
    for rule in rules:
        name, colon, group = rule.partition(":")
        name, percent, n = name.partition("%")
        if name and name != corpus:
            continue
        if colon and row["group"] != group:
            continue
        if percent and sum(map(ord, str(row["id"]))) % int(n):
            continue
        return True
    return False


def _spoken(corpus: Cached, row: dict[str, object]) -> int:
    start, length = int(row["frame"]), int(row["frames"])  # type: ignore[call-overload]
    return int((corpus.labels[start : start + length] == SPEECH).sum())


def _pool(corpus: Cached, rules: Sequence[str]) -> Pool | None:
    rows = [row for row in corpus.clips if not held_out(corpus.name, row, rules)]
    if corpus.kind == "speech":
        rows = [row for row in rows if _spoken(corpus, row) >= SHORTEST_SPEECH]
    if not rows:
        return None
    columns = [np.array([row[key] for row in rows]) for key in ("frame", "frames", "level")]
    return Pool(corpus.audio, corpus.labels, columns[0], columns[1], columns[2])
