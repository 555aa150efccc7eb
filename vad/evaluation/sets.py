"""Labelled sets: audio files, and where in them people heard speech."""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vad.errors import DataError, FormatError
from vad.evaluation.metrics import Labels
from vad.evaluation.timing import Interval
from vad.formats import Interval as Mark
from vad.formats import read_labels, recording_ids
from vad.frames import FRAMES_PER_SECOND
from vad.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES

INDEX = "labels.jsonl"
Elsewhere = dict[str, list[Path]]  # audio by what label files may call it
LABEL_FORMATS = {".rttm": "rttm", ".textgrid": "textgrid", ".txt": "audacity"}

# Labels that name what is not speech, as aligners, TIMIT, festvox and this library write them.
NOT_SPEECH = frozenset(
    {"sil", "sp", "silence", "pau", "pause", "h#", "epi", "#", "_", "<sil>", "<p:>", "<eps>"}
    | {"noise", "non_speech", "non-speech", "nonspeech"}
)


@dataclass(frozen=True)
class LabelledFile:
    """One file and its reference.

    Attributes:
        name: how reports call it; unique within its set.
        path: the audio.
        speech: (start, end) in seconds.
        ignored: (start, end) in seconds that frame-wise figures leave out.
    """

    name: str
    path: Path
    speech: tuple[Interval, ...]
    ignored: tuple[Interval, ...] = ()

    def labels(self, frames: int) -> Labels:
        """[frames] int8: each frame of 10 ms is what its centre is (1, 0, or -1: ignored)."""
        found = np.zeros(frames, np.int8)
        for value, intervals in ((1, self.speech), (-1, self.ignored)):
            for start, end in intervals:
                found[_first_centre(start) : _first_centre(end)] = value
        return found


@dataclass(frozen=True)
class LabelledSet:
    """Files labelled by one convention."""

    name: str
    files: tuple[LabelledFile, ...]


def load_sets(
    sources: Iterable[Path], only: Collection[str] = (), audio: Iterable[Path] = ()
) -> list[LabelledSet]:
    """Labelled sets from wherever they are.

    Args:
        sources: folders that hold `labels.jsonl`, such files, or label files (RTTM, TextGrid,
            Audacity's as .txt) beside their audio, or folders of these, one set a folder. All
            that they name is speech but `NOT_SPEECH`.
        only: names of the sets wanted; empty means all.
        audio: folders in and below which the audio of label files lies too.

    Returns:
        The sets in the order of their first file. Sets of one name are one set.

    Raises:
        DataError: nothing is labelled there, a line or label does not parse, audio is missing,
            or a wanted set is not there.
    """
    files: dict[str, dict[str, LabelledFile]] = {}
    elsewhere = _by_name(audio)
    for source in sources:
        for name, file in _read(source, elsewhere):
            of_set = files.setdefault(name, {})
            if file.name in of_set:
                raise DataError(f"{source}: {name}/{file.name} is labelled twice")
            of_set[file.name] = file
    if missing := sorted(set(only) - set(files)):
        raise DataError(f"no set {', '.join(missing)}; there are {', '.join(files) or 'none'}")
    return [
        LabelledSet(name, tuple(of_set.values()))
        for name, of_set in files.items()
        if not only or name in only
    ]


def _read(source: Path, elsewhere: Elsewhere) -> Iterator[tuple[str, LabelledFile]]:
    index = source / INDEX
    if index.is_file() or source.suffix == ".jsonl":
        yield from _indexed(index if index.is_file() else source)
    elif source.is_dir():
        files = sorted(path for path in source.rglob("*") if _is_label_file(path, elsewhere))
        if not files:
            raise DataError(f"{source}: neither {INDEX} nor label files beside audio in it")
        for path in files:
            for file in _labelled_by(path, elsewhere):
                beside = file.path.is_relative_to(source)
                name = str(file.path.relative_to(source)) if beside else file.name
                yield source.resolve().name, replace(file, name=name)
    elif source.suffix.lower() in LABEL_FORMATS:
        for file in _labelled_by(source, elsewhere):
            yield source.resolve().parent.name, file
    else:
        known = ", ".join(LABEL_FORMATS)
        raise DataError(f"{source}: no folder with {INDEX}, nor a label file ({known})")


def _indexed(index: Path) -> Iterator[tuple[str, LabelledFile]]:
    found = False
    for number, line in enumerate(index.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield _indexed_file(json.loads(line.decode()), index.parent)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{index}:{number}: not a labelled file ({error!r})") from error
        found = True
    if not found:
        raise DataError(f"{index}: no file is labelled in it")


def _indexed_file(row: dict[str, Any], folder: Path) -> tuple[str, LabelledFile]:
    file = LabelledFile(
        name=str(row["file"]),
        path=_existing(folder / row["file"]),
        speech=_intervals(row["speech"]),
        ignored=_intervals(row.get("ignored", ())),
    )
    return str(row.get("set") or folder.resolve().name), file


def _is_label_file(path: Path, elsewhere: Elsewhere) -> bool:
    # Not every .txt is a label track: audio of its name tells.
    suffix = path.suffix.lower()
    return suffix in LABEL_FORMATS and (
        suffix != ".txt" or _audio_of(path, path.stem, elsewhere) is not None
    )


def read_marks(path: Path) -> list[Mark]:
    """What a label file marks; its suffix tells the format.

    Raises:
        DataError: an unknown suffix, or a file that does not parse.
    """
    if path.suffix.lower() not in LABEL_FORMATS:
        raise DataError(f"{path}: a label file ends in {', '.join(LABEL_FORMATS)}")
    try:
        return list(read_labels(_text(path), LABEL_FORMATS[path.suffix.lower()]))
    except (FormatError, UnicodeError) as error:
        raise DataError(f"{path}: {error}") from error


def _labelled_by(path: Path, elsewhere: Elsewhere) -> Iterator[LabelledFile]:
    """The files that one label file is about: several only in an RTTM."""
    marks = read_marks(path)
    # An RTTM with one recording may be called like the audio instead of naming it.
    names = {mark.file for mark in marks if mark.file is not None} or {path.stem}
    for name in sorted(names):
        audio = _audio_of(path, name, elsewhere)
        if audio is None and len(names) == 1:
            audio = _audio_of(path, path.stem, elsewhere)
        if audio is None:
            raise DataError(f"{path}: no audio called {name} beside it, nor where --audio says")
        speech = tuple(
            (max(0.0, mark.start), mark.end)
            for mark in marks
            if mark.file in (None, name) and mark.label.strip().lower() not in NOT_SPEECH
        )
        yield LabelledFile(str(PurePosixPath(name).parent / audio.name), audio, speech)


def _audio_of(path: Path, name: str, elsewhere: Elsewhere) -> Path | None:
    """The audio of that name beside a label file, or below, else in the other folders given."""
    *folders, last = name.split("/")
    folder = path.parent.joinpath(*folders)
    if folder.is_dir() and ".." not in folders:
        beside = [each for each in sorted(folder.iterdir()) if _is_sound(each)]
        if found := [each for each in beside if last in recording_ids(each.name)]:
            return found[0]
    others = elsewhere.get(name, [])
    if len(others) > 1:
        named = " and ".join(map(str, others))
        raise DataError(f"{path}: which audio is {name}? There are {named}")
    return others[0] if others else None


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES | VIDEO_SUFFIXES


def _by_name(folders: Iterable[Path]) -> Elsewhere:
    found: Elsewhere = {}
    for folder in folders:
        for path in filter(_is_sound, sorted(folder.rglob("*"))):
            below = path.relative_to(folder).as_posix()
            for name in recording_ids(path.name) | recording_ids(below):
                found.setdefault(name, []).append(path)
    return found


def _text(path: Path) -> str:
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")


def _intervals(rows: Sequence[Sequence[float]]) -> tuple[Interval, ...]:
    intervals = tuple((float(start), float(end)) for start, end in rows)
    for start, end in intervals:
        if not 0 <= start <= end < math.inf:
            raise ValueError(f"{start:g} to {end:g} is no interval")
    return intervals


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: labelled, but not there")
    return path


def _first_centre(seconds: float) -> int:
    """The first frame whose centre is not before that time."""
    # Rounding keeps 0.005 s, whose product is a hair above ½, at the centre of frame 0.
    return max(0, int(np.ceil(round(seconds * FRAMES_PER_SECOND - 0.5, 6))))
