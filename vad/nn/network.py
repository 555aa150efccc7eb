"""A whole network: samples in, one logit every 10 ms out, in one piece or step by step.

samples  0      320     640     960             steps of two frames (20 ms)
output       [0 1]   [2 3]   [4 5]   …          each step ends with these
frame     [-3 -2] [-1 0]  [1 2]   …             delay 3: what they speak of
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.frames import FRAMES_PER_SECOND, HOP_MS, HOP_SAMPLES, frame_count
from vad.nn.architectures import Architecture
from vad.nn.blocks import Sequence, build
from vad.nn.layers import Conv, Layer, Norm, State


class Network(nn.Module):
    """Speech logits from raw samples at 16 kHz.

    Attributes:
        step_samples: samples of one step; pieces given to `step` are multiples of it.
        step_frames: frames that one step yields.
        delay: frames by which outputs lag behind the frame they speak of.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.body = Sequence(*(build(spec) for spec in architecture.layers))
        self.step_samples = self.body.stride
        self.step_frames = self.step_samples // HOP_SAMPLES
        self.delay = architecture.delay
        if self.step_frames < 1 or self.step_frames * HOP_SAMPLES != self.step_samples:
            raise ValueError(f"a stride of {self.step_samples} is no multiple of {HOP_SAMPLES}")
        if self.delay < 0:
            raise ValueError(f"a delay of {self.delay} frames would be before they are heard")

    @property
    def lookahead_ms(self) -> int:
        """How far past its own end a frame's probability listens, at most."""
        return (self.delay + self.step_frames - 1) * HOP_MS

    @property
    def latency_ms(self) -> int:
        """Longest time from a frame's end to its probability: all of it is look-ahead."""
        return self.lookahead_ms

    def known_at_ms(self, frame: int) -> int:
        """How much audio must have arrived before a frame's probability comes out."""
        steps = -(-(frame + 1 + self.delay) // self.step_frames)
        return steps * self.step_frames * HOP_MS

    @property
    def receptive_field(self) -> int:
        """Samples that one step's outputs depend on."""
        return self.body.receptive_field()

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())

    @property
    def macs_per_second(self) -> int:
        """Multiply-adds for one second of audio."""
        return self.body.macs() * FRAMES_PER_SECOND // self.step_frames

    def steps(self, samples: int) -> int:
        """Steps after which every frame of `samples` has its output."""
        frames = frame_count(samples, HOP_SAMPLES * FRAMES_PER_SECOND)
        return -(-(frames + self.delay) // self.step_frames) if frames else 0

    def forward(self, audio: Tensor) -> Tensor:
        """Logits [batch, ceil(samples / 160)] of whole signals [batch, samples].

        The look-ahead past the end is filled with zeros.
        """
        samples = audio.shape[1]
        frames = frame_count(samples, HOP_SAMPLES * FRAMES_PER_SECOND)
        padding = self.steps(samples) * self.step_samples - samples
        outputs = self._frames(self.body(functional.pad(audio, (0, padding)).unsqueeze(1)))
        return outputs[:, self.delay : self.delay + frames]

    def step(self, audio: Tensor, state: State) -> tuple[Tensor, State]:
        """Outputs [batch, frames] for the next samples [batch, n · step_samples], and the state.

        The first `delay` outputs of a stream speak of time before its start.
        """
        outputs, state = self.body.step(audio.unsqueeze(1), state)
        return self._frames(outputs), state

    def initial_state(self, batch: int) -> State:
        """State tensors before the first sample, [batch, channels, context] each."""
        return self.body.initial_state(batch)

    def first_filters(self) -> Tensor:
        """The learned filterbank, [filters, taps]."""
        for layer in self.body.layers:
            if isinstance(layer, Conv):
                return layer.filters()[:, 0].detach()
        raise ValueError("this architecture has no convolution")

    def _frames(self, outputs: Tensor) -> Tensor:
        # [batch, step_frames, steps] → [batch, frames in time order]
        return outputs.transpose(1, 2).flatten(1)


def fold_norms(network: Network) -> Network:
    """A copy for inference: each batch normalisation folded into the convolution before it.

    Only a norm that directly follows a convolution is folded; the filters of a unit-norm
    layer are fixed at their normalised values.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, Conv) and module.unit_norm:
            module.weight.data = module.filters().detach().clone()
            module.unit_norm = False
        if isinstance(module, Sequence):
            _fold(module)
    return folded


def _fold(sequence: Sequence) -> None:
    kept: list[Layer] = []
    for layer in sequence.layers:
        assert isinstance(layer, Layer)
        before = kept[-1] if kept else None
        if isinstance(layer, Norm) and isinstance(before, Conv):
            norm = layer.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            offset = norm.bias - norm.running_mean * gain
            bias = before.bias if before.bias is not None else torch.zeros_like(offset)
            before.weight.data = (before.weight * gain[:, None, None]).detach()
            before.bias = nn.Parameter((bias * gain + offset).detach(), requires_grad=False)
        else:
            kept.append(layer)
    sequence.layers = nn.ModuleList(kept)
