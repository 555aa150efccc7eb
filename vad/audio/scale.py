"""Whether samples are on the scale that is promised: floats within ±1, integers over their type.

The commonest slip is 16-bit samples in another type: as floats of ±32768, or in int32 or int64,
of whose range they fill a 65536th. To the network neither is speech, so that nothing would be
found and nothing said. One rule for every way in:

    floats           more than `FEW` samples beyond ±1.5 are told, once, in a warning;
                     an array with more than `FEW` beyond ±32 (+30 dB) is refused
    int32            an array none of whose samples exceeds 16 bits (-96 dB) is refused; of a
                     live stream, which may begin quietly, a second of them is told in a warning
    int64            refused where no sample exceeds 32 bits
    uint32, uint64   refused where no sample exceeds 16 bits: true ones lie around half the range

Whatever int32 holds only multiples of 256 is 24-bit audio, however quiet, and is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.audio.pcm import LARGEST, Samples
from vad.errors import ParameterError

LOUD = 1.5  # lossy codecs and resampling overshoot full scale by less
UNSCALED = 32.0
FEW = 8  # samples that a glitch may spoil
_PART = 1 << 20  # samples that are looked at together: a long array is not copied whole
_WIDEST = np.float64(2**31)  # of the widest samples in use; what lies beyond was no sample
_NARROW = {"i4": 2**15, "i8": 2**31, "u4": 2**16 - 1, "u8": 2**16 - 1}


def check_scale(array: NDArray[Any], param: str = "audio") -> None:
    """Refuses an array whose samples are plainly on another scale than its type's.

    Args:
        array: [samples] or [samples, channels]; what is no number is not judged.
        param: named in the error.

    Raises:
        ParameterError: says how to scale.
    """
    if array.dtype.kind == "f":
        beyond, peak = 0, 0.0
        for part in _parts(array):
            size = np.abs(part)
            size = size[(size > UNSCALED) & (size <= _WIDEST)]
            beyond += size.size
            peak = max(peak, float(size.max(initial=0.0)))
        if beyond > FEW:
            raise ParameterError(param, _too_loud(peak))
    elif is_narrow(array):
        raise ParameterError(param, _too_narrow(array))


def is_narrow(array: NDArray[Any]) -> bool:
    """Whether integers of a wide type hold something, but only what a narrower type could."""
    limit = _NARROW.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    if limit is None or not array.size:
        return False
    if max(int(array.max()), -int(array.min())) > limit or not array.any():
        return False
    return array.dtype.kind == "u" or any((part & 0xFF).any() for part in _parts(array))


class Screen:
    """What samples go through on their way to the network, block by block.

    Args:
        sample_rate: Hz.
        told: where warnings go.

    Attributes:
        replaced: samples so far that were no sound (not finite, or beyond 1000) and became 0.
    """

    def __init__(self, sample_rate: int, told: list[str]) -> None:
        self.replaced = 0
        self._rate, self._told = sample_rate, told
        self._samples = 0
        self._loud = 0  # samples beyond LOUD so far
        self._narrow: int | None = 0  # int32 samples so far, while none exceeds 16 bits

    def push(self, samples: Samples) -> Samples:
        """The same samples, [samples, channels], those that are no sound replaced by 0."""
        before, self._samples = self._samples, self._samples + len(samples)
        if not samples.size or (samples.min() >= -LOUD and samples.max() <= LOUD):  # NaN is not
            return samples
        size = np.abs(samples)
        self._judge(size[(size > LOUD) & (size <= _WIDEST)])
        valid = size <= LARGEST
        if valid.all():
            return samples
        if not self.replaced:
            first = (before + int(np.argmin(valid.all(axis=1)))) / self._rate
            self._told.append(
                "samples that are not finite numbers or absurdly large, the first at "
                f"{first:.2f} s, were replaced by 0"
            )
        self.replaced += int(np.count_nonzero(~valid))
        return np.where(valid, samples, np.float32(0))

    def check_block(self, block: NDArray[Any]) -> None:
        """Before `push`: a live stream's next block as its caller gave it.

        Raises:
            ParameterError: as `check_scale`.
        """
        if block.dtype != np.int32:
            check_scale(block, "block")
        elif self._narrow is not None and block.any():
            self._narrow = self._narrow + len(block) if is_narrow(block) else None
            if self._narrow is not None and self._narrow >= self._rate:
                self._narrow = None
                self._told.append(_too_narrow(block))
                warnings.warn(f"block: {_too_narrow(block)}", stacklevel=4)  # who pushed

    def _judge(self, loud: Samples) -> None:
        told = self._loud > FEW
        self._loud += loud.size
        if self._loud > FEW and not told:
            self._told.append(_too_loud(float(loud.max())))


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + _PART] for start in range(0, len(array), _PART))


def _too_loud(peak: float) -> str:
    advice = "; divide 16-bit samples by 32768" if peak > UNSCALED else ""
    return f"samples reach {peak:.6g}, where full scale is 1{advice}"


def _too_narrow(array: NDArray[Any]) -> str:
    kind, bits = array.dtype, 32 if array.dtype == np.int64 else 16
    return (
        f"no sample of this {kind} array exceeds {bits} bits, and {kind} is scaled by its whole "
        f"range: give 16-bit samples as int16 (array.astype('int16')), or scale them to floats in "
        "[-1, 1]"
    )
