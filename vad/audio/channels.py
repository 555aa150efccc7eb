"""Which channels are listened to."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vad.errors import ParameterError

Channels = Literal["mix", "separate"] | int


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
