"""Each layer's two forms agree, and the text's claims about convolution and pooling hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vad.nn.blocks import Bottleneck, Mlpconv, Residual, Sequence, tensors
from vad.nn.filters import mel_cosines
from vad.nn.layers import (
    Abs,
    Conv,
    Dense,
    Layer,
    LogCompress,
    Logit,
    Mean,
    Norm,
    Patches,
    Pool,
    Relu,
    Sigmoid,
)


def _layers() -> list[tuple[str, Layer, int]]:
    torch.manual_seed(0)
    return [
        ("conv", Conv(3, 4, 5), 3),
        ("strided", Conv(3, 4, 7, stride=2), 3),
        ("dilated", Conv(3, 4, 3, dilation=4), 3),
        ("depthwise", Conv(4, 4, 5, dilation=2, groups=4), 4),
        ("grouped", Conv(4, 6, 3, groups=2), 4),
        ("strided depthwise", Conv(4, 4, 5, stride=2, dilation=2, groups=4), 4),
        ("unit norm", Conv(3, 4, 5, unit_norm=True, bias=False), 3),
        ("patches", Patches(2, 3, bands=5, kernel=3, taps=4, stride=2), 10),
        ("pool", Pool(3), 3),
        ("abs", Abs(), 3),
        ("relu", Relu(), 3),
        ("log", LogCompress(-65.0), 3),
        ("norm", Norm(3), 3),
        ("sigmoid", Sigmoid(), 3),
        ("logit", Logit(), 3),
        ("mean", Mean(2, 7), 2),
        ("mean of whole steps", Mean(3, 9), 3),
        ("mean of less than a step", Mean(3, 2), 3),
        ("dense", Dense(3, 2), 3),
        ("mlpconv", Mlpconv(3, 4, 5, stride=2), 3),
        ("residual", Residual(3, 5, dilation=2), 3),
        ("residual of groups", Residual(4, 3, groups=2), 4),
        ("bottleneck", Bottleneck(3, 2, 5, dilation=3), 3),
        ("nested", Sequence(Conv(3, 4, 4, stride=2), Residual(4, 3), Pool(2), Dense(4, 2)), 3),
    ]


@pytest.mark.parametrize("index", range(len(_layers())), ids=[name for name, _, _ in _layers()])
@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(st.integers(0, 7), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_steps_equal_forward(index: int, pieces: list[int], seed: int) -> None:
    _, layer, channels = _layers()[index]
    layer.eval()
    total = sum(pieces) * layer.stride
    x = torch.randn(2, channels, total, generator=torch.Generator().manual_seed(seed))
    state = layer.initial_state(2)
    assert len(state) == tensors(layer)
    outputs, at = [], 0
    with torch.no_grad():
        if not total:
            return
        for piece in pieces:
            if piece:
                end = at + piece * layer.stride
                y, state = layer.step(x[:, :, at:end], state)
                outputs.append(y)
                at = end
        expected = layer(x)
    torch.testing.assert_close(torch.cat(outputs, 2), expected, atol=1e-5, rtol=1e-5)


def test_convolution_is_tied_neurons() -> None:
    """y_n = W · (x_{n−k+1} … x_n) + b, the same W at every n."""
    torch.manual_seed(1)
    conv, x = Conv(2, 3, 4), torch.randn(1, 2, 9)
    padded = torch.nn.functional.pad(x, (3, 0))
    assert conv.bias is not None
    for n in range(9):
        window = padded[0, :, n : n + 4]
        expected = (conv.weight * window).sum(dim=(1, 2)) + conv.bias
        torch.testing.assert_close(conv(x)[0, :, n], expected)


def test_groups_see_only_themselves() -> None:
    """A grouped convolution is several narrow ones side by side."""
    torch.manual_seed(6)
    conv, x = Conv(4, 6, 3, groups=2), torch.randn(1, 4, 9)
    assert conv.bias is not None
    padded = torch.nn.functional.pad(x, (2, 0))
    for n in range(9):
        for k in range(6):
            group = k // 3
            window = padded[0, 2 * group : 2 * group + 2, n : n + 3]
            expected = (conv.weight[k] * window).sum() + conv.bias[k]
            torch.testing.assert_close(conv(x)[0, k, n], expected)
    assert conv.macs() == 6 * 2 * 3


@pytest.mark.parametrize(("bands", "stride"), [(5, 2), (6, 2), (6, 3), (4, 1)])
def test_patches_are_neurons_tied_over_time_and_pitch(bands: int, stride: int) -> None:
    torch.manual_seed(7)
    layer = Patches(2, 3, bands=bands, kernel=3, taps=2, stride=stride)
    x = torch.randn(1, 2 * bands, 6)
    y = layer(x)
    bands_out = len(range(0, bands, stride))
    assert y.shape == (1, 3 * bands_out, 6)
    around = torch.nn.functional.pad(x.view(2, bands, 6), (1, 0, 1, 1))  # a band on both sides
    for m in range(3):
        for b in range(bands_out):
            for n in range(6):
                patch = around[:, b * stride : b * stride + 3, n : n + 2]
                expected = (layer.weight[m] * patch).sum() + layer.bias[m]
                torch.testing.assert_close(y[0, m * bands_out + b, n], expected)
    assert layer.macs() == layer.weight.numel() * bands_out


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 5])
@pytest.mark.parametrize("bands", [4, 5, 6])
def test_patches_as_a_plain_convolution(bands: int, kernel: int, stride: int) -> None:
    torch.manual_seed(9)
    layer = Patches(2, 3, bands=bands, kernel=kernel, taps=4, stride=stride)
    torch.nn.init.normal_(layer.bias)
    conv, x = layer.as_conv(), torch.randn(2, 2 * bands, 9)
    assert (conv.channels_in, conv.context) == (layer.channels_in, layer.context)
    torch.testing.assert_close(conv.compute(x), layer.compute(x))


def test_bottleneck_starts_as_almost_nothing_and_remembers_by_its_width() -> None:
    torch.manual_seed(8)
    layer, x = Bottleneck(32, 4, 5, dilation=2).eval(), torch.randn(2, 32, 50)
    assert (layer(x) - x).std() < 0.6 * x.std()
    assert [tuple(state.shape) for state in layer.initial_state(2)] == [(2, 4, 8)]
    assert layer.macs() == 32 * 4 + 4 * 4 * 5 + (4 * 32)
    assert layer.receptive_field() == 9


def test_future_does_not_change_the_past() -> None:
    torch.manual_seed(2)
    conv, x = Conv(1, 2, 5, stride=2), torch.randn(1, 1, 20)
    changed = x.clone()
    changed[:, :, 10:] += 1
    torch.testing.assert_close(conv(x)[:, :, :5], conv(changed)[:, :, :5])
    assert not torch.allclose(conv(x)[:, :, 5:], conv(changed)[:, :, 5:])


def test_pooling_does_not_care_where_in_a_block() -> None:
    x = torch.zeros(1, 1, 8)
    x[0, 0, 4] = 1
    for shift in range(4):
        moved = torch.roll(x, shift, dims=2)
        torch.testing.assert_close(Pool(4)(moved), Pool(4)(x))
    assert not torch.equal(Pool(4)(torch.roll(x, 4, dims=2)), Pool(4)(x))


def test_receptive_field_grows_with_depth() -> None:
    """Measured: how far back an output still changes with its input."""
    torch.manual_seed(3)
    fields = []
    for depth in (1, 2, 3):
        net = Sequence(*(Conv(1, 1, 3, stride=2) for _ in range(depth)))
        for parameter in net.parameters():
            parameter.data = parameter.data.abs() + 0.1
        x = torch.zeros(1, 1, 64, requires_grad=True)
        net(x)[0, 0, -1].backward()
        assert x.grad is not None
        reach = 64 - int(x.grad[0, 0].nonzero()[0])
        assert reach == net.receptive_field()
        fields.append(reach)
    assert fields == sorted(set(fields))


def test_receptive_field_of_nested_layers() -> None:
    torch.manual_seed(4)
    net = Sequence(Conv(1, 2, 6, stride=2), Residual(2, 3, dilation=2), Pool(2), Conv(2, 1, 2))
    net.eval()
    for parameter in net.parameters():
        parameter.data = parameter.data.abs() + 0.1
    x = torch.rand(1, 1, 64, requires_grad=True)
    net(x)[0, 0, -1].backward()
    assert x.grad is not None
    reach = 64 - int(x.grad[0, 0].nonzero()[0])
    # Max-pooling passes the gradient of one input of each block only: at most that far.
    assert net.receptive_field() - 2 * net.stride < reach <= net.receptive_field()


def test_a_stride_that_skips_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="skips"):
        Conv(1, 1, 3, stride=4)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        Conv(4, 6, 3, groups=3)


def test_silence_stays_silent_and_quiet_is_not_heard() -> None:
    log = LogCompress(-65.0)
    quiet, loud = (torch.full((1, 1, 1), 10 ** (level / 20)) for level in (-95.0, -25.0))
    assert float(log(torch.zeros(1, 1, 1))) == 0
    assert float(log(quiet)) < 0.01
    assert float(log(loud)) > 1


def test_unit_norm_filters_have_unit_norm() -> None:
    conv = Conv(1, 5, 16, unit_norm=True)
    conv.weight.data *= 7
    torch.testing.assert_close(conv.filters().norm(dim=(1, 2)), torch.ones(5))


def test_mel_cosines_are_ordered_by_frequency() -> None:
    spectra = torch.fft.rfft(mel_cosines(24, 200), 2048).abs()
    peaks = spectra.argmax(dim=1)
    assert (peaks.diff() > 0).all()
    assert peaks[0] * 16_000 / 2048 < 200
    assert peaks[-1] * 16_000 / 2048 > 7000


@pytest.mark.parametrize(("channels", "length"), [(1, 3), (2, 7), (2, 4), (3, 2), (3, 9), (2, 1)])
def test_mean_is_of_the_last_frames_in_order_of_time(channels: int, length: int) -> None:
    mean = Mean(channels, length)
    x = torch.rand(2, channels, 11, generator=torch.Generator().manual_seed(1))
    frames = torch.cat([torch.zeros(2, length - 1), x.transpose(1, 2).flatten(1)], 1)
    wanted = frames.unfold(1, length, 1).mean(2)
    assert torch.equal(mean(x), x)  # while training
    mean.eval()
    torch.testing.assert_close(mean(x).transpose(1, 2).flatten(1), wanted)
    torch.testing.assert_close(mean.as_conv()(x), mean(x))


def test_logits_and_probabilities_are_of_each_other() -> None:
    x = torch.linspace(-30, 30, 61)[None, None]
    torch.testing.assert_close(
        Logit()(Sigmoid()(x)), x.clamp(-13.81551, 13.81551), atol=0.1, rtol=0
    )
    assert Sigmoid()(x.bfloat16()).dtype == torch.float32
