"""Audio without speech: to count false alarms in, and to add to speech at a known level."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.corpora.sources import Corpus, folder, pack
from vad.errors import DataError, ParameterError
from vad.evaluation.metrics import Labels
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count

Audio = NDArray[np.float32]

FAINTEST = 1e-3  # RMS, -60 dBFS: fainter clips would only add their own background, amplified
PAUSE = 0.1  # RMS of a stretch in a clip whose RMS is 1
SHORTEST = HOP_SAMPLES * 10  # samples: 100 ms
CEILING = 0.999
LARGEST_SNR = 100  # dB either way: beyond it 16 bits hold nothing of the weaker


def load_noise(place: str) -> Corpus:
    """A set without speech, from a pack or a plain folder of audio.

    Args:
        place: a folder; for a pack optionally followed by `:package1,package2`, which keeps
            only the clips of those packages.

    Raises:
        DataError: no such folder, no audio in it, or a package that it does not have.
    """
    path, wanted = _split(place)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    packed = (path / "corpus.json").is_file()
    corpus = pack(path, "noise") if packed else folder(path, "noise")
    if wanted:
        if not packed:
            raise DataError(f"{path}: not a pack (no corpus.json), so it has no packages to choose")
        known = {clip.group for clip in corpus.clips}
        if missing := sorted(set(wanted) - known):
            raise DataError(f"{path}: has no package {', '.join(missing)}")
        clips = tuple(clip for clip in corpus.clips if clip.group in wanted)
        corpus = replace(corpus, name=f"{corpus.name}:{','.join(wanted)}", clips=clips)
    if not corpus.clips:
        raise DataError(f"{path}: no audio files in it")
    return corpus


@dataclass(frozen=True)
class NoiseBank:
    """Clips of noise in memory (230 MB an hour), each at an RMS of 1, as `of` makes them.

    Raises:
        ParameterError: no clips, or one of another level.
    """

    clips: tuple[Audio, ...]

    def __post_init__(self) -> None:
        if not self.clips or any(abs(rms(clip) - 1) > 0.01 for clip in self.clips):
            raise ParameterError("clips", "must be at least one, each with an RMS of 1")

    @classmethod
    def of(cls, corpora: Sequence[Corpus]) -> NoiseBank:
        """Decodes all clips but those below -60 dBFS or 100 ms.

        Raises:
            DataError: a file does not decode, or nothing is left.
        """
        clips = []
        for corpus in corpora:
            for clip, audio in corpus.audio():
                if not len(audio):
                    raise DataError(f"{clip.path}: clip {clip.id} holds no audio")
                level = rms(audio)
                if level >= FAINTEST and len(audio) >= SHORTEST:
                    clips.append((audio / level).astype(np.float32))
        if not clips:
            names = ", ".join(corpus.name for corpus in corpora)
            raise DataError(f"{names or 'no noise given'}: no clip above -60 dBFS and 100 ms")
        return cls(tuple(clips))

    def bed(self, samples: int, seed: int, name: str) -> Audio:
        """Noise of that length: random stretches of random clips, one after another.

        Equal seed and name give equal noise, so that detectors and SNRs differ in nothing else.

        Args:
            samples: length wanted.
            seed: of the whole evaluation.
            name: of the file that the noise is for.

        Returns:
            [samples] float32; every stretch has an RMS of 1, since many clips swell and fade.
            Stretches 20 dB below their clip (pauses) are drawn anew.
        """
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        pieces: list[Audio] = []
        missing = samples
        while missing > 0:
            clip = self.clips[random.integers(len(self.clips))]
            first = int(random.integers(max(1, len(clip) - missing + 1)))
            stretch = clip[first : first + missing]
            level = rms(stretch)
            if level >= PAUSE:
                pieces.append((stretch / level).astype(np.float32))
                missing -= len(stretch)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


@dataclass(frozen=True)
class Condition:
    """What is done to the labelled sets before a detector hears them.

    Args:
        snr_db: signal-to-noise ratio of the noise added; None leaves the audio alone.
        noise: where the noise comes from.
        sets: names of the sets it is for; empty means all. Files without labelled speech have
            no SNR and are left out of noisy conditions.
    """

    snr_db: float | None = None
    noise: NoiseBank | None = None
    sets: Collection[str] = ()

    def __post_init__(self) -> None:
        if (self.snr_db is None) != (self.noise is None):
            raise ParameterError("snr_db", "a noisy condition needs both an SNR and noise")
        if self.snr_db is not None and not -LARGEST_SNR <= self.snr_db <= LARGEST_SNR:
            known = f"-{LARGEST_SNR} to {LARGEST_SNR}"
            raise ParameterError("snr_db", f"must be {known} decibels, not {self.snr_db:g}")

    @property
    def name(self) -> str:
        return "clean" if self.snr_db is None else f"{self.snr_db:g} dB"

    def applies_to(self, name: str, labels: Labels) -> bool:
        spoken = self.snr_db is None or bool((labels == 1).any())
        return spoken and (not self.sets or name in self.sets)

    def apply(self, audio: Audio, labels: Labels, seed: int, name: str) -> Audio:
        if self.snr_db is None or self.noise is None:
            return audio
        return mix_at_snr(audio, self.noise.bed(len(audio), seed, name), self.snr_db, labels)


CLEAN = Condition()


def mix_at_snr(speech: Audio, noise: Audio, snr_db: float, labels: Labels) -> Audio:
    """Adds noise so that the labelled speech frames stand `snr_db` above it.

    The speech level is the RMS over the frames labelled 1, so pauses do not lower it (as ITU-T
    P.56 leaves them out); the noise level is the RMS of all of `noise`. A mix that would clip
    is scaled down as a whole.

    Args:
        speech: [samples] float32.
        noise: [samples] float32, as long.
        snr_db: signal-to-noise ratio in dB.
        labels: [frames] int8 of `speech`.

    Returns:
        [samples] float32.

    Raises:
        ParameterError: lengths differ, no frame is speech, or either is silent.
    """
    if speech.shape != noise.shape:
        raise ParameterError("noise", f"has shape {noise.shape}, the speech {speech.shape}")
    if len(labels) != frame_count(len(speech), SAMPLE_RATE):
        raise ParameterError("labels", f"are {len(labels)} frames, not those of the speech")
    spoken = np.repeat(labels == 1, HOP_SAMPLES)[: len(speech)]
    if not spoken.any():
        raise ParameterError("labels", "no frame is labelled speech, so there is no SNR")
    speech_level, noise_level = rms(speech[spoken]), rms(noise)
    if speech_level == 0 or noise_level == 0:
        silent = "speech" if speech_level == 0 else "noise"
        raise ParameterError(silent, "is silent, so there is no SNR")
    mixed = speech + noise * (speech_level / noise_level * 10 ** (-snr_db / 20))
    peak = float(np.abs(mixed).max())
    return (mixed * min(1.0, CEILING / peak)).astype(np.float32)


def rms(audio: Audio) -> float:
    """Root mean square; 0 of no samples."""
    return float(np.sqrt(np.mean(audio.astype(np.float64) ** 2))) if len(audio) else 0.0


def _split(place: str) -> tuple[Path, list[str]]:
    # The whole may be a folder whose name holds a colon; only else is there a choice in it.
    if Path(place).is_dir() or ":" not in place:
        return Path(place), []
    path, _, packages = place.rpartition(":")
    return Path(path), [name for name in packages.split(",") if name]
