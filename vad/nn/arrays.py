"""What `vad.nn.plan` asks of an array library: numpy on a CPU, torch on other devices.

On one core numpy calls its matrix product with half of torch's overhead and gathers rows and
takes logarithms in half the time; results differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = Any  # of the library in use
Host = NDArray[Any]


class Numpy:
    """Arrays of numpy."""

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
        return np.maximum(x, 0, out=out)

    def abs(self, x: Array, out: Array | None = None) -> Array:
        return np.abs(x, out=out)

    def log(self, x: Array) -> Array:
        """In place."""
        return np.log(x, out=x)

    def sigmoid(self, x: Array) -> Array:
        return 0.5 * (np.tanh(0.5 * x) + 1)

    def peak(self, x: Array, axis: int) -> Array:
        return x.max(axis)


class Torch:
    """Tensors of torch on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

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

    def log(self, x: Array) -> Array:
        return x.log_()

    def sigmoid(self, x: Array) -> Array:
        return x.sigmoid()

    def peak(self, x: Array, axis: int) -> Array:
        return x.amax(axis)


Arrays = Numpy | Torch


def arrays_for(device: torch.device) -> Arrays:
    return Numpy() if device.type == "cpu" else Torch(device)
