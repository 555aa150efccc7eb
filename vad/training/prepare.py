"""Corpora → a cache that training reads without decoding: samples and labels side by side.

    CACHE/<kind>/<name>/audio.i16     int16 at 16 kHz, clips end to end, each padded to whole frames
                        labels.i8     one int8 a frame: 1 speech, 0 not, −1 in doubt
                        clips.jsonl   {"id", "frame", "frames", "speaker", "lang", "group", "level"}
                        corpus.json   name, kind, licence, rule

A corpus appears under its name only once it is whole: an interrupted run goes on with the next
one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vad.corpora.sources import Clip, Corpus
from vad.errors import DataError
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.teachers import (
    TEACHERS,
    Teacher,
    hear_each,
    load_teachers,
    taken_for_speech,
)
from vad.training.coders import coded_now_and_then
from vad.training.labelled import unread_labels
from vad.training.labels import NON_SPEECH, LabelRule, from_intervals, label

Heard = tuple[Clip, NDArray[np.float32]]


@dataclass(frozen=True)
class Cached:
    """One corpus of the cache, memory-mapped.

    Attributes:
        audio: [samples] int16 at 16 kHz.
        labels: [frames] int8.
        clips: rows of clips.jsonl.
        place: its folder, as which it goes to other processes.
    """

    name: str
    kind: str
    audio: NDArray[np.int16]
    labels: NDArray[np.int8]
    clips: list[dict[str, Any]]
    place: Path = Path()

    def samples(self, row: dict[str, Any]) -> NDArray[np.int16]:
        """[samples] int16 of a clip."""
        first, last = row["frame"], row["frame"] + row["frames"]
        return self.audio[first * HOP_SAMPLES : last * HOP_SAMPLES]

    def __reduce__(self) -> tuple[Callable[[Path], Cached], tuple[Path]]:
        return read_cached, (self.place,)


def prepare(
    corpora: Sequence[Corpus],
    cache: Path,
    *,
    workers: int = 2,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> None:
    """Write each corpus that the cache lacks.

    Args:
        corpora: what to write; those already there are left as they are.
        cache: the folder, made if absent.
        workers: processes; one corpus each.
        device: where the references that label speech run.
        report: called with one line for each corpus, and for labels that are not read.

    Raises:
        DataError: two corpora of one kind and name, or one without a usable clip.
    """
    names = [f"{corpus.kind}/{corpus.name}" for corpus in corpora]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two corpora are called {', '.join(twice)}: rename a folder")
    missing = []
    for corpus in corpora:
        place = cache / corpus.kind / corpus.name
        if (place / "corpus.json").is_file():
            report(f"{corpus.kind}/{corpus.name}: as it was; delete {place} to prepare it anew")
            continue
        missing.append(corpus)
        for folder, count in unread_labels(corpus).items():
            report(
                f"warning: {corpus.kind}/{corpus.name}: the labels of {count} recordings in "
                f"{folder} are not read here; --labelled {folder} reads them"
            )
    # CUDA does not survive a fork of the process that joined the others on it.
    start = get_context("spawn" if device.startswith("cuda") else None)
    with ProcessPoolExecutor(workers, mp_context=start) as pool:
        jobs = {pool.submit(_write, corpus, cache, device): corpus.name for corpus in missing}
        for job in as_completed(jobs):
            report(job.result())


def load_cache(cache: Path) -> list[Cached]:
    """All corpora of a cache.

    Raises:
        DataError: none are there.
    """
    found = [read_cached(path.parent) for path in sorted(cache.glob("*/*/corpus.json"))]
    if not found:
        raise DataError(f"{cache}: no prepared corpora; run `vad data prepare` first")
    return found


def read_cached(path: Path) -> Cached:
    """One corpus of a cache."""
    about = json.loads((path / "corpus.json").read_text())
    return Cached(
        about["name"],
        about["kind"],
        np.memmap(path / "audio.i16", np.int16, "r"),
        np.memmap(path / "labels.i8", np.int8, "r"),
        [json.loads(line) for line in (path / "clips.jsonl").read_text().splitlines()],
        path,
    )


def _write(corpus: Corpus, cache: Path, device: str) -> str:
    torch.set_num_threads(1)  # the pool has a process for each core
    final = cache / corpus.kind / corpus.name
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    frames, speech, skipped = _write_clips(corpus, partial, device)
    if not frames:
        shutil.rmtree(partial)
        raise DataError(f"{corpus.kind}/{corpus.name}: every clip is empty, silent or unreadable")
    about = {"name": corpus.name, "kind": corpus.kind, "licence": corpus.licence}
    counts = {"frames": frames, "speech_frames": speech, "rule": asdict(LabelRule())}
    (partial / "corpus.json").write_text(json.dumps(about | counts, indent=1))
    shutil.rmtree(final, ignore_errors=True)  # what an interrupted clean-up may have left
    partial.rename(final)
    hours = frames / 360_000
    why = "empty, too short or unreadable" + (", or spoken" if corpus.wordless else "")
    return f"{corpus.kind}/{corpus.name}: {hours:.2f} h, {speech / frames:.0%} speech" + (
        f", {skipped} clips {why}" if skipped else ""
    )


def _write_clips(corpus: Corpus, folder: Path, device: str) -> tuple[int, int, int]:
    """Frames written, those of speech, and clips skipped."""
    needed = corpus.kind == "speech" and any(clip.speech is None for clip in corpus.clips)
    teachers = load_teachers(device) if needed else ()
    everybody = load_teachers(device, tuple(TEACHERS)) if corpus.wordless else ()
    frame, speech, skipped = 0, 0, 0
    with (
        (folder / "audio.i16").open("wb") as audio_file,
        (folder / "labels.i8").open("wb") as labels_file,
        (folder / "clips.jsonl").open("w") as rows,
    ):
        for block in _blocks(corpus.audio()):
            usable = [(clip, audio) for clip, audio in block if _usable(audio)]
            if everybody:
                spoken = taken_for_speech([_loud(audio) for _, audio in usable], everybody, device)
                usable = [each for each, words in zip(usable, spoken, strict=True) if not words]
            skipped += len(block) - len(usable)
            for (clip, audio), labels in zip(
                usable, _labels(usable, teachers, device), strict=True
            ):
                padded = np.zeros(len(labels) * HOP_SAMPLES, np.float32)
                # Labelled before it is coded: a coder moves no word. A room is no recording.
                bare = corpus.kind == "rir"
                padded[: len(audio)] = audio if bare else coded_now_and_then(audio, clip.id)
                pcm = np.clip(np.round(padded * 32767), -32768, 32767).astype(np.int16)
                pcm.tofile(audio_file)
                labels.tofile(labels_file)
                row = {"id": clip.id, "frame": frame, "frames": len(labels)}
                row |= {"speaker": clip.speaker, "lang": clip.lang, "group": clip.group}
                row |= {"level": _level_db(padded, labels)}
                rows.write(json.dumps(row) + "\n")
                frame += len(labels)
                speech += int((labels == 1).sum())
    return frame, speech, skipped


def _blocks(clips: Iterable[Heard]) -> Iterator[list[Heard]]:
    """About half an hour of clips at a time: enough to batch, little to hold."""
    block: list[Heard] = []
    for clip in clips:
        block.append(clip)
        if sum(len(audio) for _, audio in block) > 1800 * SAMPLE_RATE:
            yield block
            block = []
    if block:
        yield block


def _usable(audio: NDArray[np.float32]) -> bool:
    """Under a fifth of a second nothing can be told; digital silence is made, not stored."""
    return len(audio) >= SAMPLE_RATE // 5 and float(np.abs(audio).max()) >= 1e-4


def _labels(clips: list[Heard], teachers: Sequence[Teacher], device: str) -> list[NDArray[np.int8]]:
    """Of each clip: people's, else by the rule, else that of noise."""
    loud = [_loud(audio) for _, audio in clips]
    unlabelled = [i for i, (clip, _) in enumerate(clips) if clip.speech is None and teachers]
    likely = hear_each([loud[i] for i in unlabelled], teachers, device)
    heard = dict(zip(unlabelled, likely, strict=True))
    found = []
    for i, (clip, audio) in enumerate(clips):
        frames = frame_count(len(audio), SAMPLE_RATE)
        if clip.speech is not None:
            found.append(from_intervals(clip.speech, frames))
        elif i in heard:
            found.append(label(loud[i], heard[i]))
        else:
            found.append(np.full(frames, NON_SPEECH, np.int8))
    return found


def _loud(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(audio / np.abs(audio).max(), np.float32)


def _level_db(audio: NDArray[np.float32], labels: NDArray[np.int8]) -> float:
    """RMS level in dBFS over the speech of a clip, or over all of it where there is none."""
    framed = audio.reshape(-1, HOP_SAMPLES)
    chosen = framed[labels == 1] if (labels == 1).any() else framed
    return round(float(10 * np.log10(np.mean(chosen.astype(np.float64) ** 2) + 1e-12)), 2)
