"""Scenes: speech with its labels, put into rooms, noise, music, telephones.

A scene is a pure function of the cache, the recipe and a random generator, and scene n of a
run is made from (seed, n) alone: any worker can make it, and a resumed run sees the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vad.errors import DataError
from vad.frames import HOP_SAMPLES, SAMPLE_RATE
from vad.training import effects
from vad.training.effects import Audio, Rng
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH, Labels
from vad.training.pools import Pool, Pools
from vad.training.prepare import Cached


@dataclass(frozen=True)
class SceneRecipe:
    """How scenes are made; probabilities are of a scene unless said otherwise."""

    seconds: float = 6.0
    without_speech: float = 0.25
    noise: float = 0.42
    music: float = 0.24
    noise_and_music: float = 0.12
    coloured: float = 0.12  # what is left has no background at all
    snr_db: tuple[float, float, float] = (-8.0, 4.0, 40.0)  # triangular: low, mode, high
    lone: float = 0.0  # of the scenes with speech: one utterance in a quiet place, no more
    speech_spread_db: float = 6.0  # of each utterance around the scene's speech level
    room: float = 0.5
    measured_room: float = 0.35  # of the rooms
    varied: float = 0.0  # of pieces of noise and music: played faster, slower or backwards
    narrow_band: float = 0.25
    mu_law: float = 0.4  # of the narrow-band scenes
    coded: float = 0.0  # through Opus, MP3 or GSM
    effects_over: float = 0.25  # coughs, doors, clicks between and over the words
    babble: float = 0.06
    far_talk: float = 0.08  # quiet talk that nobody would label
    hum: float = 0.05
    packet_loss: float = 0.04
    clipped: float = 0.05
    offset: float = 0.03  # a constant, as cheap converters add
    speed: float = 0.35  # of the utterances: resampled by ±12 %, pitch and all
    level_db: tuple[float, float] = (-45.0, 0.0)  # of the scene's peak
    # Frames of speech below these are neither speech nor silence to a listener: not judged.
    inaudible_dbfs: float = -64.0
    masked_db: float = -14.0
    boost: tuple[tuple[str, float], ...] = ()  # (corpus, how much more often than its size says)
    held_out: tuple[str, ...] = ()  # "corpus" or "corpus:group"; "corpus%7" one clip in seven


@dataclass
class Mixer:
    """Draws scenes from prepared corpora.

    Args:
        corpora: as `load_cache` gives them.
        recipe: how to mix.

    Raises:
        DataError: no speech, or neither noise nor music, is left.
    """

    corpora: list[Cached]
    recipe: SceneRecipe = field(default_factory=SceneRecipe)

    def __post_init__(self) -> None:
        chosen = (dict(self.recipe.boost), self.recipe.held_out)
        self.speech = Pools.of(self.corpora, "speech", *chosen)
        self.noise = Pools.of(self.corpora, "noise", *chosen)
        self.music = Pools.of(self.corpora, "music", *chosen)
        self.rooms = [
            c.audio[row["frame"] * HOP_SAMPLES : (row["frame"] + row["frames"]) * HOP_SAMPLES]  # type: ignore[operator]
            for c in self.corpora
            if c.kind == "rir"
            for row in c.clips
        ]
        if not self.speech or not (self.noise or self.music):
            raise DataError("training needs at least one speech and one noise or music corpus")

    def scene(self, rng: Rng) -> tuple[Audio, Labels]:
        """One scene: ([samples] float32 in [−1, 1], [frames] int8 of 1, 0, −1)."""
        r = self.recipe
        frames = round(r.seconds * 100)
        speech, labels = np.zeros(frames * HOP_SAMPLES, np.float32), np.zeros(frames, np.int8)
        lone = bool(rng.random() < r.lone)
        if rng.random() >= r.without_speech:
            speech, labels = self._talk(rng, frames, lone=lone)
        dry_energy = _frame_power(speech)
        if rng.random() < r.room:
            speech = effects.in_room(speech, self._room(rng))
        quiet = lone and bool((labels == SPEECH).any())
        background = self._background(rng, frames, speech, labels, quiet=quiet)
        mixed = self._channel(rng, speech + background)
        gain = 10 ** (rng.uniform(*r.level_db) / 20) / (np.abs(mixed).max() + 1e-9)
        self._doubt(labels, dry_energy, _frame_power(background), gain)
        mixed *= gain
        if rng.random() < r.clipped:
            mixed = np.clip(mixed * rng.uniform(2, 12), -1, 1)
        if rng.random() < r.offset:
            mixed = mixed + np.float32(rng.uniform(-0.1, 0.1))
        floor = 10 ** (rng.uniform(-95, -50) / 20)
        mixed += rng.standard_normal(len(mixed), np.float32) * np.float32(floor)
        if rng.random() < 0.5:  # half of the world is 16-bit
            mixed = np.round(mixed * 32767) / np.float32(32767)
        return np.clip(mixed, -1, 1).astype(np.float32), labels

    def _talk(self, rng: Rng, frames: int, *, lone: bool = False) -> tuple[Audio, Labels]:
        """Utterances and pauses at about −20 dBFS RMS; or a `lone` one, somewhere."""
        audio = np.zeros(frames * HOP_SAMPLES, np.float32)
        labels = np.full(frames, NON_SPEECH, np.int8)
        # One scene in three starts in mid-talk, so that no silence need come first.
        at = 0 if rng.random() < 0.33 else int(rng.exponential(70))
        pool = self.speech.draw(rng)
        while at < frames:
            if rng.random() < 0.3:  # now and then another talker takes over
                pool = self.speech.draw(rng)
            clip, marks = self._utterance(rng, pool, frames - at)
            end = at + len(marks)
            audio[at * HOP_SAMPLES : end * HOP_SAMPLES] += clip
            labels[at:end] = marks
            if lone:
                break
            at = end + int(rng.exponential(60) if rng.random() < 0.75 else rng.exponential(200))
        return audio, labels

    def _utterance(self, rng: Rng, pool: Pool, room: int) -> tuple[Audio, Labels]:
        """A clip or a piece of one with its labels, at most `room` frames."""
        r = self.recipe
        i = int(rng.integers(len(pool.starts)))
        start, length = int(pool.starts[i]), int(pool.lengths[i])
        if length > room:
            start += int(rng.integers(length - room + 1))
            length = room
        clip = _samples(pool.audio[start * HOP_SAMPLES : (start + length) * HOP_SAMPLES])
        marks = np.array(pool.labels[start : start + length])
        level = -20 + rng.normal() * r.speech_spread_db
        clip = clip * np.float32(10 ** ((level - pool.levels[i]) / 20))
        if rng.random() < r.speed:
            clip, marks = _at_speed(clip, marks, rng.uniform(0.88, 1.12))
        clip, marks = clip[: room * HOP_SAMPLES], marks[:room]
        return effects.fade_edges(clip), marks

    def _background(
        self, rng: Rng, frames: int, speech: Audio, labels: Labels, *, quiet: bool
    ) -> Audio:
        r = self.recipe
        samples = frames * HOP_SAMPLES
        background = self._bed(rng, frames)
        has_speech = bool((labels == SPEECH).any())
        if rng.random() < r.babble:
            background = background + self._babble(rng, frames) * np.float32(0.7)
        # −20 dBFS stands for speech where there is none, so that both kinds of scene match.
        spoken = speech.reshape(-1, HOP_SAMPLES)[labels == SPEECH] if has_speech else None
        level = effects.power(spoken.ravel()) if spoken is not None else 0.01
        if (loud := effects.power(background)) > 0:
            snr = rng.uniform(25, 60) if quiet else rng.triangular(*r.snr_db)
            background = background * np.float32(np.sqrt(level / loud) * 10 ** (-snr / 20))
        if self.noise and rng.random() < (r.effects_over if has_speech else 2 * r.effects_over):
            background = background + self._effects(rng, frames, level)
        if rng.random() < r.hum:
            gain = np.sqrt(level) * 10 ** (-rng.uniform(5, 40) / 20)
            background = background + effects.hum(samples, rng) * np.float32(gain)
        if rng.random() < r.far_talk:
            far, _ = self._talk(rng, frames)
            far = effects.in_room(far, effects.simulated_room(rng))
            gain = np.sqrt(level / 0.01) * 10 ** (-rng.uniform(38, 55) / 20)
            background = background + far * np.float32(gain)
        return np.asarray(background, np.float32)

    def _bed(self, rng: Rng, frames: int) -> Audio:
        """Continuous noise, music, both or none, of any level."""
        r = self.recipe
        samples = frames * HOP_SAMPLES
        choice = rng.random()
        bed = np.zeros(samples, np.float32)
        if choice < r.noise + r.noise_and_music and self.noise:
            bed += self._stretch(rng, self.noise, samples)
        if r.noise <= choice < r.noise + r.noise_and_music + r.music and self.music:
            music = self._stretch(rng, self.music, samples)
            bed += music * np.float32(rng.uniform(0.3, 1))
        rest = choice - r.noise - r.noise_and_music - r.music
        if 0 <= rest < r.coloured:
            bed += effects.coloured_noise(samples, rng)
        if _happens(0.5 * r.varied, rng):
            bed = effects.equalise(bed, rng)
        return effects.in_room(bed, self._room(rng)) if rng.random() < 0.15 else bed

    def _stretch(self, rng: Rng, pools: Pools, samples: int) -> Audio:
        """`samples` of one clip, or of several short ones with gaps, at unit power."""
        out = np.zeros(samples, np.float32)
        pool = pools.draw(rng)
        at = 0
        while at < samples:
            i = int(rng.integers(len(pool.starts)))
            length = int(pool.lengths[i]) * HOP_SAMPLES
            start = int(pool.starts[i]) * HOP_SAMPLES
            varied = _happens(self.recipe.varied, rng)
            speed = effects.random_speed(rng) if varied else Fraction(1)
            wanted = int((samples - at) * speed)
            if length > wanted:
                start += int(rng.integers(length - wanted + 1))
                length = wanted
            piece = _samples(pool.audio[start : start + length])
            if varied:  # what is neither speech nor music backwards is neither forwards
                piece = effects.speed_up(piece, speed)[: samples - at]
                piece = piece[::-1].copy() if rng.random() < 0.5 else piece
            piece = piece / np.float32(np.sqrt(effects.power(piece) + 1e-8))
            out[at : at + len(piece)] = effects.fade_edges(piece)
            at += len(piece) + int(rng.exponential(0.3) * SAMPLE_RATE)
        return out

    def _effects(self, rng: Rng, frames: int, level: float) -> Audio:
        """A few short sounds, some louder than speech."""
        out = np.zeros(frames * HOP_SAMPLES, np.float32)
        for _ in range(int(rng.integers(1, 5))):
            pool = self.noise.draw(rng)
            i = int(rng.integers(len(pool.starts)))
            length = min(int(pool.lengths[i]), 300, frames) * HOP_SAMPLES
            start = int(pool.starts[i]) * HOP_SAMPLES
            piece = _samples(pool.audio[start : start + length])
            gain = np.sqrt(level / (effects.power(piece) + 1e-8)) * 10 ** (rng.uniform(-20, 8) / 20)
            at = int(rng.integers(len(out) - length + 1))
            out[at : at + length] += effects.fade_edges(piece * np.float32(gain))
        return out

    def _babble(self, rng: Rng, frames: int) -> Audio:
        """Many talkers at once, from afar: nobody's words can be made out."""
        crowd = sum((self._talk(rng, frames)[0] for _ in range(7)), np.zeros(1, np.float32))
        far = effects.in_room(np.asarray(crowd, np.float32), effects.simulated_room(rng))
        return np.asarray(far / np.sqrt(effects.power(far) + 1e-9), np.float32)

    def _channel(self, rng: Rng, audio: Audio) -> Audio:
        r = self.recipe
        narrow = bool(rng.random() < r.narrow_band)
        if narrow or rng.random() < 0.5:
            audio = effects.equalise(audio, rng, narrow=narrow)
        if narrow and rng.random() < r.mu_law:
            peak = np.abs(audio).max() + 1e-9
            quiet = np.float32(10 ** (-rng.uniform(0, 25) / 20))
            audio = effects.mu_law(audio / peak * quiet) * np.float32(peak / quiet)
        if _happens(r.coded, rng):
            audio = effects.coded(audio, rng)
        return effects.lose_packets(audio, rng) if rng.random() < r.packet_loss else audio

    def _doubt(
        self,
        labels: Labels,
        speech: NDArray[np.float64],
        background: NDArray[np.float64],
        gain: float,
    ) -> None:
        """Mark speech that nobody could hear, under the background or far too quiet."""
        r = self.recipe
        masked = speech < background * 10 ** (r.masked_db / 10)
        quiet = speech * gain**2 < 10 ** (r.inaudible_dbfs / 10)
        labels[(labels == SPEECH) & (masked | quiet)] = IGNORE

    def _room(self, rng: Rng) -> Audio:
        if self.rooms and rng.random() < self.recipe.measured_room:
            return _samples(self.rooms[int(rng.integers(len(self.rooms)))])
        return effects.simulated_room(rng)


def _at_speed(clip: Audio, labels: Labels, factor: float) -> tuple[Audio, Labels]:
    """Faster and higher, or slower and lower, labels along with it."""
    frames = int(len(labels) / factor)
    where = np.arange(frames * HOP_SAMPLES) * factor
    out = np.interp(where, np.arange(len(clip)), clip).astype(np.float32)
    return out, labels[np.minimum((np.arange(frames) + 0.5) * factor, len(labels) - 1).astype(int)]


def _happens(probability: float, rng: Rng) -> bool:
    """Draws nothing for 0, so that recipes older than an effect still make their scenes."""
    return probability > 0 and bool(rng.random() < probability)


def _samples(pcm: NDArray[np.int16]) -> Audio:
    return np.asarray(pcm / np.float32(32768), np.float32)


def _frame_power(audio: Audio) -> NDArray[np.float64]:
    framed = np.square(audio.reshape(-1, HOP_SAMPLES), dtype=np.float64)
    return np.asarray(framed.mean(axis=1))
