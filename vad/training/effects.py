"""What happens to sound between a mouth and a file, as functions of samples and a generator.

Each takes [samples] float32 at 16 kHz and gives the same; none moves speech in time.
"""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import lfilter, oaconvolve, resample_poly

from vad.frames import SAMPLE_RATE

Audio = NDArray[np.float32]
Rng = np.random.Generator


def power(audio: Audio) -> float:
    """Mean square."""
    return float(np.mean(np.square(audio, dtype=np.float64))) if len(audio) else 0.0


def coloured_noise(samples: int, rng: Rng) -> Audio:
    """Noise whose power falls (or rises) with frequency by a random slope of −8…+2 dB/octave."""
    size = next_fast_len(samples, real=True)
    spectrum = rfft(rng.standard_normal(size, np.float32))
    slope = rng.uniform(-8, 2) / 6.02
    frequency = np.maximum(np.arange(len(spectrum)), 40 * size / SAMPLE_RATE)
    shaped = spectrum * ((frequency / frequency[-1]) ** slope).astype(np.float32)
    noise = irfft(shaped, size)[:samples]
    return np.asarray(noise / np.sqrt(power(noise) + 1e-12), np.float32)


def equalise(audio: Audio, rng: Rng, *, depth_db: float = 9.0, narrow: bool = False) -> Audio:
    """A smooth random frequency response, ±depth_db; `narrow` adds a telephone's band limits."""
    # Zeros behind the end take up the response's tail, which would wrap around to the start.
    size = next_fast_len(len(audio) + 2048, real=True)
    # Ten knots on a logarithmic axis: microphones and rooms colour by the octave.
    knots = np.geomspace(50, 8000, 10)
    gains = rng.uniform(-depth_db, depth_db, 10)
    frequency = rfftfreq(size, 1 / SAMPLE_RATE)
    gain_db = np.interp(np.log(np.maximum(frequency, 50)), np.log(knots), gains)
    if narrow:
        low, high = rng.uniform(100, 350), rng.uniform(3000, 3900)
        gain_db += np.where(frequency < low, -24 * np.log2(low / np.maximum(frequency, 20)), 0)
        gain_db -= np.clip((frequency - high) / 150, 0, 1) * 60
    gain = (10 ** (gain_db / 20)).astype(np.float32)
    return np.asarray(irfft(rfft(audio, size) * gain, size)[: len(audio)], np.float32)


# libsndfile's coders that keep a file's length and place (measured: no lag at these settings).
_CODECS = (("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610"))


def coded(audio: Audio, rng: Rng) -> Audio:
    """Through a real lossy coder and back: Opus, MP3, or GSM 06.10 at 8 kHz."""
    container, codec = _CODECS[int(rng.integers(len(_CODECS)))]
    narrow = codec == "GSM610"
    sent = resample_poly(audio, 1, 2) if narrow else audio
    peak = np.float32(np.abs(sent).max() + 1e-9)
    file = io.BytesIO()
    rate = SAMPLE_RATE // 2 if narrow else SAMPLE_RATE
    sf.write(file, sent / peak * np.float32(0.9), rate, format=container, subtype=codec)
    file.seek(0)
    got = sf.read(file, dtype="float32")[0] * (peak / np.float32(0.9))
    out = np.zeros(len(audio), np.float32)
    got = (resample_poly(got, 2, 1) if narrow else got)[: len(out)]
    out[: len(got)] = got
    return out


def mu_law(audio: Audio) -> Audio:
    """Through µ-law's 256 levels and back (ITU-T G.711, continuous form)."""
    mu = 255.0
    squeezed = np.sign(audio) * np.log1p(mu * np.minimum(np.abs(audio), 1)) / np.log1p(mu)
    levels = np.round(squeezed * 127) / 127
    return np.asarray(np.sign(levels) * np.expm1(np.abs(levels) * np.log1p(mu)) / mu, np.float32)


def simulated_room(rng: Rng) -> Audio:
    """An impulse response: direct sound, then noise that decays exponentially.

    The reverberation time is 0.15–0.9 s, the direct-to-reverberant ratio −8…15 dB.
    """
    seconds = rng.uniform(0.15, 0.9)
    length = int(seconds * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * np.exp(-6.9 * time / seconds)
    gap = int(rng.uniform(0.001, 0.015) * SAMPLE_RATE)
    tail[:gap] = 0
    # High frequencies die first: air and furniture are a gentle low-pass.
    pole = rng.uniform(0, 0.6)
    tail = np.asarray(lfilter([1 - pole], [1, -pole], tail))
    tail *= 10 ** (-rng.uniform(-8, 15) / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    return tail.astype(np.float32)


def in_room(audio: Audio, response: Audio) -> Audio:
    """Convolved with a response whose direct sound is moved to time zero; level is kept."""
    direct = int(np.argmax(np.abs(response)))
    wet = oaconvolve(audio, response[direct : direct + SAMPLE_RATE])[: len(audio)]
    scale = np.sqrt((power(audio) + 1e-12) / (power(wet.astype(np.float32)) + 1e-12))
    return np.asarray(wet * scale, np.float32)


def hum(samples: int, rng: Rng) -> Audio:
    """Mains hum with harmonics, unit power."""
    base = rng.choice([50.0, 60.0])
    time = np.arange(samples, dtype=np.float32) / SAMPLE_RATE
    tone = np.zeros(samples, np.float32)
    for k in range(1, 8):
        tone += rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.3))
    return np.asarray(tone / np.sqrt(np.mean(tone**2) + 1e-12), np.float32)


def lose_packets(audio: Audio, rng: Rng) -> Audio:
    """Zeroes some packets of 20 ms, singly or a few in a row, as a bare receiver does."""
    packet = SAMPLE_RATE // 50
    out = audio.copy()
    for start in np.flatnonzero(rng.random(len(audio) // packet) < rng.uniform(0.005, 0.05)):
        out[start * packet : (start + rng.integers(1, 4)) * packet] = 0
    return out


# Ratios of small numbers, for which a polyphase filter is short: a fifth down to an octave up.
_SPEEDS = tuple(
    Fraction(*r) for r in ((2, 3), (3, 4), (4, 5), (5, 6), (6, 5), (4, 3), (3, 2), (2, 1))
)


def speed_up(audio: Audio, factor: Fraction) -> Audio:
    """Faster and higher by `factor`, or slower and lower; shorter or longer by it."""
    return np.asarray(resample_poly(audio, factor.denominator, factor.numerator), np.float32)


def random_speed(rng: Rng) -> Fraction:
    """One of the ratios that `speed_up` is quick at, 2/3 to 2."""
    return _SPEEDS[int(rng.integers(len(_SPEEDS)))]


def fade_edges(audio: Audio, samples: int = 80) -> Audio:
    """5 ms of fade at both ends, so that a cut is no click."""
    n = min(samples, len(audio) // 2)
    if n:
        ramp = np.linspace(0, 1, n, dtype=np.float32)
        audio[:n] *= ramp
        audio[-n:] *= ramp[::-1]
    return audio
