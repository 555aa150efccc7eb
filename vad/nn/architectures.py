"""Architectures as data: a list of layers, from the plainest net to the one we ship.

The first rungs follow Olah, "Conv Nets: A Modular Perspective" (2014): a convolutional layer
A and a dense F; B on A; max-pooling between them; A as a small network of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A network's shape.

    Attributes:
        name: how it is called.
        layers: specs for `vad.nn.blocks.build`, from samples at 16 kHz to logits.
        delay: frames of 10 ms by which outputs lag behind their frame, so that the net may
            hear what follows it.
    """

    name: str
    layers: tuple[Spec, ...]
    delay: int

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "layers": list(self.layers), "delay": self.delay}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Architecture:
        return cls(str(data["name"]), tuple(data["layers"]), int(data["delay"]))


def _filterbank(filters: int) -> tuple[Spec, ...]:
    """Learned filters of 12.5 ms every 2.5 ms, their loudest response in each 10 ms.

    Four positions to a frame, since a real filter's response to a tone passes through zero.
    """
    return (
        _layer("conv", channels_in=1, channels_out=filters, kernel=200, stride=40)
        | {"bias": False, "unit_norm": True, "init": "mel"},
        _layer("abs"),
        _layer("pool", size=4),
        # −65 dBFS of white noise added to the input raised every labelled set: see docs/training.
        _layer("log", floor_dbfs=-65.0),
    )


def _layer(kind: str, **arguments: Any) -> Spec:
    return {"type": kind, **arguments}


def _conv(channels_in: int, channels_out: int, kernel: int = 5) -> tuple[Spec, ...]:
    return (
        _layer("conv", channels_in=channels_in, channels_out=channels_out, kernel=kernel)
        | {"bias": False},
        _layer("norm", channels=channels_out),
        _layer("relu"),
    )


def _head(channels: int, frames: int) -> tuple[Spec, ...]:
    return (
        _layer("dense", channels_in=channels, channels_out=64),
        _layer("relu"),
        _layer("dense", channels_in=64, channels_out=frames),
    )


# Steps of 20 ms from here on: half the work for two outputs a step. The dilations reach back
# 5 s, over a sentence and its pauses.
_TRUNK = tuple(
    _layer("residual", channels=64, kernel=5, dilation=dilation)
    for dilation in (1, 2, 4, 8, 16, 32)
)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("conv-dense", _filterbank(48) + _head(48, 1), delay=0),
        Architecture("conv-conv-dense", _filterbank(48) + _conv(48, 64) + _head(64, 1), delay=2),
        Architecture(
            "conv-pool-dense",
            _filterbank(48)
            + _conv(48, 64)
            + (_layer("pool", size=2),)
            + _conv(64, 64)
            + _head(64, 2),
            delay=3,
        ),
        Architecture(
            "mlpconv",
            _filterbank(48)
            + (_layer("mlpconv", channels_in=48, channels_out=64, kernel=5),)
            + (_layer("pool", size=2),)
            + (_layer("mlpconv", channels_in=64, channels_out=64, kernel=5),)
            + _head(64, 2),
            delay=3,
        ),
        Architecture(
            "base",
            _filterbank(48)
            + _conv(48, 64)
            + (_layer("pool", size=2),)
            + _conv(64, 64)
            + _TRUNK
            + (_layer("norm", channels=64), _layer("relu"))
            + _head(64, 2),
            delay=3,
        ),
    )
}
