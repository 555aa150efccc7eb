"""Where each frame of a row comes from, and the rows that come of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vad.frames import HOP_SAMPLES

FADE = HOP_SAMPLES // 2  # 5 ms at both ends of a clip, so that a cut is no click
FULL_SCALE = 32768


@dataclass(frozen=True)
class Places:
    """Of each frame of each row: where its sound lies among the clips of a bank; [rows, frames].

    Attributes:
        inside: whether there is a clip at all; the rest means something only where there is.
        source: the clip's first frame in the bank.
        length: frames of it that are played.
        rate: how many times as fast; higher by as much.
        lasts: frames that this takes.
        since: frames of the clip before this one.
        backwards: whether it is played from its end; None: never.
    """

    inside: Tensor
    source: Tensor
    length: Tensor
    rate: Tensor
    lasts: Tensor
    since: Tensor
    backwards: Tensor | None = None

    def frames(self) -> Tensor:
        """The frame of the bank that a frame's centre falls into."""
        inner = torch.minimum(((self.since + 0.5) * self.rate).long(), self.length - 1)
        if self.backwards is not None:
            inner = torch.where(self.backwards, self.length - 1 - inner, inner)
        return self.source + inner

    def sound(self, audio: Tensor) -> Tensor:
        """[rows, frames, 160] float32 in [−1, 1], faded at the ends of each clip; else silence.

        Args:
            audio: [samples] int16 of the bank.
        """
        bent = self.rate != 1
        if self.backwards is not None:
            bent = bent | self.backwards
        # Most frames are whole ones of the bank, fetched as they are.
        whole = torch.where(self.inside & ~bent, self.source + self.since, 0)
        found = audio.view(-1, HOP_SAMPLES).index_select(0, whole.flatten()).float()
        found *= (self.inside.flatten() / FULL_SCALE)[:, None]
        if len(other := torch.nonzero((self.inside & bent).flatten())[:, 0]):
            found.index_copy_(0, other, self._bent(audio, other) / FULL_SCALE)
        ramp = (torch.arange(HOP_SAMPLES, device=audio.device) / FADE).clamp_max(1)
        found[(self.inside & (self.since == 0)).flatten()] *= ramp
        found[(self.inside & (self.since == self.lasts - 1)).flatten()] *= ramp.flip(0)
        return found.view(*self.inside.shape, HOP_SAMPLES)

    def _bent(self, audio: Tensor, which: Tensor) -> Tensor:
        """[chosen, 160] samples between those of the bank, by linear interpolation.

        Args:
            which: [chosen] frames, counted through all rows.
        """
        rate = self.rate.flatten()[which]
        source, length, since = (
            v.flatten()[which] * HOP_SAMPLES for v in (self.source, self.length, self.since)
        )
        # Only a frame's start needs the digits of a double; the way on from there is short.
        start = since * rate.double()
        if self.backwards is not None:
            back = self.backwards.flatten()[which]
            start, rate = (
                torch.where(back, length - 1 - start, start),
                torch.where(back, -rate, rate),
            )
        first = start.floor().long()
        steps = torch.arange(HOP_SAMPLES, device=audio.device)
        way = torch.addcmul((start - first).float()[:, None], rate[:, None], steps)
        way.clamp_((-first)[:, None], (length - 1 - first)[:, None])
        whole = way.floor()
        left = whole.long() + (source + first)[:, None]
        right = torch.minimum(left + 1, (source + length - 1)[:, None])
        a, b = (audio.index_select(0, i.flatten()).view_as(i).float() for i in (left, right))
        return torch.lerp(a, b, way - whole)


@dataclass(frozen=True)
class Rows:
    """Clips laid one after another.

    Attributes:
        audio: [rows, frames · 160] float32 in [−1, 1].
        labels: [rows, frames] int8.
        slot: [rows, frames] which clip a frame is of; the number of slots where of none.
        clip: [rows, slots] which clips were laid.
    """

    audio: Tensor
    labels: Tensor
    slot: Tensor
    clip: Tensor

    def scaled(self, gains: Tensor) -> Tensor:
        """The audio with a factor [rows, slots] on each clip."""
        padded = torch.nn.functional.pad(gains, (0, 1))
        each = padded.gather(1, self.slot)[..., None]
        return (self._framed() * each).flatten(1)

    def at_unit_power(self, gains: Tensor | None = None) -> Tensor:
        """The audio with each clip at a mean square of 1, times its factor [rows, slots]."""
        frames = self._framed().square().mean(2)
        sums = frames.new_zeros(len(frames), self.clip.shape[1] + 1)
        counts = sums.scatter_add(1, self.slot, torch.ones_like(frames)).clamp_min(1)
        mean = sums.scatter_add(1, self.slot, frames) / counts
        unit = torch.rsqrt(mean[:, :-1] + 1e-8)
        return self.scaled(unit if gains is None else unit * gains)

    def _framed(self) -> Tensor:
        return self.audio.view(len(self.audio), -1, HOP_SAMPLES)
