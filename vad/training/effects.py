"""What happens to sound between a mouth and a file: functions of [rows, samples] float32 at
16 kHz and of random draws, one of each kind for every row. None moves speech in time.
"""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from vad.frames import HOP_SAMPLES, SAMPLE_RATE
from vad.training.draw import Draw

PACKET = SAMPLE_RATE // 50
RESPONSE = SAMPLE_RATE  # samples of a room's response that are used
TINY = 1e-12


def power(audio: Tensor) -> Tensor:
    """Mean square of each row, [rows, 1]."""
    return audio.square().mean(dim=1, keepdim=True)


def frame_power(audio: Tensor) -> Tensor:
    """Mean square of each 10 ms, [rows, frames]."""
    return audio.view(len(audio), -1, HOP_SAMPLES).square().mean(dim=2)


def at_unit_power(audio: Tensor) -> Tensor:
    """Each row at a mean square of 1."""
    return audio * torch.rsqrt(power(audio) + TINY)


def from_db(level: Tensor | float) -> Tensor:
    """The factor on samples that changes the level by so many dB."""
    return torch.exp2(torch.as_tensor(level) * (math.log2(10) / 20))


def coloured_noise(rows: int, samples: int, draw: Draw, shaped: float = 0.0) -> Tensor:
    """Noise whose power falls or rises with frequency by a slope of −8…+2 dB/octave.

    Args:
        shaped: share of the rows that have hills and gaps of up to 30 dB as well, as rooms, fans
            and engines do, and swell by up to 10 dB.
    """
    spectrum = torch.fft.rfft(draw.normal(rows, samples))
    slope = draw.uniform(rows, 1, low=-8, high=2) / 6.02
    bins = torch.arange(spectrum.shape[1], device=draw.device)
    relative = bins.clamp_min(40 * samples // SAMPLE_RATE) / bins[-1]
    tilt = torch.exp2(slope * relative.log2())
    if not shaped:
        return at_unit_power(torch.fft.irfft(spectrum * tilt, samples))
    some = draw.chance(rows, 1, p=shaped).float()
    depth = some * draw.uniform(rows, 1, high=30)
    frequency = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=draw.device)
    hills = _smooth(depth * draw.uniform(rows, 10, low=-1, high=1), frequency)
    noise = torch.fft.irfft(spectrum * tilt * from_db(hills), samples)
    swell = some * draw.uniform(rows, 1, high=5) * draw.uniform(rows, 6, low=-1, high=1)
    return at_unit_power(noise * from_db(_slowly(swell, samples)))


def gusts(rows: int, samples: int, draw: Draw) -> Tensor:
    """Factors [rows, samples] by which wind, surf and traffic come and go: up to ±15 dB, twice a
    second to once in two seconds."""
    depth = draw.uniform(rows, 1, low=3, high=15)
    often, seldom = draw.uniform(rows, 12, low=-1, high=1), draw.uniform(rows, 4, low=-1, high=1)
    fast = draw.uniform(rows, 1)
    return from_db(depth * torch.lerp(_slowly(seldom, samples), _slowly(often, samples), fast))


def _slowly(knots: Tensor, samples: int) -> Tensor:
    """[rows, samples] straight between knots [rows, any] that lie evenly in time."""
    return torch.nn.functional.interpolate(
        knots[:, None], size=samples, mode="linear", align_corners=True
    )[:, 0]


def equalise(audio: Tensor, draw: Draw, *, narrow: Tensor, depth_db: float = 9.0) -> Tensor:
    """A smooth random frequency response of ±depth_db.

    Args:
        narrow: [rows] bool, who gets a telephone's band limits on top.
    """
    rows, samples = audio.shape
    # Zeros behind the end take up the response's tail, which would wrap around to the start.
    size = next_fast_len(samples + 2048, real=True)
    frequency = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=audio.device)
    gain_db = _smooth(draw.uniform(rows, 10, low=-depth_db, high=depth_db), frequency)
    low = draw.uniform(rows, 1, low=100, high=350)
    high = draw.uniform(rows, 1, low=3000, high=3900)
    below = 24 * torch.log2(low / frequency.clamp_min(20)).clamp_min(0)
    above = ((frequency - high) / 150).clamp(0, 1) * 60
    gain_db = gain_db - (below + above) * narrow[:, None]
    shaped: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * from_db(gain_db), size)
    return shaped[:, :samples]


def _smooth(knots_db: Tensor, frequency: Tensor) -> Tensor:
    """Gains [rows, bins] between knots [rows, 10] that lie evenly on a logarithmic axis.

    Logarithmic, as microphones and rooms colour by the octave.
    """
    octaves = torch.log(frequency.clamp_min(50) / 50) / math.log(8000 / 50)
    place = (octaves * (knots_db.shape[1] - 1)).clamp_max(knots_db.shape[1] - 1 - 1e-4)
    left = place.long()
    return torch.lerp(knots_db[:, left], knots_db[:, left + 1], place - left)


def automatic_gain(audio: Tensor, draw: Draw) -> Tensor:
    """The level follows the sound: up to half of what it differs from its own mean by is taken
    back, within 0.2 to 1 s, by at most 12 dB; what lies more than 30 dB under the loudest is raised
    no further than what lies there."""
    level = 10 * torch.log10(frame_power(audio) + TINY)
    span = 2 * int(draw.uniform(1, low=10, high=50)) + 1
    near = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(level[:, None], (span // 2, span // 2), mode="replicate"), span, 1
    )[:, 0]
    near = torch.maximum(near, near.amax(1, keepdim=True) - 30)
    share = draw.uniform(len(audio), 1, low=0.1, high=0.5)
    gain = (share * (near.mean(1, keepdim=True) - near)).clamp(-12, 12)
    return audio * from_db(_slowly(gain, audio.shape[1]))


def mu_law(audio: Tensor) -> Tensor:
    """Through µ-law's 256 levels and back (ITU-T G.711, continuous form)."""
    mu = 255.0
    squeezed = audio.sign() * torch.log1p(mu * audio.abs().clamp_max(1)) / math.log1p(mu)
    levels = torch.round(squeezed * 127) / 127
    return levels.sign() * torch.expm1(levels.abs() * math.log1p(mu)) / mu


def simulated_rooms(rows: int, draw: Draw) -> Tensor:
    """Impulse responses [rows, 1 s]: direct sound, then noise that decays exponentially.

    The reverberation time is 0.15–0.9 s, the direct-to-reverberant ratio −8…15 dB.
    """
    seconds = draw.uniform(rows, 1, low=0.15, high=0.9)
    time = torch.arange(RESPONSE, device=draw.device) / SAMPLE_RATE
    tail: Tensor = draw.normal(rows, RESPONSE) * torch.exp(-6.9 * time / seconds) * (time < seconds)
    tail = tail * (time >= draw.uniform(rows, 1, low=0.001, high=0.015))
    # High frequencies die first: air and furniture are a gentle low-pass of one pole.
    pole = draw.uniform(rows, 1, high=0.6)
    angle = torch.linspace(0, math.pi, RESPONSE // 2 + 1, device=draw.device)
    lowpass = (1 - pole) / torch.complex(1 - pole * angle.cos(), pole * angle.sin())
    tail = torch.fft.irfft(torch.fft.rfft(tail) * lowpass, RESPONSE)
    ratio = draw.uniform(rows, 1, low=-8, high=15)
    tail = tail * from_db(-ratio) * torch.rsqrt(tail.square().sum(1, keepdim=True) + TINY)
    tail[:, 0] = 1.0
    return tail


def in_rooms(audio: Tensor, responses: Tensor) -> Tensor:
    """Each row convolved with a response [rows, ≤ 1 s] whose direct sound is its first sample;
    the level is kept."""
    samples = audio.shape[1]
    size = next_fast_len(samples + responses.shape[1], real=True)
    spectrum = torch.fft.rfft(audio, size) * torch.fft.rfft(responses, size)
    wet: Tensor = torch.fft.irfft(spectrum, size)[:, :samples]
    return wet * torch.sqrt((power(audio) + TINY) / (power(wet) + TINY))


def looped(audio: Tensor, draw: Draw) -> Tensor:
    """Each row's first 0.1–2 s over and over."""
    period = (SAMPLE_RATE * draw.uniform(len(audio), 1, low=0.1, high=2)).long()
    return audio.gather(1, torch.arange(audio.shape[1], device=audio.device) % period)


def hum(rows: int, samples: int, draw: Draw) -> Tensor:
    """Mains hum of 50 or 60 Hz with harmonics, at unit power."""
    base = torch.where(draw.chance(rows, 1, p=0.5), 50.0, 60.0)
    turns = torch.arange(samples, device=draw.device) / SAMPLE_RATE * base
    return at_unit_power(_harmonics(turns, draw.uniform(rows, 7, 1), draw))


def notes(rows: int, frames: int, draw: Draw) -> Tensor:
    """Beeps and melodies: harmonic tones that change every 60–600 ms, at unit power."""
    every = draw.uniform(rows, 1, low=6, high=60).long()
    which = torch.arange(frames, device=draw.device) // every
    steps = draw.uniform(rows, frames, low=-12, high=12).round()
    base = 80 * 2 ** draw.uniform(rows, 1, high=4.5)  # 80 Hz to 1.8 kHz
    pitch = base * 2 ** (steps.gather(1, which) / 12)
    turns = torch.cumsum(pitch.double().repeat_interleave(HOP_SAMPLES, 1) / SAMPLE_RATE, 1)
    sound = _harmonics((turns % 1).float(), draw.uniform(rows, 7, 1), draw)
    sounds = draw.chance(rows, frames, p=0.75).gather(1, which)
    age = torch.arange(frames, device=draw.device) % every
    fading = torch.exp(-age / draw.uniform(rows, 1, low=5, high=200))
    return at_unit_power(sound * (sounds * fading).repeat_interleave(HOP_SAMPLES, 1))


def chirps(rows: int, frames: int, draw: Draw) -> Tensor:
    """Birds: whistles of 40–300 ms between 1 and 7.5 kHz that glide by up to 0.7 octaves, in
    motifs of up to six that come again, with rests; at unit power."""
    every = draw.uniform(rows, 1, low=4, high=30).long()
    time = torch.arange(frames, device=draw.device)
    motif = time // every % draw.uniform(rows, 1, low=1, high=7).long()
    done = (time % every + 0.5) / every
    begin = draw.uniform(rows, 6, high=0.7).gather(1, motif)
    glide = draw.uniform(rows, 6, low=-0.7, high=0.7).gather(1, motif)
    lowest = 1500 * 2 ** draw.uniform(rows, 1, high=1.7)
    pitch = (lowest * 2 ** (begin + glide * done)).clamp(1000, 7500)
    turns = torch.cumsum(_slowly(pitch, frames * HOP_SAMPLES).double() / SAMPLE_RATE, 1)
    sings = draw.chance(rows, 6, p=0.75).gather(1, motif)
    rests = draw.chance(rows, frames, p=0.4).gather(1, (time // 60).expand(rows, -1))
    loud = torch.sin(math.pi * done) * sings * ~rests
    sound = torch.sin(2 * math.pi * (turns % 1).float())
    return at_unit_power(sound * _slowly(loud, frames * HOP_SAMPLES))


def _harmonics(turns: Tensor, gains: Tensor, draw: Draw) -> Tensor:
    """A tone and its overtones below half the rate of 8 kHz speech; `turns` counts periods."""
    tone = torch.zeros_like(turns)
    for k in range(1, gains.shape[1] + 1):
        phase = draw.uniform(len(turns), 1)
        tone += gains[:, k - 1] / k * torch.sin(2 * math.pi * (turns * k + phase))
    return tone


def lose_packets(audio: Tensor, draw: Draw) -> Tensor:
    """Zeroes some packets of 20 ms, singly or up to three in a row, as a bare receiver does."""
    rows, packets = len(audio), audio.shape[1] // PACKET
    begins = draw.uniform(rows, packets) < draw.uniform(rows, 1, low=0.005, high=0.05)
    longer = draw.uniform(rows, packets, high=3).long()
    lost = begins.clone()
    for k in (1, 2):
        lost[:, k:] |= (begins & (longer >= k))[:, :-k]
    kept = torch.ones_like(audio)
    kept[:, : packets * PACKET] = (~lost).repeat_interleave(PACKET, 1).float()
    return audio * kept
