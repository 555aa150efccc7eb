"""Sample-rate conversion, block by block, with little delay.

libsoxr filters in blocks of FFTs. Fed millisecond by millisecond, python-soxr 1.1 holds back
this much audio before an output sample comes out, by its quality setting:

    to 16 kHz from      8 kHz   44.1 kHz   48 kHz
    LQ                  61 ms     22 ms     20 ms
    MQ                 118 ms     41 ms     38 ms
    HQ                 116 ms     40 ms     37 ms
    HQ, variable rate   30 ms     14 ms     13 ms
    the FIR below        5 ms      5 ms      5 ms

A detector that answers within tens of milliseconds cannot wait that long, so ratios of small
numbers go through a linear-phase polyphase FIR. Its half-length of 5 ms is the whole delay and
buys, by Kaiser's formula at 80 dB, a transition of 500 Hz that ends at the lower Nyquist
frequency: from 44.1 or 48 kHz flat to 7.5 kHz and no alias at all above -80 dB, from 8 kHz flat
to 3.5 kHz (telephony ends at 3.4). Ratios of large numbers, such as 11 127 to 16 000 Hz, whose
table of coefficients would be too large, go through soxr's LQ at soxr's delay;
`Resampler.latency_ms` tells how much that is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vad.audio.reader import check_rate
from vad.blas import hold_blas_to_one_thread
from vad.errors import ParameterError
from vad.frames import SAMPLE_RATE, resampled_length

Block = NDArray[np.float32]

HALF_LENGTH = 0.005  # s, of the FIR: the delay
TRANSITION = 500.0  # Hz, from pass band to stop band
STOP_BAND = 80.0  # dB
LARGEST_TABLE = 1 << 20  # coefficients: 4 MiB
OUTPUTS = 40  # a period at least: fewer cost overhead, more cost products with zeros


class Resampler:
    """Converts a stream of blocks; any chunking gives the same samples.

    Output sample k speaks of input time k / rate_out: the filter's delay is taken out. After
    `flush` exactly `frames.resampled_length` samples have come out.

    Args:
        rate_in, rate_out: Hz.
        channels: of each block.

    Attributes:
        latency_ms: upper bound on the input that must follow an instant before its output
            comes out.

    Raises:
        ParameterError: a rate outside 4-192 kHz or a channel count that is not positive.
    """

    def __init__(self, rate_in: int, rate_out: int = SAMPLE_RATE, channels: int = 1) -> None:
        if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
            raise ParameterError("channels", f"must be a positive whole number, not {channels!r}")
        self.rate_in = check_rate("rate_in", rate_in)
        self.rate_out = check_rate("rate_out", rate_out)
        self.channels = channels
        self._filter = _filter(self.rate_in, self.rate_out, channels)
        self.latency_ms = 0.0 if self._filter is None else self._filter.latency * 1000
        self._taken = 0
        self._given = 0

    def push(self, x: Block) -> Block:
        """Takes [samples, channels] float32 and returns what is ready, [m, channels]."""
        if x.ndim != 2 or x.shape[1] != self.channels:
            raise ParameterError("x", f"must be [samples, {self.channels}], not {list(x.shape)}")
        if self._filter is None or not len(x):
            return x
        self._taken += len(x)
        y = self._filter.push(x)
        self._given += len(y)
        return y

    def flush(self) -> Block:
        """Returns the rest, as if silence followed; the stream has ended."""
        if self._filter is None:
            return np.empty((0, self.channels), np.float32)
        missing = resampled_length(self._taken, self.rate_in, self.rate_out) - self._given
        self._given += missing
        return self._filter.flush(missing)


class _Filter(Protocol):
    latency: float  # s

    def push(self, x: Block) -> Block: ...

    def flush(self, missing: int) -> Block: ...


def _filter(rate_in: int, rate_out: int, channels: int) -> _Filter | None:
    """What converts; None where there is nothing to convert."""
    if rate_in == rate_out:
        return None
    divisor = math.gcd(rate_in, rate_out)
    up, down = rate_out // divisor, rate_in // divisor
    if up * (down + 2 * _half_taps(rate_in)) <= LARGEST_TABLE:
        return _Polyphase(rate_in, rate_out, channels)
    return _Soxr(rate_in, rate_out, channels)


class _Polyphase:
    """Windowed-sinc FIR at a rational ratio, evaluated as one matrix product per push.

    `up` outputs are made from every `down` inputs, by the same coefficients each time: a
    period. The outputs of a period whose inputs are not all there yet are computed from zeros,
    withheld, and computed again with the next push.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        hold_blas_to_one_thread()
        self._half = _half_taps(rate_in)
        self._table, self._up, self._down = coefficients(rate_in, rate_out)
        self.latency = (self._half + 1) / rate_in
        self._taken = 0  # inputs so far
        self._next = 0  # the next output
        # Inputs from the start of that output's period on, less the filter's left half.
        self._held = np.zeros((self._half - 1, channels), np.float32)

    def push(self, x: Block) -> Block:
        self._taken += len(x)
        self._held = np.concatenate([self._held, x])
        # Output k needs the inputs before k * down / up + half.
        ready = -(-(self._taken - self._half) * self._up // self._down)
        return self._render(max(ready, self._next))

    def flush(self, missing: int) -> Block:
        return self._render(self._next + missing)

    def _render(self, end: int) -> Block:
        """Outputs from the next one up to `end`; inputs that are not there count as zeros."""
        first, skip = divmod(self._next, self._up)
        count = end - self._next
        periods = -(-end // self._up) - first
        if periods <= 1:  # live audio: only the columns that are ready are worth computing
            y = _one_period(self._held, self._table[:, skip : skip + count])
        else:
            y = _many_periods(self._held, self._table, self._down, periods)[skip : skip + count]
        self._next = end
        self._held = self._held[(end // self._up - first) * self._down :]
        return y


def _one_period(held: Block, table: Block) -> Block:
    width = min(len(held), len(table))
    return np.ascontiguousarray((held[:width].T @ table[:width]).T)


def _many_periods(held: Block, table: Block, down: int, periods: int) -> Block:
    channels = held.shape[1]
    lacking = (periods - 1) * down + len(table) - len(held)
    if lacking > 0:
        held = np.concatenate([held, np.zeros((lacking, channels), np.float32)])
    windows = sliding_window_view(held, len(table), axis=0)[::down][:periods]
    # One product takes half the time of one a period, as long as it stays in this thread.
    y = windows.reshape(-1, len(table)) @ table  # [periods · channels, up]
    return y.reshape(periods, channels, -1).transpose(0, 2, 1).reshape(-1, channels)


def _half_taps(rate_in: int) -> int:
    return math.ceil(HALF_LENGTH * rate_in)


@lru_cache(maxsize=16)
def coefficients(rate_in: int, rate_out: int) -> tuple[Block, int, int]:
    """Column k of the table makes output k of a period from the period's inputs.

    Kaiser (1974), "Nonrecursive digital filter design using the I0-sinh window function".
    Every column sums to one, so that a constant stays one.

    Returns:
        [inputs, up] float32, with the outputs (up) and inputs (down) of a period.
    """
    divisor = math.gcd(rate_in, rate_out)
    repeat = max(1, OUTPUTS * divisor // rate_out)
    up, down = repeat * rate_out // divisor, repeat * rate_in // divisor
    half = _half_taps(rate_in)
    cutoff = min(rate_in, rate_out) / 2 - TRANSITION / 2
    width = (up - 1) * down // up + 2 * half
    # Distance from each output's instant to each input, in input samples.
    distance = np.arange(width)[:, None] - (half - 1) - np.arange(up)[None, :] * (down / up)
    inside = np.abs(distance) < half
    x = distance[inside]
    beta = 0.1102 * (STOP_BAND - 8.7)
    table = np.zeros((width, up))
    table[inside] = np.sinc(2 * cutoff / rate_in * x) * np.i0(beta * np.sqrt(1 - (x / half) ** 2))
    table /= table.sum(axis=0)
    coefficients = table.astype(np.float32)
    coefficients.setflags(write=False)  # shared by all who use these rates
    return coefficients, up, down


class _Soxr:
    """libsoxr, for ratios without a small common period such as 11 127 to 16 000 Hz."""

    def __init__(self, rate_in: int, rate_out: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(
            rate_in, rate_out, channels, dtype="float32", quality="LQ"
        )
        # Measured over many ratios: at most 492 samples of the lower rate.
        self.latency = 500 / min(rate_in, rate_out)
        self._channels = channels

    def push(self, x: Block) -> Block:
        return np.asarray(self._stream.resample_chunk(x)).reshape(-1, self._channels)

    def flush(self, missing: int) -> Block:
        empty = np.empty((0, self._channels), np.float32)
        tail = np.asarray(self._stream.resample_chunk(empty, last=True))
        tail = tail.reshape(-1, self._channels)[:missing]
        return np.pad(tail, ((0, missing - len(tail)), (0, 0)))
