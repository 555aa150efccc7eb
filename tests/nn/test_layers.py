"""Each layer does what it says, and the text's claims about convolution and pooling hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vad.nn import spec
from vad.nn.modules import mel_cosines, module
from vad.nn.spec import Activation, Conv, LogCompress, MaxPool, Mean, Patches, dense


def made(layer: spec.Layer, seed: int = 0) -> nn.Module:
    """A layer whose biases are something, too."""
    torch.manual_seed(seed)
    found = module(layer)
    for name, parameter in found.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return found.eval().requires_grad_(False)


def before(x: Tensor, times: int) -> Tensor:
    return nn.functional.pad(x, (times, 0))


def test_convolution_is_tied_neurons() -> None:
    """y_n = W · (x_{n−k+1} … x_n) + b, the same W at every n."""
    conv, x = made(Conv(2, 3, 4)), torch.randn(1, 2, 9)
    for n in range(9):
        window = before(x, 3)[0, :, n : n + 4]
        expected = (conv.weight * window).sum(dim=(1, 2)) + conv.bias
        torch.testing.assert_close(conv(x)[0, :, n], expected)


def test_a_dilated_stride_looks_at_every_third_input() -> None:
    conv, x = made(Conv(2, 3, 4, stride=2, dilation=3)), torch.randn(1, 2, 12)
    assert conv(x).shape == (1, 3, 6)
    for n in range(6):
        window = before(x, 8)[0, :, 2 * n : 2 * n + 10 : 3]
        expected = (conv.weight * window).sum(dim=(1, 2)) + conv.bias
        torch.testing.assert_close(conv(x)[0, :, n], expected)


def test_groups_see_only_themselves() -> None:
    """A grouped convolution is several narrow ones side by side."""
    conv, x = made(Conv(4, 6, 3, groups=2)), torch.randn(1, 4, 9)
    for n in range(9):
        for k in range(6):
            group = k // 3
            window = before(x, 2)[0, 2 * group : 2 * group + 2, n : n + 3]
            expected = (conv.weight[k] * window).sum() + conv.bias[k]
            torch.testing.assert_close(conv(x)[0, k, n], expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("bands", [4, 5, 6])
def test_patches_are_neurons_tied_over_time_and_pitch(bands: int, kernel: int, stride: int) -> None:
    layer = made(Patches(2, 3, bands=bands, kernel=kernel, taps=2, stride=stride))
    x = torch.randn(1, 2 * bands, 6)
    y, bands_out, beside = layer(x), len(range(0, bands, stride)), kernel // 2
    assert y.shape == (1, 3 * bands_out, 6)
    around = nn.functional.pad(x.view(2, bands, 6), (1, 0, beside, kernel))
    for m in range(3):
        for b in range(bands_out):
            for n in range(6):
                patch = around[:, b * stride : b * stride + kernel, n : n + 2]
                expected = (layer.weight[m] * patch).sum() + layer.bias[m]
                torch.testing.assert_close(y[0, m * bands_out + b, n], expected)


def test_patches_learn_as_a_convolution_in_two_dimensions() -> None:
    layer, x = module(Patches(2, 3, bands=5, kernel=3, taps=2)), torch.randn(2, 10, 7)
    maps = before(x, 1).view(2, 2, 5, 8)
    plain = nn.functional.conv2d(maps, layer.weight, layer.bias, padding=(1, 0)).flatten(1, 2)
    torch.testing.assert_close(layer(x), plain)
    own, others = (torch.autograd.grad(y.square().sum(), layer.weight) for y in (layer(x), plain))
    torch.testing.assert_close(own, others)


@pytest.mark.parametrize("layer", [spec.Residual(32, 5, dilation=2), spec.Bottleneck(32, 4, 5)])
def test_residual_layers_start_as_almost_nothing(layer: spec.Layer) -> None:
    torch.manual_seed(8)
    x = torch.randn(2, 32, 50)
    found = module(layer).eval()(x)
    assert 0 < (found - x).std() < 0.6 * x.std()


def test_future_does_not_change_the_past() -> None:
    conv, x = made(Conv(1, 2, 5, stride=2)), torch.randn(1, 1, 20)
    changed = x.clone()
    changed[:, :, 10:] += 1
    torch.testing.assert_close(conv(x)[:, :, :5], conv(changed)[:, :, :5])
    assert not torch.allclose(conv(x)[:, :, 5:], conv(changed)[:, :, 5:])


def test_pooling_does_not_care_where_in_a_block() -> None:
    pool, x = module(MaxPool(4)), torch.zeros(1, 1, 8)
    x[0, 0, 4] = 1
    for shift in range(4):
        torch.testing.assert_close(pool(torch.roll(x, shift, dims=2)), pool(x))
    assert not torch.equal(pool(torch.roll(x, 4, dims=2)), pool(x))


def test_a_stride_that_skips_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="skips"):
        Conv(1, 1, 3, stride=4)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        Conv(4, 6, 3, groups=3)


def test_silence_stays_silent_and_quiet_is_not_heard() -> None:
    log = module(LogCompress(-65.0))
    quiet, loud = (torch.full((1, 1, 1), 10 ** (level / 20)) for level in (-95.0, -25.0))
    assert float(log(torch.zeros(1, 1, 1))) == 0
    assert float(log(quiet)) < 0.01
    assert float(log(loud)) > 1
    torch.testing.assert_close(log(-loud), log(loud))


def test_unit_norm_filters_answer_white_noise_at_its_own_level() -> None:
    conv = made(Conv(1, 5, 16, unit_norm=True, bias=False))
    conv.weight *= 7
    noise = torch.randn(1, 1, 100_000)
    torch.testing.assert_close(conv(noise).std(), noise.std(), atol=0.02, rtol=0)


def test_mel_cosines_are_ordered_by_frequency() -> None:
    spectra = torch.fft.rfft(mel_cosines(24, 200), 2048).abs()
    peaks = spectra.argmax(dim=1)
    assert (peaks.diff() > 0).all()
    assert peaks[0] * 16_000 / 2048 < 200
    assert peaks[-1] * 16_000 / 2048 > 7000


@pytest.mark.parametrize(("channels", "length"), [(1, 3), (2, 7), (2, 4), (3, 2), (3, 9), (2, 1)])
def test_mean_is_of_the_last_frames_in_order_of_time(channels: int, length: int) -> None:
    mean = module(Mean(channels, length))
    x = torch.rand(2, channels, 11, generator=torch.Generator().manual_seed(1))
    frames = torch.cat([torch.zeros(2, length - 1), x.transpose(1, 2).flatten(1)], 1)
    wanted = frames.unfold(1, length, 1).mean(2)
    assert torch.equal(mean(x), x)  # while training
    mean.eval()
    torch.testing.assert_close(mean(x).transpose(1, 2).flatten(1), wanted)


def test_norms_learn_by_the_batch_and_hear_by_what_they_have_measured() -> None:
    norm, x = module(spec.Norm(3)), 5 + 2 * torch.randn(4, 3, 1000)
    torch.testing.assert_close(norm(x).std(), torch.tensor(1.0), atol=0.01, rtol=0)
    norm.eval()
    torch.testing.assert_close(norm(x), x, atol=0.5, rtol=0.2)  # it has hardly measured anything


def test_dropout_acts_while_it_learns() -> None:
    dropout, x = module(spec.Dropout(0.5)), torch.ones(1, 100, 3)
    assert 0 < int((dropout(x) == 0).all(2).sum()) < 100
    assert torch.equal(dropout.eval()(x), x)


def test_logits_and_probabilities_are_of_each_other() -> None:
    x = torch.linspace(-30, 30, 61)[None, None]
    torch.testing.assert_close(
        module(Activation("logit"))(module(Activation("sigmoid"))(x)),
        x.clamp(-13.81551, 13.81551),
        atol=0.1,
        rtol=0,
    )
    assert module(Activation("sigmoid"))(x.bfloat16()).dtype == torch.float32


def test_samples_are_not_rounded_where_it_learns_in_half_precision() -> None:
    first, second, x = made(Conv(1, 2, 4)), made(dense(2, 2)), torch.randn(1, 1, 20)
    with torch.autocast("cpu", torch.bfloat16):
        heard = first(x)
        assert heard.dtype == torch.float32
        assert second(heard).dtype == torch.bfloat16
    torch.testing.assert_close(heard, first(x))
