"""Sharp labels, 10 ms each, for clean clips that nobody labelled.

A clean clip's own energy says where sound is, to 10 ms; reference detectors say which
sound is speech, but only roughly when. Speech is where both agree; where they differ, the
frame is ignored by the loss rather than guessed.

         energy over floor and near peak ───────────┐
                                                    ├─ both: speech; doubt: ignore; else not
    references' mean logit, dilated by 120 ms ──────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.evaluation.timing import runs
from vad.frames import HOP_MS, HOP_SAMPLES, frame_count

Labels = NDArray[np.int8]
Probabilities = NDArray[np.float32]
SPEECH, NON_SPEECH, IGNORE = 1, 0, -1


@dataclass(frozen=True)
class LabelRule:
    """The numbers of the rule; they were read off plots of clips, not tuned on a test set."""

    above_floor_db: float = 8.0  # quieter than this over the clip's own noise is not speech
    below_peak_db: float = 35.0  # weak fricatives lie about 30 dB under vowels
    reference: float = 0.3  # generous: energy draws the line, the references only say which
    dilate_ms: int = 120  # how far a reference's edges are off, at most
    sure_not: float = 0.05  # loud but surely not speech: a cough or a door, a good negative
    fill_gap_ms: int = 60  # the closure of a stop consonant is part of its word
    drop_blip_ms: int = 40  # no syllable is shorter
    min_snr_db: float = 20.0  # below it energy says nothing, the references decide alone
    noisy_speech: float = 0.7
    noisy_silence: float = 0.15


def label(
    audio: NDArray[np.float32], reference: Probabilities, rule: LabelRule = LabelRule()
) -> Labels:
    """Labels of a clip, [frames] int8: 1 speech, 0 not, −1 in doubt.

    Args:
        audio: [samples] float32 at 16 kHz.
        reference: [frames] speech probability of the reference detectors, aligned to the frame.
    """
    energy = frame_energy_db(audio)
    floor, peak = np.percentile(energy, 5), np.percentile(energy, 99)
    if peak - floor < rule.min_snr_db:
        labels = np.full(len(energy), IGNORE, np.int8)
        labels[reference > rule.noisy_speech] = SPEECH
        labels[reference < rule.noisy_silence] = NON_SPEECH
        return labels
    loud = energy > max(floor + rule.above_floor_db, peak - rule.below_peak_db)
    region = dilate(reference > rule.reference, rule.dilate_ms // HOP_MS)
    speech = drop_short(
        fill_short(loud & region, rule.fill_gap_ms // HOP_MS), rule.drop_blip_ms // HOP_MS
    )
    labels = speech.astype(np.int8)
    labels[loud & ~speech & (reference > rule.sure_not)] = IGNORE
    # Inside a region that the references are sure of, quiet frames next to speech may be its tail.
    labels[~speech & ~loud & (reference > 0.9) & dilate(speech, 2)] = IGNORE
    return labels


def frame_energy_db(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Energy of the pre-emphasised signal in 20 ms windows centred on each frame, in dB.

    Pre-emphasis (first difference, .97) keeps hum and rumble from passing for sound.
    """
    frames = frame_count(len(audio), 16_000)
    emphasised = np.append(audio[:1], audio[1:] - 0.97 * audio[:-1]).astype(np.float64)
    half = HOP_SAMPLES // 2
    padded = np.zeros(frames * HOP_SAMPLES + 2 * half)
    padded[half : half + len(emphasised)] = emphasised
    power = np.concatenate([[0.0], np.cumsum(padded**2)])
    starts = np.arange(frames) * HOP_SAMPLES
    windows = power[starts + 2 * HOP_SAMPLES] - power[starts]
    return np.asarray(10 * np.log10(windows / (2 * HOP_SAMPLES) + 1e-10))


def from_intervals(intervals: Sequence[tuple[float, float]], frames: int) -> Labels:
    """Labels of labelled speech: a frame is what its centre is."""
    centres = (np.arange(frames) + 0.5) * HOP_MS / 1000
    labels = np.zeros(frames, np.int8)
    for start, end in intervals:
        labels[(centres >= start) & (centres < end)] = SPEECH
    return labels


def dilate(mask: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """True within `frames` of a true frame."""
    sums = np.concatenate([[0], np.cumsum(mask)])
    index = np.arange(len(mask))
    upper = np.minimum(index + frames + 1, len(mask))
    return np.asarray(sums[upper] > sums[np.maximum(index - frames, 0)])


def fill_short(mask: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Close inner gaps of at most `frames`."""
    out = mask.copy()
    for start, end in runs(~mask):
        if start > 0 and end < len(mask) and end - start <= frames:
            out[start:end] = True
    return out


def drop_short(mask: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Remove runs of at most `frames`."""
    out = mask.copy()
    for start, end in runs(mask):
        if end - start <= frames:
            out[start:end] = False
    return out
