"""Where training audio comes from: packs, plain folders, manifests, published datasets.

Every loader yields the same thing, a `Corpus` of `Clip`s; audio is decoded by `vad.audio`
alone, so torchaudio's I/O is never used.

    pack       corpus.json + clips.jsonl + audio parts of many clips each
    folder     any tree of audio files; the folder's name is the corpus' name
    manifest   *.jsonl, one clip a line: {"file", "start"?, "end"?, "id"?, "speaker"?, "speech"?}
    dataset    LibriSpeech, Speech Commands, LJSpeech, MUSAN as their releases unpack
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from vad.audio import load_mono
from vad.corpora.licences import canonical, is_avoided, is_stated, read_copyright
from vad.errors import AudioError, DataError, ParameterError
from vad.frames import SAMPLE_RATE
from vad.suffixes import AUDIO_SUFFIXES

Kind = Literal["speech", "noise", "music", "rir"]
KINDS: tuple[Kind, ...] = ("speech", "noise", "music", "rir")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Clip:
    """One stretch of one file.

    Attributes:
        id: unique within its corpus.
        path: the audio file.
        start, end: seconds within it; `end` None means to the file's end.
        speaker, lang: as far as known.
        group: what is held out together (a package, a session); else the id.
        speech: (start, end) in seconds from the clip's start where people labelled speech.
    """

    id: str
    path: Path
    start: float = 0.0
    end: float | None = None
    speaker: str | None = None
    lang: str | None = None
    group: str = ""
    speech: tuple[Interval, ...] | None = None


@dataclass(frozen=True)
class Corpus:
    """Clips of one origin and one licence.

    Attributes:
        wordless: whether these are voices that should say no words: clips that every reference
            takes for speech are left out when the corpus is prepared.
    """

    name: str
    kind: Kind
    licence: str
    clips: tuple[Clip, ...]
    wordless: bool = False

    def audio(self) -> Iterator[tuple[Clip, NDArray[np.float32]]]:
        """Each clip with its samples, [samples] float32 at 16 kHz; a file is decoded once.

        Files that do not decode are reported as `DataError` by the caller's choice: they are
        yielded with no samples at all, so that one broken file does not lose a corpus.
        """
        for path, clips in groupby(self.clips, key=lambda clip: clip.path):
            try:
                whole = load_mono(path)
            except (AudioError, OSError):
                whole = np.zeros(0, np.float32)
            for clip in clips:
                end = len(whole) if clip.end is None else round(clip.end * SAMPLE_RATE)
                yield clip, whole[round(clip.start * SAMPLE_RATE) : end]


def find_corpora(root: Path) -> list[Corpus]:
    """All corpora below `root`: `<kind>/<name>/` packs or folders, and `<kind>/*.jsonl` manifests.

    Raises:
        DataError: nothing is there.
    """
    found: list[Corpus] = []
    for kind in KINDS:
        place = root / kind
        if not place.is_dir():
            continue
        if kind == "rir":
            found.append(folder(place, kind, name="rir"))
            continue
        for entry in sorted(place.iterdir()):
            if (entry / "corpus.json").is_file():
                found.append(pack(entry, kind))
            elif entry.is_dir():
                found.append(folder(entry, kind))
            elif entry.suffix == ".jsonl":
                found.append(manifest(entry, kind))
    found = [corpus for corpus in found if corpus.clips]
    if not found:
        raise DataError(
            f"{root}: no corpora; expected speech/, noise/, music/ or rir/ with audio in it. "
            "Recordings with labels beside them are read with --labelled"
        )
    return found


def pack(path: Path, kind: Kind) -> Corpus:
    """A pack: many clips joined into a few files, cut by `clips.jsonl`."""
    (about,) = _rows(path / "corpus.json", whole=True)
    name = about["corpus"]
    if not names_a_folder(name):
        raise DataError(f"{about.where}: {name!r} can't be a corpus's name")
    clips = [
        _clip(row, path, row["id"], row.get("package") or row["id"], row["start"], row["end"])
        for row in _rows(path / "clips.jsonl")
    ]
    clips.sort(key=lambda clip: (clip.path, clip.start))
    return Corpus(name, kind, str(about.get("licence") or "unknown"), tuple(clips))


def _clip(row: _Row, folder: Path, id: Any, group: Any, start: Any, end: Any) -> Clip:
    """A clip that a row of a pack or of a manifest describes.

    Raises:
        DataError: a time that is none, or a name that is no text.
    """
    try:
        clip = Clip(
            id=str(id),
            path=folder / row["file"],
            start=float(start),
            end=None if end is None else float(end),
            speaker=row.get("speaker"),
            lang=row.get("lang"),
            group=str(group),
            speech=_intervals(row.get("speech")),
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{row.where}: not a clip ({error})") from error
    if not 0 <= clip.start < inf or not (clip.end is None or isfinite(clip.end)):
        raise DataError(f"{row.where}: no clip lies from {clip.start:g} s to {clip.end} s")
    return clip


def folder(path: Path, kind: Kind, name: str | None = None) -> Corpus:
    """Every audio file below a folder; `*.lab` beside a file is read as its phone labels.

    A `copyright` file in it, as Debian packages have, names the licence.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    labels = {lab.stem: lab for lab in path.rglob("*.lab")}
    clips = [
        Clip(
            id=str(file.relative_to(path)),
            path=file,
            group=path.name,
            speech=phone_labels(labels[file.stem]) if file.stem in labels else None,
        )
        for file in files
    ]
    stated = path / "copyright"
    licence = read_copyright(stated) if stated.is_file() else "unknown"
    return Corpus(name or path.name, kind, licence, tuple(clips))


def manifest(path: Path, kind: Kind, licence: str = "unknown") -> Corpus:
    """A JSON Lines manifest; relative files are relative to it."""
    clips = []
    for number, row in enumerate(_rows(path)):
        name = row.get("id", number)
        group, start = row.get("group", name), row.get("start", 0)
        clips.append(_clip(row, path.parent, name, group, start, row.get("end")))
    return Corpus(path.stem, kind, licence, tuple(clips))


def _intervals(speech: list[list[float]] | None) -> tuple[Interval, ...] | None:
    return None if speech is None else tuple((float(a), float(b)) for a, b in speech)


def phone_labels(path: Path) -> tuple[Interval, ...]:
    """Speech intervals of a festvox `.lab` file: lines of `end colour phone` after a `#`.

    Raises:
        DataError: a line that is neither.
    """
    speech: list[Interval] = []
    start, begun = 0.0, False
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.strip() == "#":
            begun = True
        elif begun and line.strip():
            try:
                end_text, _, phone = line.split()[:3]
                end = float(end_text)
            except ValueError as error:
                raise DataError(f"{path}: not a label line: {line!r}") from error
            if phone not in {"pau", "sil", "#", "h#", "ssil"}:
                joined = speech and speech[-1][1] == start
                speech[-1:] = [(speech[-1][0], end)] if joined else [*speech[-1:], (start, end)]
            start = end
    return tuple(speech)


# Kind, licence and where the audio lies below the folder that a release unpacks into.
DATASETS: dict[str, tuple[Kind, str, str]] = {
    "librispeech": ("speech", "CC BY 4.0", "**/*-*-*.flac"),
    "speech-commands": ("speech", "CC BY 4.0", "**/*_nohash_*.wav"),
    "ljspeech": ("speech", "public domain", "**/wavs/LJ*.wav"),
    "musan-noise": ("noise", "CC BY 4.0 and public domain", "**/noise/*/*.wav"),
    "musan-music": ("music", "CC BY 4.0 and public domain", "**/music/*/*.wav"),
}


def dataset_corpus(name: str, root: Path) -> Corpus:
    """A published dataset as its release unpacks, whatever folders are above it.

    Args:
        name: a key of `DATASETS`.
        root: the folder it was unpacked into.

    Raises:
        DataError: unknown name, or no file of such a dataset below `root`.
    """
    if name not in DATASETS:
        raise DataError(f"{name}: unknown dataset; known are {', '.join(DATASETS)}")
    kind, licence, pattern = DATASETS[name]
    paths = sorted(root.glob(pattern))
    if not paths:
        raise DataError(f"{name}: no {pattern} below {root}")
    clips = tuple(
        Clip(id=path.stem, path=path, speaker=re.split("[-_]", path.stem)[0], group=path.stem)
        for path in paths
    )
    return Corpus(name, kind, licence, clips)


class _Row(dict[str, Any]):
    """A JSON object that says where it stands when a key is missing."""

    where = ""

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self.where}: {key!r} is missing")


def _rows(path: Path, *, whole: bool = False) -> Iterator[_Row]:
    """The JSON objects of a file, one a line, or one as the `whole` file."""
    data = path.read_bytes()
    for number, part in enumerate([data] if whole else data.split(b"\n"), 1):
        if not whole and not part.strip():
            continue
        try:
            row = _Row(json.loads(part.decode()))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a JSON object ({error})") from error
        row.where = f"{path}:{number}"
        yield row


def names_a_folder(name: object) -> bool:
    """Whether it is a text that a folder may be called, and that leads nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def leave_out(
    corpora: Sequence[Corpus], without: str | None
) -> tuple[list[Corpus], list[Corpus], list[Corpus]]:
    """Corpora by whether their licences are allowed: (kept, left out, kept though unstated).

    Args:
        corpora: to be parted; the third list's are in the first too.
        without: licences, parted by commas; `unknown` means corpora that state none.

    Raises:
        ParameterError: `without` holds nothing but commas.
    """
    if without is None:
        return list(corpora), [], []
    avoided = [each for each in without.split(",") if each.strip()]
    if not avoided:
        raise ParameterError("without", "name licences, parted by commas: GPL,CC-BY-SA")
    unknown = "UNKNOWN" in map(canonical, avoided)
    kept: list[Corpus] = []
    left: list[Corpus] = []
    doubtful: list[Corpus] = []
    for corpus in corpora:
        unstated = not is_stated(corpus.licence)
        if (unstated and unknown) or is_avoided(corpus.licence, avoided):
            left.append(corpus)
        else:
            kept.append(corpus)
            doubtful += [corpus] if unstated else []
    return kept, left, doubtful


@dataclass(frozen=True)
class Length:
    """Of a corpus.

    Attributes:
        hours: of the clips whose length is known.
        unknown: clips whose length no header tells.
    """

    hours: float
    unknown: int

    def __str__(self) -> str:
        return f"{'≥ ' if self.unknown else ''}{self.hours:.2f}"


def length(corpus: Corpus) -> Length:
    """The sum over its clips; a file that does not open counts as unknown."""
    seconds, unknown = 0.0, 0
    for clip in corpus.clips:
        end = duration(clip.path) if clip.end is None else clip.end
        if end is None:
            unknown += 1
        else:
            seconds += max(0.0, end - clip.start)
    return Length(seconds / 3600, unknown)


def thinned(corpus: Corpus, hours: float) -> Corpus:
    """At most about so many hours of a corpus: the same clips each time, drawn by their names.

    Clips whose length no header tells count as nothing.
    """
    left, kept = hours * 3600, set()
    for clip in sorted(corpus.clips, key=lambda clip: zlib.crc32(clip.id.encode())):
        if left <= 0:
            break
        kept.add(clip.id)
        end = duration(clip.path) if clip.end is None else clip.end
        left -= max(0.0, (end or clip.start) - clip.start)
    return replace(corpus, clips=tuple(clip for clip in corpus.clips if clip.id in kept))


def duration(path: Path) -> float | None:
    """Seconds of audio by the file's header, nothing decoded; None if it does not tell."""
    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, OSError):
        pass  # compressed telephone audio and the like: FFmpeg knows more
    try:
        with av.open(path) as container:
            return None if container.duration is None else container.duration / av.time_base
    except (av.FFmpegError, OSError):
        return None
