"""Which recordings there are: of folders, patterns, single files and manifests, local or in stores.

recordings/                 every file below it whose suffix is one of audio or video
's3://bucket/calls/**.mp3'  whatever fits: ** stands for any depth, * and ? stay in one folder
calls/1.wav                 itself, whatever its suffix
manifest.parquet            one row a recording, in a column `uri` or `path`; also .csv, .tsv,
                            .jsonl, .ndjson, and lines of .txt or .lst; - is standard input
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vad.batch.storage import as_uri, fetch, local_path, locate, relative_name
from vad.batch.work import Recording
from vad.errors import DataError, ParameterError
from vad.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_COLUMNS = ("uri", "path", "file", "url", "audio", "audio_filepath", "wav")
_WILD = re.compile(r"[*?[]")


@dataclass
class Listing:
    """What was found.

    Attributes:
        recordings: each URI once, in the order in which it was found.
        left_out: how many files of folders have no suffix of audio or video.
    """

    recordings: list[Recording] = field(default_factory=list)
    left_out: int = 0


def list_recordings(sources: Iterable[str]) -> Listing:
    """The recordings of all sources.

    Args:
        sources: folders, patterns, files or manifests, as above.

    Raises:
        ParameterError: nothing was found.
        DataError: a manifest that can't be read.
        OSError: a folder or a store that can't be listed, or a file that isn't there.
    """
    listing = Listing()
    found: dict[str, Recording] = {}
    sources = list(sources)
    for source in sources:
        for recording in _recordings(source, listing):
            found.setdefault(recording.uri, recording)
    if not found:
        others = f" ({listing.left_out} others)" * bool(listing.left_out)
        raise ParameterError("sources", f"no audio files in {', '.join(sources)}{others}")
    listing.recordings = list(found.values())
    return listing


def _recordings(source: str, listing: Listing) -> Iterator[Recording]:
    reader = _MANIFESTS.get(source.rpartition(".")[2].lower())
    if source == "-":
        yield from _of_rows(_lines(sys.stdin.buffer), "standard input", "")
    elif reader is not None and not _WILD.search(source):
        with _opened(source) as file:
            yield from _of_rows(reader(file), source, _folder(source))
    elif (path := local_path(source)) is not None:
        yield from _local(path, listing)
    else:
        yield from _remote(source, listing)


def _local(path: str, listing: Listing) -> Iterator[Recording]:
    if os.path.isdir(path):
        for name in _walk(path, deep=True):
            if _hidden(name, path):
                continue
            if _is_audio(name):
                yield _stat(name, path)
            else:
                listing.left_out += 1
    elif _WILD.search(path) and not os.path.lexists(path):
        root = _fixed(path.replace(os.sep, "/"))
        fits = _pattern(path.replace(os.sep, "/"))
        for name in _walk(root or ".", deep=_is_deep(path, root)):
            name = name if root else os.path.relpath(name)
            if fits(name.replace(os.sep, "/")):
                yield _stat(name, root)
    else:
        yield _stat(path, os.path.dirname(path))


def _walk(root: str, *, deep: bool) -> Iterator[str]:
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(files))
        if not deep:
            return


def _raise(error: OSError) -> None:
    raise error


def _stat(path: str, root: str) -> Recording:
    about = os.stat(path)
    uri = as_uri(path)
    absolute = os.path.abspath(root or ".").replace(os.sep, "/")
    return Recording(uri, about.st_size, str(about.st_mtime_ns), relative_name(uri, absolute))


def _remote(source: str, listing: Listing) -> Iterator[Recording]:
    from pyarrow.fs import FileSelector, FileType

    root = _fixed(source) if _WILD.search(source) else source
    system, path = locate(root)
    fits: Callable[[str], bool] | None = None
    if root != source:
        fits = _pattern(source)
    else:
        info = system.get_file_info(path.rstrip("/") or path)
        if info.type == FileType.NotFound:
            raise FileNotFoundError(2, "there is neither a file nor a folder of that name", source)
        if info.type == FileType.File:
            yield _entry(info, source, root.rpartition("/")[0])
            return
    deep = fits is None or _is_deep(source, root)
    path = path.rstrip("/")
    for info in system.get_file_info(FileSelector(path, recursive=deep)):
        uri = f"{root.rstrip('/')}/{info.path[len(path) :].lstrip('/')}"
        if info.type != FileType.File or (fits and not fits(uri)):
            continue
        if fits is None and _hidden(uri, root):
            continue
        if fits is not None or _is_audio(uri):
            yield _entry(info, uri, root)
        else:
            listing.left_out += 1


def _entry(info: FileInfo, uri: str, root: str) -> Recording:
    changed = "" if info.mtime_ns is None else str(info.mtime_ns)
    return Recording(uri, info.size, changed, relative_name(uri, root.split("://", 1)[1]))


def _is_audio(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in AUDIO_SUFFIXES or suffix in VIDEO_SUFFIXES


def _hidden(name: str, root: str) -> bool:
    """Whether a name below `root` begins with a dot, as what file systems keep beside files."""
    below = name[len(root) :].replace(os.sep, "/").split("/")
    return any(part.startswith(".") and part not in (".", "..") for part in below)


def _fixed(pattern: str) -> str:
    """The folder before the first wild card, with its slash; empty for the current one."""
    return pattern[: _wild(pattern)].rpartition("/")[0] + "/" * ("/" in pattern[: _wild(pattern)])


def _wild(pattern: str) -> int:
    found = _WILD.search(pattern)
    return len(pattern) if found is None else found.start()


def _is_deep(pattern: str, root: str) -> bool:
    rest = pattern[len(root) :]
    return "**" in rest or "/" in rest.replace(os.sep, "/")


def _pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a name fits a pattern in which ** also stands for slashes."""
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if piece == "**/":
            parts.append("(?:.*/)?")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif len(piece) > 2 and piece[0] == "[":
            inner = piece[1:-1].replace("\\", "\\\\")
            parts.append(f"[{'^' + inner[1:] if inner[0] == '!' else inner}]")
        else:
            parts.append(re.escape(piece))
    compiled = re.compile("".join(parts), re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def _opened(source: str) -> BinaryIO:
    path = local_path(source)
    return fetch(source) if path is None else Path(path).open("rb")


def _folder(source: str) -> str:
    """Where a manifest lies, which is where its relative names begin."""
    path = local_path(source)
    where = source if path is None else os.path.abspath(path).replace(os.sep, "/")
    return where.rpartition("/")[0] + "/"


def _of_rows(rows: Iterable[Mapping[str, Any]], manifest: str, folder: str) -> Iterator[Recording]:
    number = 0
    parsed = iter(rows)
    try:
        while True:
            number += 1
            if (row := next(parsed, None)) is None:
                return
            yield _of_row(row, folder)
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{manifest}: row {number}: {error}") from error


def _of_row(row: Mapping[str, Any], folder: str) -> Recording:
    column = next((name for name in _COLUMNS if row.get(name)), None)
    if column is None:
        raise ValueError(f"has none of the columns {', '.join(_COLUMNS)}")
    uri = str(row[column])
    path = local_path(uri)
    size, etag = row.get("size"), row.get("etag")
    full = uri if path is None or os.path.isabs(path) else f"{folder}{path}"
    size = None if size in (None, "") else int(size)
    etag = "" if etag is None else str(etag)
    local = local_path(full)
    if local is None:
        return Recording(full, size, etag, relative_name(full))
    if not os.path.isfile(local):  # its row will say so
        named = as_uri(local)
        return Recording(named, size, etag, relative_name(named))
    found = _stat(local, "/")
    return found._replace(size=size or found.size, etag=etag or found.etag)


def _lines(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    for line in file:
        name = os.fsdecode(line).strip("\r\n")
        if name:
            yield {"uri": name}


def _json_lines(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    for line in file:
        if line.strip():
            yield _mapping(json.loads(line))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("is not a JSON object")
    return value


def _csv(delimiter: str) -> Callable[[BinaryIO], Iterator[Mapping[str, Any]]]:
    def rows(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
        text = (line.decode("utf-8-sig" if i == 0 else "utf-8") for i, line in enumerate(file))
        yield from csv.DictReader(text, delimiter=delimiter)

    return rows


def _parquet(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(file)
    known = [name for name in (*_COLUMNS, "size", "etag") if name in table.schema_arrow.names]
    for batch in table.iter_batches(columns=known):
        yield from batch.to_pylist()


_MANIFESTS: Mapping[str, Callable[[BinaryIO], Iterator[Mapping[str, Any]]]] = {
    "parquet": _parquet,
    "csv": _csv(","),
    "tsv": _csv("\t"),
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "txt": _lines,
    "lst": _lines,
}


def clashes(recordings: Iterable[Recording]) -> tuple[str, str] | None:
    """Two recordings whose results would have one name; None where there are none."""
    seen: dict[str, str] = {}
    for each in recordings:
        other = seen.setdefault(each.name, each.uri)
        if other != each.uri:
            return other, each.uri
    return None
