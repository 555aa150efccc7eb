from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.training import effects
from vad.training.draw import Draw

SAMPLES = 16_000


def voices(rows: int = 3, samples: int = SAMPLES) -> Tensor:
    t = torch.arange(samples) / 16_000
    pitch = torch.tensor([[220.0], [110.0], [330.0]])[:rows]
    rise = 1 + torch.sin(2 * torch.pi * 3 * t)
    return 0.3 * torch.sin(2 * torch.pi * pitch * t) * rise


def narrow(*rows: bool) -> Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize(
    "effect",
    [
        lambda a, draw: effects.equalise(a, draw, narrow=narrow(False, False, False)),
        lambda a, draw: effects.equalise(a, draw, narrow=narrow(True, False, True)),
        lambda a, draw: effects.mu_law(a),
        lambda a, draw: effects.in_rooms(a, effects.simulated_rooms(len(a), draw)),
        lambda a, draw: effects.lose_packets(a, draw),
    ],
    ids=["eq", "narrow", "mu-law", "room", "loss"],
)
@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES + 1])
def test_length_type_and_seed_are_kept(
    effect: Callable[[Tensor, Draw], Tensor], samples: int
) -> None:
    given = voices(samples=samples)
    one, again = (effect(given, Draw("cpu", 5)) for _ in range(2))
    assert torch.equal(given, voices(samples=samples))
    assert one.dtype == torch.float32
    assert one.shape == (3, samples)
    assert one.isfinite().all()
    assert not torch.equal(one, given)
    assert torch.equal(one, again)


def test_narrow_band_removes_what_a_telephone_does() -> None:
    """And only from the rows that it is for."""
    noise = Draw("cpu", 0).normal(2, 64_000)
    shaped = effects.equalise(noise, Draw("cpu", 1), narrow=narrow(True, False), depth_db=0.0)
    spectra = np.abs(np.fft.rfft(shaped.numpy())) ** 2
    frequency = np.fft.rfftfreq(64_000, 1 / 16_000)

    def level(row: int, low: float, high: float) -> float:
        return float(10 * np.log10(spectra[row, (frequency >= low) & (frequency < high)].mean()))

    assert level(0, 4500, 7500) < level(0, 500, 2500) - 40
    assert level(0, 20, 60) < level(0, 500, 2500) - 10
    assert abs(level(1, 4500, 7500) - level(1, 500, 2500)) < 1
    torch.testing.assert_close(shaped[1], noise[1], atol=1e-4, rtol=0)


def test_equaliser_stays_within_its_depth_and_differs_by_row() -> None:
    clicks = torch.zeros(3, 8000)
    clicks[:, 4000] = 1
    shaped = effects.equalise(clicks, Draw("cpu", 2), narrow=narrow(False, False, False))
    gains = 20 * torch.log10(torch.fft.rfft(shaped).abs())
    assert gains.abs().max() < 9.5
    assert gains.amax(1).sub(gains.amin(1)).min() > 3
    assert (gains[0] - gains[1]).abs().max() > 1
    assert shaped.abs().argmax(1).tolist() == [4000] * 3


def test_mu_law_is_close_and_has_256_levels() -> None:
    audio = voices()
    coded = effects.mu_law(audio)
    assert (coded - audio).abs().max() < 0.03
    assert len(coded.unique()) <= 256
    quiet = effects.mu_law(audio * 0.01)
    assert (quiet - audio * 0.01).abs().max() < 0.001  # its steps shrink with the level


def test_rooms_keep_level_and_place() -> None:
    clicks = torch.zeros(2, 8000)
    clicks[0, 1000] = clicks[1, 5000] = 1
    responses = torch.zeros(2, 2000)
    responses[:, 0] = 0.8
    responses[:, 900] = 0.3
    wet = effects.in_rooms(clicks, responses)
    assert wet.abs().argmax(1).tolist() == [1000, 5000]
    assert float(wet[0, 1900] / wet[0, 1000]) == pytest.approx(0.375, abs=1e-3)
    assert (wet[1, :5000].abs() < 1e-5).all()  # nothing wraps around
    torch.testing.assert_close(effects.power(wet), effects.power(clicks), rtol=1e-3, atol=0)


def test_convolution_is_the_explicit_sum() -> None:
    draw = Draw("cpu", 3)
    audio, response = draw.normal(2, 300), draw.normal(2, 50)
    wet = effects.in_rooms(audio, response)
    for row in range(2):
        plain = np.convolve(audio[row].numpy(), response[row].numpy())[:300]
        plain *= float(audio[row].norm()) / np.linalg.norm(plain)
        np.testing.assert_allclose(wet[row].numpy(), plain, atol=1e-4)


def test_simulated_rooms_start_with_the_direct_sound_and_die_away() -> None:
    rooms = effects.simulated_rooms(200, Draw("cpu", 4))
    assert (rooms[:, 0] == 1).all()
    assert rooms[:, 1:16].abs().max() < 1e-6  # a millisecond before the first reflection
    halves = rooms[:, 1:].square()
    assert (halves[:, 8000:].sum(1) < 0.2 * halves.sum(1)).all()
    ratio = -10 * torch.log10(halves.sum(1))
    assert -8.1 < float(ratio.min()) < -6
    assert 13 < float(ratio.max()) < 15.1


@pytest.mark.parametrize("make", ["coloured_noise", "hum", "notes"])
def test_made_sounds_have_unit_power(make: str) -> None:
    length = 100 if make == "notes" else SAMPLES
    sound = getattr(effects, make)(6, length, Draw("cpu", 5))
    assert sound.shape == (6, SAMPLES)
    assert sound.dtype == torch.float32
    torch.testing.assert_close(effects.power(sound), torch.ones(6, 1), rtol=1e-3, atol=0)
    assert not torch.allclose(sound[0], sound[1])


def test_coloured_noise_falls_or_rises_with_frequency() -> None:
    power = torch.fft.rfft(effects.coloured_noise(300, SAMPLES, Draw("cpu", 6))).abs().square()
    octaves = [power[:, 500 * 2**k : 1000 * 2**k].mean(1) for k in range(4)]
    slope = 10 * torch.log10(octaves[3] / octaves[0]) / 3
    assert -8.6 < float(slope.min()) < -6
    assert 0 < float(slope.max()) < 2.6


def test_shaped_noise_has_hills_and_gaps_and_swells() -> None:
    def spread(shaped: float) -> tuple[float, float]:
        """Of octaves about their slope, in dB, and of the level from one tenth to another."""
        noise = effects.coloured_noise(200, SAMPLES, Draw("cpu", 6), shaped)
        torch.testing.assert_close(effects.power(noise), torch.ones(200, 1), rtol=1e-3, atol=0)
        power = torch.fft.rfft(noise).abs().square()
        octaves = torch.stack([power[:, 125 * 2**k : 250 * 2**k].mean(1) for k in range(6)], 1)
        bends = (10 * octaves.log10()).diff(n=2, dim=1)
        levels = 10 * noise.view(200, 10, -1).square().mean(2).log10()
        return float(bends.std()), float(levels.std(1).mean())

    (bends, levels), (bends_shaped, levels_shaped) = spread(0.0), spread(1.0)
    assert bends_shaped > 4 * bends
    assert levels_shaped > 2 * levels
    half = effects.coloured_noise(200, SAMPLES, Draw("cpu", 6), 0.5)
    plain = effects.coloured_noise(200, SAMPLES, Draw("cpu", 6))
    same = (half - plain).abs().amax(1) < 1e-3
    assert 60 < int(same.sum()) < 140


def test_gusts_come_and_go_slowly() -> None:
    gains = 20 * effects.gusts(300, SAMPLES, Draw("cpu", 6)).log10()
    assert gains.abs().max() <= 15
    depths = gains.abs().amax(1)
    assert depths.min() < 4
    assert depths.max() > 11
    # From one hundredth of a second to the next nobody hears a step.
    assert gains.diff(dim=1).abs().max() * 160 < 15 * 2 * 11 / (SAMPLES / 160)


def test_looped_noise_comes_again_and_again() -> None:
    noise = Draw("cpu", 1).normal(5, 80_000)
    for row, piece in zip(effects.looped(noise, Draw("cpu", 2)), noise, strict=True):
        same = [n for n in range(1600, 32_001) if row[n] == row[0] and (row[n:] == row[:-n]).all()]
        assert same
        assert torch.equal(row[: same[0]], piece[: same[0]])


def test_chirps_are_high_whistles_with_rests() -> None:
    sound = effects.chirps(100, 400, Draw("cpu", 7))
    power = torch.fft.rfft(sound).abs().square()
    hertz = torch.arange(power.shape[1]) * 16_000 / sound.shape[1]
    assert power[:, hertz < 800].sum() < 0.01 * power.sum()
    frames = effects.frame_power(sound)
    sings = frames > 0.01 * frames.amax(1, keepdim=True)
    assert 0.1 < float(sings.float().mean()) < 0.6
    # A whistle: nearly all power of a frame lies in a few neighbouring bins.
    spectra = torch.fft.rfft(sound.view(100, 400, 160)[sings] * torch.hann_window(160)).abs() ** 2
    strongest = torch.nn.functional.avg_pool1d(spectra, 5, 1) * 5
    assert float((strongest.amax(1) / spectra.sum(1)).quantile(0.1)) > 0.9


def test_hum_is_of_the_mains() -> None:
    spectra = torch.fft.rfft(effects.hum(20, SAMPLES, Draw("cpu", 7))).abs()
    sounding = {int(hertz) for row in spectra for hertz in torch.nonzero(row > row.max() / 100)}
    assert sounding <= {base * k for base in (50, 60) for k in range(1, 8)}
    assert {50, 60} & sounding == {50, 60}


def test_notes_change_and_pause() -> None:
    sound = effects.notes(8, 400, Draw("cpu", 8))
    level = effects.frame_power(sound)
    assert (level > 0.01).any(1).all()
    peaks = torch.fft.rfft(sound.view(8, 400, 160)).abs().argmax(2)
    assert (peaks[:, 1:] != peaks[:, :-1]).any(1).sum() >= 6


def test_lost_packets_are_zero_and_the_rest_untouched() -> None:
    audio = voices(samples=64_100) + 1
    lossy = effects.lose_packets(audio, Draw("cpu", 3))
    lost = lossy == 0
    assert (lost.float().mean(1) > 0).all()
    assert (lost.float().mean(1) < 0.25).all()
    assert torch.equal(lossy[~lost], audio[~lost])
    packets = lost[:, :64_000].view(3, -1, effects.PACKET)
    assert (packets.all(2) | ~packets.any(2)).all()
    assert not torch.equal(lost[0], lost[1])


def test_power_and_decibels() -> None:
    audio = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert effects.power(audio).tolist() == [[12.5], [0.0]]
    assert effects.at_unit_power(audio)[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(
        effects.from_db(torch.tensor([0.0, 20.0, -6.0206])), torch.tensor([1.0, 10.0, 0.5])
    )
    steps = torch.cat([torch.full((1, 160), 2.0), torch.full((1, 160), 0.5)], 1)
    assert effects.frame_power(steps).tolist() == [[4.0, 0.25]]
