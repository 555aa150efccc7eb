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


def _layer(kind: str, **arguments: Any) -> Spec:
    return {"type": kind, **arguments}


def _filterbank(filters: int, taps: int = 160, stride: int = 80) -> tuple[Spec, ...]:
    """Learned filters of 8 to 12.5 ms every 2.5 or 5 ms, their loudest response in each 10 ms.

    More than one position to a frame, since a real filter's response to a tone passes through
    zero. Two cost half of what four do.
    """
    return (
        _layer("conv", channels_in=1, channels_out=filters, kernel=taps, stride=stride)
        | {"bias": False, "unit_norm": True, "init": "mel"},
        _layer("abs"),
        _layer("pool", size=160 // stride),
        # −65 dBFS of white noise added to the input raised every labelled set: see docs/training.
        _layer("log", floor_dbfs=-65.0),
    )


def _conv(
    channels_in: int, channels_out: int, kernel: int = 5, stride: int = 1
) -> tuple[Spec, ...]:
    return (
        _layer("conv", channels_in=channels_in, channels_out=channels_out, kernel=kernel)
        | ({"stride": stride} if stride > 1 else {})
        | {"bias": False},
        *_activation(channels_out),
    )


def _activation(channels: int) -> tuple[Spec, ...]:
    return (_layer("norm", channels=channels), _layer("relu"))


def _patches(maps_in: int, maps_out: int, bands: int) -> tuple[Spec, ...]:
    return (
        _layer("patches", maps_in=maps_in, maps_out=maps_out, bands=bands, kernel=5, taps=3)
        | {"stride": 2},
        *_activation(maps_out * bands // 2),
    )


def _head(channels: int, frames: int, hidden: int = 64) -> tuple[Spec, ...]:
    return (
        _layer("dense", channels_in=channels, channels_out=hidden),
        _layer("relu"),
        _layer("dense", channels_in=hidden, channels_out=frames),
    )


def _trunk(filters: int, channels: int, width: int, dilations: tuple[int, ...]) -> tuple[Spec, ...]:
    """Steps of 20 ms from here on: half the work for two outputs a step."""
    return (
        *_conv(filters, channels, kernel=6, stride=2),
        *(
            _layer("bottleneck", channels=channels, width=width, kernel=5, dilation=dilation)
            for dilation in dilations
        ),
        *_activation(channels),
    )


def _steady(frames: int) -> tuple[Spec, ...]:
    """The mean of the last frames' probabilities: by itself a network hesitates and hurries.

    The development sets gain, noisy ones most, for 10 ms of delay for every two frames more; but
    from some length on, a pause of a tenth of a second is found in one recording of a voice and
    bridged in another of the same. The base network bears five frames; `wide`, its like, has as
    many.
    """
    return (_layer("sigmoid"), _layer("mean", channels=2, length=frames), _layer("logit"))


# They reach back 5 s, over a sentence and its pauses.
_SENTENCE = (1, 2, 4, 8, 16, 32)
_POOL = (_layer("pool", size=2),)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        # Every sample of 200 ms to every neuron; only frames share their weights.
        Architecture(
            "dense",
            (_layer("conv", channels_in=1, channels_out=64, kernel=3200, stride=160),)
            + (_layer("relu"),)
            + _head(64, 1),
            delay=3,
        ),
        Architecture("conv-dense", _filterbank(48) + _head(48, 1), delay=0),
        Architecture("conv-conv-dense", _filterbank(48) + _conv(48, 64) + _head(64, 1), delay=2),
        Architecture(
            "conv-pool-dense",
            _filterbank(48) + _conv(48, 64) + _POOL + _conv(64, 64) + _head(64, 2),
            delay=3,
        ),
        Architecture(
            "mlpconv",
            _filterbank(48)
            + (_layer("mlpconv", channels_in=48, channels_out=64, kernel=5),)
            + _POOL
            + (_layer("mlpconv", channels_in=64, channels_out=64, kernel=5),)
            + _head(64, 2),
            delay=3,
        ),
        Architecture(
            "patches",
            _filterbank(48)
            + _patches(1, 8, 48)
            + _patches(8, 12, 24)
            + _POOL
            + _conv(144, 64)
            + _head(64, 2),
            delay=3,
        ),
        Architecture(
            "tiny",
            _filterbank(48, taps=128)
            + _trunk(48, 64, 32, _SENTENCE[:5])
            + _head(64, 2, hidden=32)
            + _steady(3),
            delay=3,
        ),
        Architecture(
            "small",
            _filterbank(64) + _trunk(64, 96, 32, _SENTENCE) + _head(96, 2) + _steady(3),
            delay=3,
        ),
        Architecture(
            "base",
            _filterbank(48, taps=200, stride=40)
            + _conv(48, 64)
            + _POOL
            + _conv(64, 64)
            + tuple(
                _layer("residual", channels=64, kernel=5, dilation=dilation)
                for dilation in _SENTENCE
            )
            + _activation(64)
            + _head(64, 2)
            + _steady(5),
            delay=3,
        ),
        Architecture(
            "wide",
            _filterbank(48, taps=200, stride=40)
            + _trunk(48, 128, 48, (*_SENTENCE, 1))
            + _head(128, 2)
            + _steady(5),
            delay=3,
        ),
        # Hears 350 ms ahead: no detector for streams, but a teacher of those.
        Architecture(
            "arbiter",
            _filterbank(96, taps=200, stride=40)
            + _trunk(96, 256, 96, _SENTENCE + _SENTENCE)
            + _head(256, 2),
            delay=35,
        ),
    )
}
