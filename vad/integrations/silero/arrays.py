"""Tensors, where torch is installed, else numpy arrays; and what comes in, as samples."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.audio import as_float
from vad.audio.pcm import as_array
from vad.audio.scale import Screen, check_scale
from vad.errors import ParameterError

Samples = NDArray[np.float32]
_RATE = 16_000  # Hz: only places in a warning follow from it
_CALLER = 4  # who called what is public


@cache
def torch() -> Any:
    """The package, or None."""
    try:
        return import_module("torch")
    except ImportError:
        return None


def tensor(array: NDArray[Any]) -> Any:
    """A tensor with the same numbers; where there is no torch, the array itself."""
    return array if torch() is None else torch().from_numpy(np.ascontiguousarray(array))


def mono(audio: Any) -> Samples:
    """[samples] float32 of one channel, however many dimensions of size 1 it has around it.

    Raises:
        ParameterError: two channels, numbers on another scale than their type's, or no numbers.
    """
    found = as_array(audio)
    if found.dtype.kind not in "fiu" or (found.ndim != 1 and found.size != max(found.shape or [0])):
        raise ParameterError(
            "audio",
            f"must be the numbers of one channel, [samples]; it is {list(found.shape)} of "
            f"{found.dtype}",
        )
    samples: Samples = rows(found.reshape(-1), "audio")[0]
    return samples


def rows(audio: Any, param: str = "x") -> Samples:
    """[batch, samples] float32 of [samples] or [batch, samples].

    What is not finite counts as 0, as in files, with a warning: it would stay in a network's past.

    Raises:
        ParameterError: more dimensions, numbers on another scale than their type's, or none.
    """
    found = as_array(audio, param)
    if found.ndim not in (1, 2) or found.dtype.kind not in "fiu":
        raise ParameterError(
            param,
            "must be numbers, [samples] or [batch, samples] with rows of one length; it is "
            f"{list(found.shape)} of {found.dtype}",
        )
    check_scale(found, param)
    told: list[str] = []
    scaled = Screen(_RATE, told).push(as_float(found.T if found.ndim == 2 else found))
    for message in told:
        warnings.warn(f"{param}: {message}", stacklevel=_CALLER)
    return np.ascontiguousarray(scaled.T, np.float32)
