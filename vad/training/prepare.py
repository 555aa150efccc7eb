"""Corpora → a cache that training reads without decoding: samples and labels side by side.

    CACHE/<kind>/<name>/audio.i16     int16 at 16 kHz, clips end to end, each padded to whole frames
                        labels.i8     one int8 a frame: 1 speech, 0 not, −1 in doubt
                        clips.jsonl   {"id", "frame", "frames", "speaker", "lang", "group", "level"}
                        corpus.json   name, kind, licence, rule

Both arrays are memory-mapped by the mixing workers, so they share one copy. A corpus appears
under its name only once it is whole: an interrupted run goes on with the next one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import DataError
from vad.evaluation.metrics import moved_earlier
from vad.frames import HOP_SAMPLES, frame_count
from vad.training.corpora import Corpus
from vad.training.labels import (
    NON_SPEECH,
    LabelRule,
    Reference,
    combine,
    from_intervals,
    label,
)

SILERO_LATE_FRAMES = 3  # its probabilities come 30 ms after the sound; measured on labelled sets


@dataclass(frozen=True)
class Cached:
    """One corpus of the cache, memory-mapped.

    Attributes:
        audio: [samples] int16 at 16 kHz.
        labels: [frames] int8.
        clips: rows of clips.jsonl.
    """

    name: str
    kind: str
    audio: NDArray[np.int16]
    labels: NDArray[np.int8]
    clips: list[dict[str, object]]


def references() -> list[Reference]:
    """The detectors that say which sound is speech: silero-vad and FireRedVAD (MIT, Apache-2.0)."""
    from vad.evaluation.peers import firered, silero

    hears, other = silero(), firered()
    return [
        lambda audio: moved_earlier(hears.probabilities(audio), SILERO_LATE_FRAMES),
        other.probabilities,
    ]


def prepare(
    corpora: Sequence[Corpus],
    cache: Path,
    *,
    workers: int = 2,
    report: Callable[[str], None] = print,
) -> None:
    """Write each corpus that the cache lacks.

    Args:
        corpora: what to write; those already there are left as they are.
        cache: the folder, made if absent.
        workers: processes; one corpus each.
        report: called with one line per corpus.

    Raises:
        DataError: two corpora of one kind and name, or one without a usable clip.
    """
    names = [f"{corpus.kind}/{corpus.name}" for corpus in corpora]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two corpora are called {', '.join(twice)}: rename a folder")
    missing = [c for c in corpora if not (cache / c.kind / c.name / "corpus.json").is_file()]
    with ProcessPoolExecutor(workers) as pool:
        jobs = {pool.submit(_write, corpus, cache): corpus.name for corpus in missing}
        for job in as_completed(jobs):
            report(job.result())


def load_cache(cache: Path) -> list[Cached]:
    """All corpora of a cache.

    Raises:
        DataError: none are there.
    """
    found = [_read(path.parent) for path in sorted(cache.glob("*/*/corpus.json"))]
    if not found:
        raise DataError(f"{cache}: no prepared corpora; run `vad data prepare` first")
    return found


def _read(path: Path) -> Cached:
    about = json.loads((path / "corpus.json").read_text())
    return Cached(
        about["name"],
        about["kind"],
        np.memmap(path / "audio.i16", np.int16, "r"),
        np.memmap(path / "labels.i8", np.int8, "r"),
        [json.loads(line) for line in (path / "clips.jsonl").read_text().splitlines()],
    )


def _write(corpus: Corpus, cache: Path) -> str:
    import torch

    torch.set_num_threads(1)  # the pool has a process for each core
    final = cache / corpus.kind / corpus.name
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    frames, speech, skipped = _write_clips(corpus, partial)
    if not frames:
        shutil.rmtree(partial)
        raise DataError(f"{corpus.kind}/{corpus.name}: every clip is empty, silent or unreadable")
    about = {"name": corpus.name, "kind": corpus.kind, "licence": corpus.licence}
    counts = {"frames": frames, "speech_frames": speech, "rule": asdict(LabelRule())}
    (partial / "corpus.json").write_text(json.dumps(about | counts, indent=1))
    shutil.rmtree(final, ignore_errors=True)  # what an interrupted clean-up may have left
    partial.rename(final)
    hours = frames / 360_000
    return f"{corpus.kind}/{corpus.name}: {hours:.2f} h, {speech / frames:.0%} speech" + (
        f", {skipped} clips empty, too short or unreadable" if skipped else ""
    )


def _write_clips(corpus: Corpus, folder: Path) -> tuple[int, int, int]:
    """Frames written, those of speech, and clips skipped."""
    detectors = references() if _needs_references(corpus) else []
    frame, speech, skipped = 0, 0, 0
    with (
        (folder / "audio.i16").open("wb") as audio_file,
        (folder / "labels.i8").open("wb") as labels_file,
        (folder / "clips.jsonl").open("w") as rows,
    ):
        for clip, audio in corpus.audio():
            peak = float(np.abs(audio).max(initial=0))
            # Under a fifth of a second nothing can be told; digital silence is made, not stored.
            if len(audio) < 3200 or peak < 1e-4:
                skipped += 1
                continue
            labels = _labels(audio / peak, clip.speech, detectors)
            padded = np.zeros(len(labels) * HOP_SAMPLES, np.float32)
            padded[: len(audio)] = audio
            np.clip(np.round(padded * 32767), -32768, 32767).astype(np.int16).tofile(audio_file)
            labels.tofile(labels_file)
            row = {"id": clip.id, "frame": frame, "frames": len(labels), "speaker": clip.speaker}
            row |= {"lang": clip.lang, "group": clip.group, "level": _level_db(padded, labels)}
            rows.write(json.dumps(row) + "\n")
            frame += len(labels)
            speech += int((labels == 1).sum())
    return frame, speech, skipped


def _needs_references(corpus: Corpus) -> bool:
    return corpus.kind == "speech" and any(clip.speech is None for clip in corpus.clips)


def _labels(
    audio: NDArray[np.float32],
    speech: tuple[tuple[float, float], ...] | None,
    detectors: list[Reference],
) -> NDArray[np.int8]:
    frames = frame_count(len(audio), 16_000)
    if speech is not None:
        return from_intervals(speech, frames)
    if not detectors:
        return np.full(frames, NON_SPEECH, np.int8)
    return label(audio, combine([detect(audio) for detect in detectors]))


def _level_db(audio: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    """RMS level in dBFS over the speech of a clip, or over all of it where there is none."""
    framed = audio.reshape(-1, HOP_SAMPLES)
    chosen = framed[labels == 1] if (labels == 1).any() else framed
    return round(float(10 * np.log10(np.mean(chosen.astype(np.float64) ** 2) + 1e-12)), 2)
