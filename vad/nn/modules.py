"""Networks as torch modules, for learning: the layers of `vad.nn.spec` with tensors that learn.

Signals are [batch, channels, time]. What a layer does is its operations; only what behaves
otherwise while it learns has a module of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.frames import SAMPLE_RATE, frame_count
from vad.nn import ops, spec
from vad.nn.weights import Model


class Network(nn.Module):
    """Speech logits from raw samples at 16 kHz."""

    def __init__(self, architecture: spec.Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.body = Block(architecture.body)

    @classmethod
    def of(cls, model: Model) -> Network:
        """A trained one, in evaluation mode."""
        network = cls(model.architecture)
        network.load_state_dict({n: torch.from_numpy(v) for n, v in model.weights.items()})
        return network.eval()

    def model(self, name: str = "network") -> Model:
        """A copy of it as it is now, without torch."""
        held = {n: t.detach().cpu().numpy().copy() for n, t in self.state_dict().items()}
        return Model(name, "", self.architecture, held, {})

    def forward(self, audio: Tensor) -> Tensor:
        """Logits [batch, ceil(samples / 160)] of whole signals [batch, samples].

        The look-ahead past the end is filled with zeros.
        """
        samples, shape = audio.shape[1], self.architecture
        padding = shape.steps(samples) * shape.step_samples - samples
        outputs = self.body(functional.pad(audio, (0, padding)).unsqueeze(1))
        # [batch, step_frames, steps] → [batch, frames in time order]
        in_order: Tensor = outputs.transpose(1, 2).flatten(1)
        return in_order[:, shape.delay : shape.delay + frame_count(samples, SAMPLE_RATE)]


class Layer(nn.Module):
    """A layer that runs its own operations upon its tensors as they are now."""

    def __init__(self, layer: spec.Layer) -> None:
        super().__init__()
        self.layer = layer
        for name, parameter in layer.parameters().items():
            self.register_parameter(name, nn.Parameter(_started(parameter)))
        for name, values in layer.constants().items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return run(self.layer.ops({**self._parameters, **self._buffers}), x)


class Block(nn.Module):
    """Layers one after another."""

    def __init__(self, block: spec.Block) -> None:
        super().__init__()
        self.residual = block.residual
        self.layers = nn.ModuleList(module(layer) for layer in block.layers)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + y if self.residual else y


class Norm(nn.Module):
    """Batch normalisation, by the batch's own statistics while it learns."""

    def __init__(self, layer: spec.Norm) -> None:
        super().__init__()
        # Slow statistics: the running mean of 100 batches is what the weights' EMA goes with.
        self.norm = nn.BatchNorm1d(layer.channels, layer.EPS, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x)
        return normalised


class Mean(Layer):
    """Lets through what comes while it learns."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else super().forward(x)


class Dropout(nn.Module):
    """Zeroes channels while it learns."""

    def __init__(self, layer: spec.Dropout) -> None:
        super().__init__()
        self.p = layer.p

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout1d(x, self.p, self.training)


_OF_THEIR_OWN: dict[type[spec.Layer], Callable[[Any], nn.Module]] = {
    spec.Norm: Norm,
    spec.Mean: Mean,
    spec.Dropout: Dropout,
}


def module(layer: spec.Layer) -> nn.Module:
    """The module of a layer."""
    if isinstance(layer, spec.Block):
        return Block(layer)
    return _OF_THEIR_OWN.get(type(layer), Layer)(layer)


def run(operations: Iterable[ops.Op], x: Tensor) -> Tensor:
    """What operations make of a whole signal [batch, channels, time], preceded by zeros."""
    for op in operations:
        match op:
            case ops.Convolution():
                x = _convolved(op, x)
            case ops.Pool():
                x = functional.max_pool1d(x, op.stride)
            case ops.Affine():
                x = x * (op.scale if isinstance(op.scale, float) else op.scale[:, None])
                x = x if op.offset is None else x + op.offset[:, None]
            case ops.Unary():
                x = _UNARY[op.function](x)
            case ops.Add():
                x = x + run(op.branch, x)
    return x


def _convolved(op: ops.Convolution, x: Tensor) -> Tensor:
    # Raw samples span more than the 8 bits of bfloat16: a whisper over a rumble would drown.
    half = torch.is_autocast_enabled(x.device.type) and op.channels_in > 1
    with torch.autocast(x.device.type, enabled=half):
        x = functional.pad(x, (op.context, 0))
        return functional.conv1d(x, op.weight, op.bias, op.stride, 0, op.dilation, op.groups)


def _sigmoid(x: Tensor) -> Tensor:
    # In bfloat16 nothing lies between 0.996 and 1.
    return x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "relu": functional.relu,
    "log1p": torch.log1p,
    "sigmoid": _sigmoid,
    "logit": lambda x: x.logit(ops.LOGIT_EPS),
}


def _started(parameter: spec.Parameter) -> Tensor:
    values = torch.zeros(parameter.shape)
    if parameter.init == "mel":
        values[:, 0] = mel_cosines(parameter.shape[0], parameter.shape[2])
    elif parameter.init == "he":
        nn.init.kaiming_normal_(values, nonlinearity="relu")
    return values.mul_(parameter.gain)


def mel_cosines(filters: int, taps: int) -> Tensor:
    """Hann-windowed cosines with centres from 80 Hz to 7.6 kHz on a mel scale, [filters, taps].

    The windows shorten with frequency, as auditory filters do, down to a quarter.
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (80.0, 7600.0))
    mel = torch.linspace(low, high, filters)
    centres = 700 * (10 ** (mel / 2595) - 1)
    time = torch.arange(taps) - (taps - 1) / 2
    rows = []
    for centre in centres:
        width = taps * max(0.25, min(1.0, 600 / float(centre)))
        window = torch.cos(math.pi * time / width).clamp_min(0) ** 2
        window[time.abs() > width / 2] = 0
        rows.append(window * torch.cos(2 * math.pi * centre * time / SAMPLE_RATE))
    stacked = torch.stack(rows)
    norms: Tensor = stacked.norm(dim=1, keepdim=True)
    return stacked / norms
