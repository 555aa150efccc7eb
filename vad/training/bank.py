"""All clips of a kind on one device, and rows of clips laid one after another.

What takes a loop for one scene is one operation for a batch of them: a clip's place in its row
follows from a running sum, and every sample of every row is fetched at once.

    slot        0            1                 2 (cut off by the row's end)
    row    ....[clip 17    ]....[clip 3  ]....[clip 208
           gap               gap           gap
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vad.training.draw import Draw
from vad.training.labels import NON_SPEECH, SPEECH
from vad.training.prepare import Cached
from vad.training.rows import Places, Rows

SHORTEST_SPEECH = 15  # frames; a clip with less holds no word that could be learnt from


@dataclass(frozen=True)
class Pieces:
    """Pieces of clips, [rows, slots] each.

    Attributes:
        clip: which clip of the bank.
        source: its first frame there.
        length: frames of it that are played.
        rate: how many times as fast.
        lasts: frames that this takes.
    """

    clip: Tensor
    source: Tensor
    length: Tensor
    rate: Tensor
    lasts: Tensor


@dataclass(frozen=True)
class Bank:
    """Clips of the corpora of one kind.

    Attributes:
        audio: [samples] int16, all corpora end to end.
        labels: [frames] int8.
        starts, lengths: [clips] in frames.
        levels: [clips] RMS of a clip's speech, dBFS.
        first, count: [corpora] which clips are a corpus's.
        up_to: [corpora] cumulative share of each corpus among all draws.
    """

    audio: Tensor
    labels: Tensor
    starts: Tensor
    lengths: Tensor
    levels: Tensor
    first: Tensor
    count: Tensor
    up_to: Tensor

    @classmethod
    def of(
        cls,
        corpora: Sequence[Cached],
        kind: str,
        boost: Mapping[str, float],
        rules: Sequence[str],
        device: torch.device | str = "cpu",
    ) -> Bank | None:
        """What is left of the corpora of a kind; None where nothing is.

        Corpora are drawn in proportion to the square root of their size, which keeps big ones
        from drowning small ones, which differ most.

        Args:
            boost: how much more often than its size says a corpus is drawn.
            rules: what is held out, see `held_out`.
        """
        used = [(c, rows) for c in corpora if c.kind == kind and (rows := _usable(c, rules))]
        if not used:
            return None
        before = np.cumsum([0, *(len(corpus.labels) for corpus, _ in used[:-1])])
        starts = [
            at + row["frame"] for (_, rows), at in zip(used, before, strict=True) for row in rows
        ]
        clips = [row for _, rows in used for row in rows]
        counts = np.array([len(rows) for _, rows in used])
        sizes = [sum(row["frames"] for row in rows) for _, rows in used]
        shares = [boost.get(c.name, 1.0) * n**0.5 for (c, _), n in zip(used, sizes, strict=True)]
        columns = {
            "audio": np.concatenate([c.audio for c, _ in used]),
            "labels": np.concatenate([c.labels for c, _ in used]),
            "starts": np.array(starts, np.int64),
            "lengths": np.array([row["frames"] for row in clips], np.int64),
            "levels": np.array([row["level"] for row in clips], np.float32),
            "first": np.cumsum(counts) - counts,
            "count": counts,
            "up_to": np.asarray(np.cumsum(shares) / sum(shares), np.float32),
        }
        return cls(**{name: torch.from_numpy(c).to(device) for name, c in columns.items()})

    def corpora(self, draw: Draw, *shape: int) -> Tensor:
        """Corpora drawn by their shares, int64."""
        found = torch.searchsorted(self.up_to, draw.uniform(*shape), right=True)
        return found.clamp_max(len(self.up_to) - 1)  # shares may sum to a hair under 1

    def lay(
        self,
        draw: Draw,
        corpora: Tensor,
        gaps: Tensor,
        frames: int,
        *,
        speed: Tensor | None = None,
        backwards: Tensor | None = None,
        longest: int | None = None,
    ) -> Rows:
        """Rows of clips drawn from `corpora`.

        Args:
            corpora: [rows, slots].
            gaps: [rows, slots] frames of silence before each clip.
            frames: length of the rows.
            speed: [rows, slots] > 1 plays faster and higher (linear interpolation).
            backwards: [rows, slots] bool.
            longest: frames that are left of a clip at most.
        """
        most = torch.full_like(gaps, min(longest or frames, frames))
        pieces = self.pick(draw, corpora, most, speed)
        return self.put(pieces, torch.cumsum(gaps + pieces.lasts, 1), frames, backwards)

    def pick(
        self, draw: Draw, corpora: Tensor, longest: Tensor, speed: Tensor | None = None
    ) -> Pieces:
        """Clips drawn from `corpora`, or pieces of them.

        Args:
            corpora: [rows, slots].
            longest: [rows, slots] frames that each may last.
            speed: as in `lay`.
        """
        clip = self.first[corpora] + draw.below(self.count[corpora])
        rate = torch.ones_like(longest, dtype=torch.float32) if speed is None else speed
        most = (rate * longest).ceil().long()
        length = torch.minimum(self.lengths[clip], most)
        source = self.starts[clip] + draw.below(self.lengths[clip] - length + 1)
        return Pieces(clip, source, length, rate, (length / rate).long())

    def put(
        self, pieces: Pieces, ends: Tensor, frames: int, backwards: Tensor | None = None
    ) -> Rows:
        """Rows in which each piece ends where it is told.

        Args:
            ends: [rows, slots] frames, in rising order and far enough apart that no piece begins
                before the one before it ends; those outside of a row are cut off.
            frames: length of the rows.
            backwards: as in `lay`.
        """
        at = torch.arange(frames, device=ends.device).expand(len(ends), -1).contiguous()
        slots = ends.shape[1]
        slot = torch.searchsorted(ends.contiguous(), at, right=True)
        found = slot.clamp_max(slots - 1)
        since = at - (ends - pieces.lasts).gather(1, found)
        inside = (slot < slots) & (since >= 0)
        source, length, rate, lasts = (
            v.gather(1, found) for v in (pieces.source, pieces.length, pieces.rate, pieces.lasts)
        )
        back = None if backwards is None else backwards.gather(1, found)
        places = Places(inside, source, length, rate, lasts, since.clamp_min(0), back)
        audio = places.sound(self.audio).flatten(1)
        labels = torch.where(inside, self.labels[places.frames()], NON_SPEECH)
        return Rows(audio, labels, torch.where(inside, slot, slots), pieces.clip)


def held_out(corpus: str, row: dict[str, Any], rules: Sequence[str]) -> bool:
    """Whether a clip is kept for testing.

    Rules: `corpus` (all of it), `corpus:group`, `:group` (in any corpus), `corpus%n` (every n-th
    clip, by a hash of its id that never changes), `corpus:%n` (every n-th group, likewise).
    """
    for rule in rules:
        name, colon, group = rule.partition(":")
        name, percent, n = name.partition("%")
        if name and name != corpus:
            continue
        if group.startswith("%"):
            if sum(map(ord, str(row["group"]))) % int(group[1:]):
                continue
        elif colon and row["group"] != group:
            continue
        if percent and sum(map(ord, str(row["id"]))) % int(n):
            continue
        return True
    return False


def unknown(corpora: Sequence[Cached], rules: Iterable[str]) -> list[str]:
    """Those rules of what is held out that speak of nothing that is here."""
    names = {corpus.name for corpus in corpora}
    groups = {(corpus.name, str(row["group"])) for corpus in corpora for row in corpus.clips}
    anywhere = {group for _, group in groups}

    def known(rule: str) -> bool:
        rest, colon, group = rule.partition(":")
        name = rest.partition("%")[0]
        if not colon or group.startswith("%"):
            return not name or name in names
        return (name, group) in groups if name else group in anywhere

    return [rule for rule in rules if not known(rule)]


def _usable(corpus: Cached, rules: Sequence[str]) -> list[dict[str, Any]]:
    rows = [row for row in corpus.clips if not held_out(corpus.name, row, rules)]
    if corpus.kind == "speech":
        rows = [row for row in rows if _spoken(corpus, row) >= SHORTEST_SPEECH]
    return rows


def _spoken(corpus: Cached, row: dict[str, Any]) -> int:
    frames = corpus.labels[row["frame"] : row["frame"] + row["frames"]]
    return int((frames == SPEECH).sum())
