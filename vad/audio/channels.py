"""Which channels are listened to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vad.config import Channels
from vad.errors import ParameterError

_AUDIBLE = 1e-5  # mean square, -50 dB
# Of a mix's energy to its channels': one of 64 that speaks alone gives 1/64, cancellation less.
_CANCELLED = 0.01


def select_channels(block: NDArray[np.float32], channels: Channels) -> NDArray[np.float32]:
    """Mixes, keeps or picks channels.

    Args:
        block: [samples, channels] float32.
        channels: "mix" for their mean, "separate" for all of them, or the index of one.

    Returns:
        [samples, kept] float32; kept is 1 except for "separate".

    Raises:
        ParameterError: neither a known word nor the index of a channel that is there.
    """
    if channels == "separate":
        return block
    if channels == "mix":
        return block if block.shape[1] == 1 else block.mean(axis=1, keepdims=True)
    if isinstance(channels, bool) or not isinstance(channels, int):
        raise ParameterError("channels", f"must be mix, separate or an index, not {channels!r}")
    if not 0 <= channels < block.shape[1]:
        raise ParameterError(
            "channels", f"there is no channel {channels}; the audio has {block.shape[1]}, from 0"
        )
    return block[:, channels : channels + 1]


class Selection:
    """`select_channels`, block after block, that notices channels which cancel when mixed.

    Args:
        channels: as for `select_channels`.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._heard = self._cancelled = 0  # blocks

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        selected = select_channels(block, self._channels)
        if self._channels == "mix" and block.shape[1] > 1 and len(block):
            energy = float(np.vdot(block, block)) / block.size
            if energy > _AUDIBLE:
                self._heard += 1
                mixed = float(np.vdot(selected, selected)) / selected.size
                self._cancelled += mixed < _CANCELLED * energy
        return selected

    @property
    def warning(self) -> str | None:
        """What there is to say about a mix, once all has been pushed."""
        if not self._cancelled or self._cancelled < self._heard / 10:
            return None
        return (
            "the channels cancel one another when they are mixed, as those of opposite phase do: "
            "listen to each with channels=separate"
        )


def fit_channels(block: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """[samples, any] to [samples, count], where a recording changes its layout on the way.

    Channels are dealt out in turn and averaged, or repeated in turn, so that a mix of the result
    sounds like a mix of what came in.
    """
    have = block.shape[1]
    if have == count:
        return block
    if have < count:
        return block[:, np.arange(count) % have]
    return np.stack([block[:, i::count].mean(axis=1) for i in range(count)], axis=1)
