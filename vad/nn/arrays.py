"""What `vad.nn.plan` asks of an array library: numpy on a CPU, torch on other devices.

On one core numpy calls its matrix product with half of torch's overhead and gathers rows and
takes logarithms in half the time; results differ by rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from vad.nn.precision import full_float32

Array = Any  # of the library in use
Host = NDArray[Any]

_CHOSEN = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@cache
def hold_blas_to_one_thread() -> None:
    """From now on, numpy's matrix products run in the thread that calls them.

    Those here take 0.1 ms. Shared among threads they gain little on idle cores, and on busy ones
    the parts wait for each other: a batch took 144 ms then in place of 1. The setting is the
    process's and cannot be changed back and forth (OpenBLAS 0.3.31 obeys one thread only), so
    it is made once, and not where the environment has one. Callers who have several cores use
    them by having several threads.
    """
    if not any(name in os.environ for name in _CHOSEN):
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            library.set_num_threads(1)


class Numpy:
    """Arrays of numpy.

    Constants are arrays of float32 here, because a number of Python's costs a conversion at each
    use; and `maximum` is twice as fast with a row of zeros as with one zero.
    """

    # For so many live streams at first. Memory that nobody has touched yet costs nothing.
    slots = 4096

    def __init__(self) -> None:
        hold_blas_to_one_thread()
        self._zeros = np.zeros(0, np.float32)
        self._one, self._half = np.array(1, np.float32), np.array(0.5, np.float32)

    def computing(self) -> AbstractContextManager[object]:
        """To be entered around all use of arrays."""
        return nullcontext()

    def put(self, values: Host) -> Array:
        """From the host."""
        return values

    def get(self, values: Array) -> Host:
        """To the host."""
        return np.asarray(values)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, np.float32)

    def concatenate(self, parts: Sequence[Array], axis: int = 0) -> Array:
        return np.concatenate(parts, axis)

    def copy(self, x: Array) -> Array:
        return x.copy()

    def windows(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A view; strides count elements, and `x` is contiguous."""
        # As `as_strided`, which takes ten times as long.
        return np.ndarray(shape, x.dtype, x, 0, [x.itemsize * stride for stride in strides])

    def take(self, rows: Array, index: Array) -> Array:
        return rows.take(index, 0)

    def product(self, x: Array, weight: Array, bias: Array | None) -> Array:
        y = np.dot(x, weight)
        if bias is not None:
            y += bias
        return y

    def relu(self, x: Array, out: Array | None = None) -> Array:
        zeros = self._zeros  # another thread may put a shorter row there
        if len(zeros) < x.shape[1]:
            zeros = self._zeros = np.zeros(x.shape[1], np.float32)
        return np.maximum(x, zeros[: x.shape[1]], out=out)

    def abs(self, x: Array, out: Array | None = None) -> Array:
        return np.abs(x, out=out)

    def log1p(self, x: Array, gain: float, scale: float) -> Array:
        """scale · log(1 + gain · |x|). numpy's and torch's own log1p take longer, for the sake of
        digits that are lost here below 1e-7."""
        y = np.abs(x)
        y *= np.float32(gain)
        y += self._one
        np.log(y, out=y)
        y *= np.float32(scale)
        return y

    def sigmoid(self, x: Array) -> Array:
        y = np.tanh(x * self._half)
        y += self._one
        y *= self._half
        return y

    def peak(self, x: Array, axis: int) -> Array:
        return x.max(axis)


class Torch:
    """Tensors of torch on a device."""

    slots = 64

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextmanager
    def computing(self) -> Iterator[None]:
        with torch.inference_mode(), full_float32(self.device):
            yield

    def put(self, values: Host) -> Array:
        # torch warns of arrays that may not be written, such as memory maps.
        return torch.from_numpy(np.require(values, None, ["W"])).to(self.device)

    def get(self, values: Array) -> Host:
        found: Host = values.cpu().numpy()
        return found

    def zeros(self, *shape: int) -> Array:
        return torch.zeros(shape, device=self.device)

    def concatenate(self, parts: Sequence[Array], axis: int = 0) -> Array:
        return torch.cat(list(parts), axis)

    def copy(self, x: Array) -> Array:
        return x.clone()

    def windows(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        return x.as_strided(shape, strides)

    def take(self, rows: Array, index: Array) -> Array:
        return rows.index_select(0, index)

    def product(self, x: Array, weight: Array, bias: Array | None) -> Array:
        return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)

    def relu(self, x: Array, out: Array | None = None) -> Array:
        return torch.clamp(x, min=0, out=out)

    def abs(self, x: Array, out: Array | None = None) -> Array:
        return torch.abs(x, out=out)

    def log1p(self, x: Array, gain: float, scale: float) -> Array:
        return x.abs().mul_(gain).add_(1).log_().mul_(scale)

    def sigmoid(self, x: Array) -> Array:
        return x.sigmoid()

    def peak(self, x: Array, axis: int) -> Array:
        return x.amax(axis)


Arrays = Numpy | Torch


def arrays_for(device: torch.device) -> Arrays:
    return Numpy() if device.type == "cpu" else Torch(device)


def cores() -> int:
    """That this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
