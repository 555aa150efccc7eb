"""What the first layer starts from."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mel_cosines(filters: int, taps: int, sample_rate: int = 16_000) -> Tensor:
    """Hann-windowed cosines with centres from 80 Hz to 7.6 kHz on a mel scale, [filters, taps].

    The windows shorten with frequency, as auditory filters do, down to a quarter.
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (80.0, 7600.0))
    mel = torch.linspace(low, high, filters)
    centres = 700 * (10 ** (mel / 2595) - 1)
    time = torch.arange(taps) - (taps - 1) / 2
    rows = []
    for centre in centres:
        width = taps * max(0.25, min(1.0, 600 / float(centre)))
        window = torch.cos(math.pi * time / width).clamp_min(0) ** 2
        window[time.abs() > width / 2] = 0
        rows.append(window * torch.cos(2 * math.pi * centre * time / sample_rate))
    stacked = torch.stack(rows)
    norms: Tensor = stacked.norm(dim=1, keepdim=True)
    return stacked / norms
