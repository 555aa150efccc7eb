"""Which recordings a command was given: files, folders to search, standard input."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from vad.errors import DecodeError, ParameterError
from vad.suffixes import AUDIO_SUFFIXES, RAW_SUFFIXES, VIDEO_SUFFIXES
from vad.terminal import complain

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Recording:
    """Something to listen to.

    Attributes:
        source: a path as given or found; `-` is standard input.
        name: what results call it: its path below the folder that was searched, else its file's
            name; distinct among the recordings of one run.
    """

    source: str
    name: str


def find_recordings(
    given: Sequence[str], *, recursive: bool, headerless: bool
) -> tuple[list[Recording], int]:
    """What was given, folders replaced by what is in them; each file once.

    Args:
        given: paths, and `-`.
        recursive: search folders; else each is a complaint.
        headerless: of folders, take what has no header rather than what has one.

    Returns:
        The recordings, and how many of `given` came to nothing; each was complained of.

    Raises:
        ParameterError: standard input is named twice.
    """
    if list(given).count(STANDARD_INPUT) > 1:
        raise ParameterError("files", "standard input, -, can be read once only")
    found: dict[str, Recording] = {}
    failed = 0
    for each in given:
        if each == STANDARD_INPUT:
            recordings = [Recording(each, "stdin")]
        elif not os.path.isdir(each):
            recordings = [Recording(each, PurePath(each).name)]
        elif recursive:
            recordings = list(_searched(each, RAW_SUFFIXES if headerless else _WITH_HEADER))
        else:
            recordings = []
            complain("is a folder: add --recursive (-r) to search it for recordings", each)
        failed += not recordings
        for recording in recordings:
            found.setdefault(os.path.abspath(recording.source), recording)
    return _told_apart(list(found.values())), failed


_WITH_HEADER = AUDIO_SUFFIXES | VIDEO_SUFFIXES


def _searched(folder: str, suffixes: frozenset[str]) -> Iterator[Recording]:
    """All sound below a folder in the order of its path; what was passed over is summed up."""
    passed_over: Counter[str] = Counter()
    recordings = 0
    for place, folders, files in os.walk(folder, onerror=complain):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        hidden = [name for name in folders if name.startswith(".")]
        passed_over.update(linked=len(links), hidden=len(hidden))
        folders[:] = sorted(set(folders).difference(hidden))
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif path.suffix.lower() not in suffixes:
                passed_over[path.suffix.lower() or "no suffix"] += 1
            else:
                recordings += 1
                yield Recording(str(path), path.relative_to(folder).as_posix())
    what = ", ".join(f"{count} {kind}" for kind, count in passed_over.most_common() if count)
    if not recordings:
        complain(f"no recordings in it{f', but {what}' if what else ''}", folder)
    elif what:
        complain(f"{recordings} recordings; passed over: {what}", folder)


def _told_apart(recordings: list[Recording]) -> list[Recording]:
    """With names below the deepest folder that holds all, where shorter ones are not distinct."""
    if len({each.name.casefold() for each in recordings}) == len(recordings):
        return recordings
    paths = [os.path.abspath(each.source) for each in recordings]
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # several drives of Windows
        common = ""
    return [
        each
        if each.source == STANDARD_INPUT
        else Recording(each.source, PurePath(os.path.relpath(path, common or None)).as_posix())
        for each, path in zip(recordings, paths, strict=True)
    ]


def standard_input() -> BinaryIO:
    """Its bytes.

    Raises:
        DecodeError: the process was started without one (`<&-`).
    """
    if sys.stdin is None:
        raise DecodeError("standard input is closed")
    return sys.stdin.buffer
