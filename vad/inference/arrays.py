"""What `vad.inference.plan` asks of an array library: numpy on a CPU, torch on other devices.

On one core numpy calls its matrix product with half of torch's overhead and gathers rows and
takes logarithms in half the time; results differ by rounding only.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.blas import hold_blas_to_one_thread
from vad.errors import MissingExtra, ParameterError
from vad.nn.ops import LOGIT_EPS

log = logging.getLogger(__name__)

Array = Any  # of the library in use
Host = NDArray[Any]
Function = Callable[[Array], Array]


class Numpy:
    """Arrays of numpy.

    Constants are arrays of float32 here, because a number of Python's costs a conversion at each
    use; and `maximum` is twice as fast with a row of zeros as with one zero.
    """

    # For so many live streams at first. Context that nobody has touched yet costs nothing.
    slots = 4096

    def __init__(self) -> None:
        hold_blas_to_one_thread()
        self._zeros = np.zeros(0, np.float32)
        self._one, self._half = np.array(1, np.float32), np.array(0.5, np.float32)

    computing = nullcontext  # to be entered around all use of arrays
    put = get = staticmethod(np.asarray)  # from the host, to the host
    concatenate = staticmethod(np.concatenate)
    copy = staticmethod(np.ndarray.copy)
    abs = staticmethod(np.abs)
    peak = staticmethod(np.maximum.reduce)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, np.float32)

    def windows(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A view; strides count elements, and `x` is contiguous."""
        # As `as_strided`, which takes ten times as long.
        return np.ndarray(shape, x.dtype, x, 0, [x.itemsize * stride for stride in strides])

    def take(self, rows: Array, index: Array) -> Array:
        return rows.take(index, 0)

    def product(self, weight: Array, bias: Array | None) -> Function:
        """x · weight + bias, of rows x."""

        def product(x: Array) -> Array:
            y = np.dot(x, weight)
            if bias is not None:
                y += bias
            return y

        return product

    def relu(self, x: Array, out: Array | None = None) -> Array:
        zeros = self._zeros  # another thread may put a shorter row there
        if len(zeros) < x.shape[1]:
            zeros = self._zeros = np.zeros(x.shape[1], np.float32)
        return np.maximum(x, zeros[: x.shape[1]], out=out)

    def log1p(self, x: Array, out: Array | None = None) -> Array:
        """numpy's and torch's own log1p take longer, for the sake of digits that are lost here
        below 1e-7."""
        y = np.add(x, self._one, out=out)
        return np.log(y, out=y)

    def sigmoid(self, x: Array, out: Array | None = None) -> Array:
        y = np.multiply(x, self._half, out=out)
        np.tanh(y, out=y)
        y += self._one
        y *= self._half
        return y

    def logit(self, x: Array, out: Array | None = None) -> Array:
        y = np.clip(x, LOGIT_EPS, 1 - LOGIT_EPS, out=out)
        return np.log(y / (self._one - y), out=y)


class Torch:
    """Tensors of torch on a device."""

    slots = 64

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)

    @contextmanager
    def computing(self) -> Iterator[None]:
        from vad.nn.precision import full_float32

        with self._torch.inference_mode(), full_float32(self._device):
            yield

    def put(self, values: Host) -> Array:
        # torch warns of arrays that may not be written, such as memory maps.
        return self._torch.from_numpy(np.require(values, None, ["W"])).to(self._device)

    def get(self, values: Array) -> Host:
        found: Host = values.cpu().numpy()
        return found

    def zeros(self, *shape: int) -> Array:
        return self._torch.zeros(shape, device=self._device)

    def concatenate(self, parts: Sequence[Array], axis: int = 0) -> Array:
        return self._torch.cat(list(parts), axis)

    def copy(self, x: Array) -> Array:
        return x.clone()

    def windows(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        return x.as_strided(shape, strides)

    def take(self, rows: Array, index: Array) -> Array:
        return rows.index_select(0, index)

    def product(self, weight: Array, bias: Array | None) -> Function:
        if bias is None:
            return lambda x: self._torch.mm(x, weight)
        return lambda x: self._torch.addmm(bias, x, weight)

    def relu(self, x: Array, out: Array | None = None) -> Array:
        return self._torch.clamp(x, min=0, out=out)

    def abs(self, x: Array, out: Array | None = None) -> Array:
        return self._torch.abs(x, out=out)

    def log1p(self, x: Array, out: Array | None = None) -> Array:
        return self._torch.log1p(x, out=out)

    def sigmoid(self, x: Array, out: Array | None = None) -> Array:
        return self._torch.sigmoid(x, out=out)

    def logit(self, x: Array, out: Array | None = None) -> Array:
        return self._torch.logit(x, LOGIT_EPS, out=out)

    def peak(self, x: Array, axis: int) -> Array:
        return x.amax(axis)


Arrays = Numpy | Torch


def arrays_for(device: str) -> Arrays:
    """What suits a device that `usable_device` has found."""
    return Numpy() if device == "cpu" else Torch(device)


def usable_device(name: str) -> str:
    """The device of that name; for `auto` a GPU that torch can use, if there is one.

    Raises:
        ParameterError: it cannot be used here.
    """
    if name == "cpu" or (name == "auto" and not _torch_sees_a_gpu()):
        return "cpu"
    if name == "auto":
        return "cuda"
    try:
        import torch
    except ImportError as error:
        raise ParameterError("device", f"{name!r} needs torch; {_TORCH}") from error
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each of torch's many backends fails in a way of its own
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ParameterError("device", f"{name!r} cannot be used here: {reason[:160]}") from error
    return str(device)


_TORCH = MissingExtra("torch", "gpu")
# Where drivers of GPUs that torch may know show themselves: NVIDIA's, its Tegra's, Windows'
# within WSL, and AMD's. Looking there takes microseconds, asking torch takes seconds.
_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvmap", "/dev/dxg", "/dev/kfd")


def _torch_sees_a_gpu() -> bool:
    nvidia = shutil.which("nvidia-smi") is not None
    if "torch" not in sys.modules and not nvidia and not any(map(os.path.exists, _DRIVERS)):
        return False
    try:
        import torch
    except ImportError:
        if nvidia or os.path.exists(_DRIVERS[0]):
            _say_that_a_gpu_idles()
        return False
    return torch.cuda.is_available()


@cache
def _say_that_a_gpu_idles() -> None:
    log.warning("an NVIDIA GPU is here, but %s", _TORCH)


def cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
