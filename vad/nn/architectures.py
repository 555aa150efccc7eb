"""Architectures as data: a list of layers, from the plainest net to the one we ship.

The first rungs follow Olah, "Conv Nets: A Modular Perspective" (2014): a convolutional layer
A and a dense F; B on A; max-pooling between them; A as a small network of its own.
"""

from __future__ import annotations

from vad.nn.spec import (
    Activation,
    Architecture,
    Bottleneck,
    Conv,
    Layer,
    LogCompress,
    MaxPool,
    Mean,
    Mlpconv,
    Norm,
    Patches,
    Residual,
    dense,
)


def _filterbank(filters: int, taps: int = 160, stride: int = 80) -> tuple[Layer, ...]:
    """Learned filters of 8 to 12.5 ms every 2.5 or 5 ms, their loudest response in each 10 ms.

    More than one position to a frame, since a real filter's response to a tone passes through
    zero. Two cost half of what four do.
    """
    return (
        Conv(1, filters, taps, stride, bias=False, unit_norm=True, init="mel"),
        Activation("abs"),
        MaxPool(160 // stride),
        # White noise of as much added to the input raised nearly every labelled set, meetings most:
        # see docs/training.
        LogCompress(floor_dbfs=-60.0),
    )


def _conv(
    channels_in: int, channels_out: int, kernel: int = 5, stride: int = 1
) -> tuple[Layer, ...]:
    conv = Conv(channels_in, channels_out, kernel, stride, bias=False)
    return (conv, *_activation(channels_out))


def _activation(channels: int) -> tuple[Layer, ...]:
    return (Norm(channels), Activation("relu"))


def _patches(maps_in: int, maps_out: int, bands: int) -> tuple[Layer, ...]:
    patches = Patches(maps_in, maps_out, bands, kernel=5, taps=3, stride=2)
    return (patches, *_activation(maps_out * bands // 2))


def _head(channels: int, frames: int, hidden: int = 64) -> tuple[Layer, ...]:
    return (dense(channels, hidden), Activation("relu"), dense(hidden, frames))


def _trunk(
    filters: int, channels: int, width: int, dilations: tuple[int, ...]
) -> tuple[Layer, ...]:
    """Steps of 20 ms from here on: half the work for two outputs a step."""
    return (
        *_conv(filters, channels, kernel=6, stride=2),
        *(Bottleneck(channels, width, kernel=5, dilation=dilation) for dilation in dilations),
        *_activation(channels),
    )


def _steady(frames: int) -> tuple[Layer, ...]:
    """The mean of the last frames' probabilities: by itself a network hesitates and hurries.

    The development sets gain, noisy ones most, for 10 ms of delay for every two frames more; but
    from some length on, a pause of a tenth of a second is found in one recording of a voice and
    bridged in another of the same. The base network bears five frames; `wide`, its like, has as
    many.
    """
    return (Activation("sigmoid"), Mean(channels=2, length=frames), Activation("logit"))


# They reach back 5 s, over a sentence and its pauses.
_SENTENCE = (1, 2, 4, 8, 16, 32)
_POOL = (MaxPool(2),)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        # Every sample of 200 ms to every neuron; only frames share their weights.
        Architecture(
            "dense",
            (Conv(1, 64, kernel=3200, stride=160), Activation("relu"), *_head(64, 1)),
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
            + (Mlpconv(48, 64, kernel=5),)
            + _POOL
            + (Mlpconv(64, 64, kernel=5),)
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
            + tuple(Residual(64, kernel=5, dilation=dilation) for dilation in _SENTENCE)
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
