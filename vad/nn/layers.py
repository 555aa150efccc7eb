"""The modules that convad is made of, each in two forms that give the same numbers.

`forward(x)` takes a whole signal; `step(x, state)` takes the next piece of one and what the
layer must remember of its past. Both are one computation over `past + x`:

    forward   [0 0 0 0 | x0 x1 x2 x3 x4 x5 …]      the past of a signal's start is zeros
    step      [past    | next piece        ] → the last `context` inputs are the new past

All tensors are [batch, channels, time]. A layer with `stride` s turns s inputs into one
output, so the pieces given to `step` are multiples of the network's total stride.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.nn.filters import mel_cosines

State = list[Tensor]


class Layer(nn.Module):
    """Base: keeps the last `context` inputs of `channels_in` channels, or nothing.

    Attributes:
        stride: inputs per output.
        context: past inputs that an output depends on beside its own `stride`.
        channels_in: of the past; 0 where there is none.
    """

    stride: int = 1
    context: int = 0
    channels_in: int = 0

    def compute(self, x: Tensor) -> Tensor:
        """Outputs for `x`, [batch, channels, context + time], its past in front."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Outputs for a whole signal [batch, channels, time], preceded by zeros."""
        return self.compute(functional.pad(x, (self.context, 0)) if self.context else x)

    def initial_state(self, batch: int) -> State:
        """The past before a signal's start: zeros."""
        if not self.context:
            return []
        like = next(self.parameters())
        return [like.new_zeros(batch, self.channels_in, self.context)]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Outputs for the next piece of a signal, and the state after it."""
        if not self.context:
            return self.compute(x), []
        joined = torch.cat([state[0], x], dim=2)
        return self.compute(joined), [joined[:, :, joined.shape[2] - self.context :]]

    def macs(self) -> int:
        """Multiply-adds per output."""
        return 0


class Conv(Layer):
    """Convolutional layer: the same neurons at every time, y_n = W · (x_n …) + b.

    Causal: output n sees inputs up to n·stride + stride − 1.

        kernel 5, stride 1, dilation 1     past [· · · ·] x0        → y0
        kernel 5, stride 2                 past [· · ·] x0 x1       → y0

    Args:
        groups: channels are divided into so many parts that see only themselves; as many as
            there are channels make a depthwise convolution.
        unit_norm: filters are divided by their L2 norm, so that the response to white noise
            has the noise's own level and a floor in dBFS means something.
        init: `mel` starts the filters as windowed cosines on a mel scale (first layer only).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        unit_norm: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.channels_in = stride, dilation, channels_in
        self.groups = groups
        self.context = (kernel - 1) * dilation + 1 - stride
        if self.context < 0:
            raise ValueError(f"stride {stride} skips inputs of a kernel of {kernel}")
        if channels_in % groups or channels_out % groups:
            raise ValueError(f"{groups} groups do not divide {channels_in} and {channels_out}")
        self.unit_norm = unit_norm
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        if init == "mel":
            self.weight.data[:, 0] = mel_cosines(channels_out, kernel)
        else:
            nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def filters(self) -> Tensor:
        """The weights in use, [channels_out, channels_in / groups, kernel]."""
        if not self.unit_norm:
            return self.weight
        norms: Tensor = self.weight.norm(dim=(1, 2), keepdim=True)
        return self.weight / norms.clamp_min(1e-8)

    def compute(self, x: Tensor) -> Tensor:
        # Raw samples span more than the 8 bits of bfloat16: a whisper over a rumble would drown.
        half = torch.is_autocast_enabled(x.device.type) and self.channels_in > 1
        with torch.autocast(x.device.type, enabled=half):
            return functional.conv1d(
                x, self.filters(), self.bias, self.stride, 0, self.dilation, self.groups
            )

    def macs(self) -> int:
        return self.weight.numel()


class Patches(Layer):
    """2-D convolution: the same neurons at every time and every pitch.

    Channels are maps × bands, the bands of a filterbank in order of pitch; each output looks at
    a patch of `kernel` bands by `taps` times.

        bands 5, kernel 3, stride 2     [0 0 1 2 3 4 0]  → patches around 0, 2, 4
    """

    def __init__(
        self, maps_in: int, maps_out: int, bands: int, kernel: int, taps: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.channels_in, self.context, self.maps_in = maps_in * bands, taps - 1, maps_in
        self.bands_out, self.bands_stride = -(-bands // stride), stride
        self.weight = nn.Parameter(torch.empty(maps_out, maps_in, kernel, taps))
        self.bias = nn.Parameter(torch.zeros(maps_out))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def compute(self, x: Tensor) -> Tensor:
        maps = x.reshape(len(x), self.maps_in, -1, x.shape[2])
        beside = self.weight.shape[2] // 2
        found = functional.conv2d(maps, self.weight, self.bias, (self.bands_stride, 1), (beside, 0))
        return found[:, :, : self.bands_out].flatten(1, 2)

    def as_conv(self) -> Conv:
        """The same as a plain convolution, whose weights repeat the patch at every pitch."""
        maps, _, kernel, taps = self.weight.shape
        bands = self.channels_in // self.maps_in
        conv = Conv(self.channels_in, maps * self.bands_out, taps)
        spread = self.weight.new_zeros(maps, self.bands_out, self.maps_in, bands, taps)
        for out in range(self.bands_out):
            for k in range(kernel):
                band = out * self.bands_stride + k - kernel // 2
                if 0 <= band < bands:
                    spread[:, out, :, band] = self.weight.detach()[:, :, k]
        conv.weight.data = spread.flatten(2, 3).flatten(0, 1)
        conv.bias = nn.Parameter(self.bias.detach().repeat_interleave(self.bands_out))
        return conv

    def macs(self) -> int:
        return self.weight.numel() * self.bands_out


class Pool(Layer):
    """Max-pooling: whether a feature was there in a block of `size`, not where."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.stride = size

    def compute(self, x: Tensor) -> Tensor:
        return functional.max_pool1d(x, self.stride)


class Abs(Layer):
    """Full-wave rectifier."""

    def compute(self, x: Tensor) -> Tensor:
        return x.abs()


class Relu(Layer):
    """Half-wave rectifier."""

    def compute(self, x: Tensor) -> Tensor:
        return functional.relu(x)


class LogCompress(Layer):
    """log(1 + |x| / floor) / scale: loudness above a floor; silence is exactly zero.

    Args:
        floor_dbfs: sound far below is not heard at all. People don't label what they can't
            hear, so a network that hears it learns to contradict them.
        scale: brings the usual 40 dB above the floor to about one.
    """

    def __init__(self, floor_dbfs: float, scale: float = 4.0) -> None:
        super().__init__()
        self.gain = 10 ** (-floor_dbfs / 20)
        self.scale = scale

    def compute(self, x: Tensor) -> Tensor:
        return torch.log1p(x.abs() * self.gain) / self.scale


class Norm(Layer):
    """Batch normalisation: per channel, over batch and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Slow statistics: the running mean of 100 batches is what the weights' EMA goes with.
        self.norm = nn.BatchNorm1d(channels, momentum=0.01)

    def compute(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x)
        return normalised


class Dense(Conv):
    """Fully connected layer F over the channels of one time step."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel=1)


class Sigmoid(Layer):
    """Probabilities of logits."""

    def compute(self, x: Tensor) -> Tensor:
        # In bfloat16 nothing lies between 0.996 and 1.
        return x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()


class Logit(Layer):
    """Logits of probabilities, within ±13.8."""

    EPS = 1e-6

    def compute(self, x: Tensor) -> Tensor:
        return x.logit(self.EPS)


class Mean(Layer):
    """The mean of each frame and the `length` − 1 before it; a step's frames are its channels.

        two frames a step, length 3     [a b] [c d] [e f]  → [(c + d + e) / 3, (d + e + f) / 3]

    While training it lets through what comes: each frame is to learn from its own label.
    """

    weight: Tensor

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.channels_in, self.context = channels, -(-(length - 1) // channels)
        times = torch.arange((self.context + 1) * channels).view(-1, channels).t()
        age = times[:, -1, None, None] - times  # [out, in, kernel], in frames
        among = (age >= 0) & (age < length)
        self.register_buffer("weight", among / length, persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        if self.training:
            return x[:, :, self.context :]
        return functional.conv1d(x, self.weight.to(x.dtype))

    def initial_state(self, batch: int) -> State:
        return [self.weight.new_zeros(batch, self.channels_in, self.context)]

    def as_conv(self) -> Conv:
        """The same as a convolution."""
        conv = Conv(self.channels_in, self.channels_in, self.context + 1, bias=False)
        conv.weight.data = self.weight.clone()
        return conv

    def macs(self) -> int:
        return self.weight.numel()


class Dropout(Layer):
    """Zeroes whole channels at random while training (Srivastava et al., 2014)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def compute(self, x: Tensor) -> Tensor:
        return functional.dropout1d(x, self.p, self.training)
