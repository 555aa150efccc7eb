"""Samples as numbers: array types to float, and headerless PCM bytes to float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import ParameterError

Samples = NDArray[np.float32]


# Beyond any sound (+60 dB over full scale): arithmetic on such samples ends in infinity, which
# would stay in a stream for the network's whole receptive field.
LARGEST = 1000.0


def as_array(audio: Any, param: str = "audio") -> NDArray[Any]:
    """A numpy array of whatever is one by nature: arrays, tensors on any device, lists.

    Args:
        audio: a tensor may require gradients, and bfloat16, which numpy lacks, becomes float32.
        param: named in the error.

    Raises:
        ParameterError: numpy makes no array of it.
    """
    try:
        if hasattr(audio, "detach"):  # a tensor; torch itself is not needed to know one
            audio = audio.detach().cpu()
            if "bfloat16" in str(audio.dtype):
                audio = audio.float()
        return np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(param, f"is no array ({error})") from error


def as_float(array: NDArray[Any]) -> Samples:
    """Scales audio of any numeric type to float32.

    Args:
        array: [samples] or [samples, channels]. Floats are taken as they are; integers are
            scaled by their type's range to [-1, 1), unsigned ones being centred at half of it
            (uint8 at 128).

    Returns:
        [samples, channels] float32. A float32 input is not copied.

    Raises:
        ParameterError: the array has no or too many dimensions, or is not of numbers.
    """
    x = as_array(array)
    if x.ndim not in (1, 2):
        raise ParameterError("audio", f"must be [samples] or [samples, channels], not {x.ndim}-D")
    x = x[:, None] if x.ndim == 1 else x
    if x.dtype.kind == "f":
        return x.astype(np.float32, copy=False)
    if x.dtype.kind not in "iu":
        raise ParameterError("audio", f"must hold floats or integers, not {x.dtype}")
    half = 2 ** (8 * x.dtype.itemsize - 1)
    # float32 holds all of 16 bits, but not every 32-bit sample.
    exact = np.float32 if x.dtype.itemsize <= 2 else np.float64
    scaled = np.subtract(x, half, dtype=exact) if x.dtype.kind == "u" else x.astype(exact)
    scaled /= half
    samples: Samples = scaled.astype(np.float32, copy=False)
    return samples


@cache
def _mulaw_table() -> Samples:
    """Linear value of each µ-law byte: ITU-T G.711 (11/88), table 2, on a 16-bit scale.

    All bits are sent inverted; then sign, 3 bits of segment, 4 bits of step. Segment s spans
    steps of 2^(s+3) and is offset by the bias 33 (132 on the 16-bit scale).
    """
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4) & 7, code & 15
    magnitude = ((2 * step.astype(np.int32) + 33) << segment) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4 / 32768).astype(np.float32)


@cache
def _alaw_table() -> Samples:
    """Linear value of each A-law byte: ITU-T G.711 (11/88), table 1, on a 16-bit scale.

    Even bits are sent inverted; then sign (set for positive), 3 bits of segment, 4 of step.
    Segments 0 and 1 share their step size; from there on it doubles.
    """
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = (code >> 4) & 7, (code & 15).astype(np.int32)
    odd = 2 * step + 1
    magnitude = np.where(segment == 0, odd, (odd + 32) << np.maximum(segment, 1) - 1)
    return (np.where(code & 0x80, magnitude, -magnitude) * 8 / 32768).astype(np.float32)


# Type of a sample as it comes, and what makes it a float: a factor, or a table.
_ENCODINGS: Mapping[str, tuple[str, Callable[[], Samples]]] = {
    "pcm_s16le": ("<i2", lambda: np.array(1 / 32768, np.float32)),
    "pcm_f32le": ("<f4", lambda: np.array(1, np.float32)),
    "mulaw": ("u1", _mulaw_table),
    "alaw": ("u1", _alaw_table),
}
ENCODINGS = tuple(_ENCODINGS)


def sample_bytes(encoding: str) -> int:
    """Bytes of a sample of one of `ENCODINGS`."""
    return np.dtype(_ENCODINGS[encoding][0]).itemsize


class Deinterleaver:
    """Tells the channels of headerless PCM apart, in pieces of any size; does no I/O.

    Args:
        encoding: one of `ENCODINGS`.
        channels: of which a sample each follow one another.
    """

    def __init__(self, encoding: str, channels: int) -> None:
        self._channels, self._width = channels, sample_bytes(encoding)
        self._rest = b""

    def push(self, data: bytes) -> list[bytes]:
        """The samples of each channel that `data` completes for all of them."""
        joined = self._rest + data
        whole = len(joined) - len(joined) % (self._channels * self._width)
        self._rest = joined[whole:]
        samples = np.frombuffer(joined[:whole], np.dtype((np.void, self._width)))
        return [samples[i :: self._channels].tobytes() for i in range(self._channels)]


class PcmDecoder:
    """Headerless mono PCM, in pieces of any size; does no I/O.

    Args:
        encoding: one of `ENCODINGS`.

    Attributes:
        sample_bytes: of one sample.
        bounded: whether whatever comes lies within [-1, 1].

    Raises:
        ParameterError: the encoding is unknown.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ENCODINGS:
            raise ParameterError("encoding", f"must be one of {', '.join(ENCODINGS)}")
        self.encoding = encoding
        self.sample_bytes = sample_bytes(encoding)
        self._type, self._scale = _ENCODINGS[encoding][0], _ENCODINGS[encoding][1]()
        self.bounded = encoding != "pcm_f32le"
        self._rest = b""

    @property
    def pending(self) -> int:
        """Bytes of a sample that is not complete yet."""
        return len(self._rest)

    def push(self, data: bytes | bytearray | memoryview) -> Samples:
        """Decodes the samples that `data` completes.

        Returns:
            [samples] float32; a split sample waits for the next push.
        """
        joined = self._rest + bytes(data)
        count, split = divmod(len(joined), self.sample_bytes)
        self._rest = joined[-split:] if split else b""
        samples = np.frombuffer(joined, self._type, count)
        floats: Samples = (
            self._scale[samples]
            if self._scale.ndim
            else np.multiply(samples, self._scale, dtype=np.float32)
        )
        return floats
