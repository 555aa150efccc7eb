"""Where results go: never onto a recording, and whole or not at all."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from vad.errors import ParameterError
from vad.formats import SUFFIXES, format_of

STANDARD_OUTPUT = Path("-")
_HEAD = 4096  # bytes in which a file that is no text has a zero


def chosen_format(output: Path | None, asked: str | None) -> str | None:
    """The format that was asked for, or that the name of the file tells; None if neither.

    Raises:
        ParameterError: they disagree, the name tells nothing, or it is a folder's.
    """
    if output is None:
        return asked
    if output.is_dir():
        raise ParameterError("output", f"{output} is a folder: name a file, or give --output-dir")
    told = format_of(output)
    if asked is None and told is None:
        known = ", ".join(suffixes[0] for suffixes in SUFFIXES.values())
        raise ParameterError(
            "output", f"{output.name} tells no format: end it in one of {known}, or give --format"
        )
    # Any format but JSON may be called .txt.
    if asked not in (None, told) and told is not None and output.suffix.lower() != ".txt":
        raise ParameterError("format", f"is {asked}, but {output.name} is named as {told}")
    return asked or told


def check_target(
    option: str, path: Path | None, inputs: Iterable[str] = (), suffix: str = ""
) -> None:
    """Refuses, before all the work, a file that cannot be written or that would be a loss.

    Args:
        option: named in the error.
        path: the file to write; None is none.
        inputs: paths that are read, and must stay.
        suffix: that the file must have.

    Raises:
        ParameterError: a folder, or in none; an input by whatever name or link; or something that
            is no text, such as a recording, unless `suffix` says that it is of its kind.
    """
    if path is None:
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ParameterError(option, f"{path} is a folder, or lies in none")
    if suffix and path.suffix.lower() != suffix:
        raise ParameterError(option, f"{path.name} must end in {suffix}")
    if not path.is_file():
        if path.exists() or os.access(path.absolute().parent, os.W_OK):
            return
        raise ParameterError(option, f"{path.absolute().parent} may not be written into")
    if any(_same(path, each) for each in inputs):
        raise ParameterError(option, f"{path} is one of the recordings: write to another file")
    if not suffix and b"\0" in _head(path):
        raise ParameterError(
            option, f"{path} is there and is no text, perhaps a recording: write to another file"
        )


def check_absent(option: str, path: Path, overwrite: bool) -> None:
    """Refuses what is there already, unless it is to be replaced.

    Raises:
        ParameterError: `option` is named.
    """
    if path.exists() and not overwrite:
        raise ParameterError(option, f"{path} is there already: --overwrite replaces it")


def make_folder(option: str, folder: Path) -> None:
    """Makes a folder, and those that it lies in, where it is not there yet.

    Raises:
        ParameterError: it cannot be made, or not be written into; `option` is named.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ParameterError(option, f"{folder} is a file, or lies in one") from None
    if not os.access(folder, os.W_OK):
        raise ParameterError(option, f"{folder} may not be written into")


def print_whole(text: str, format: str) -> None:
    """Writes to standard output; what its encoding lacks is escaped.

    Raises:
        OSError: it cannot be written, as to a full disk.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    escape = "json_escape" if format in ("json", "ndjson") else "backslashreplace"
    sys.stdout.write(text.encode(encoding, escape).decode(encoding))
    sys.stdout.flush()


def _json_escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
    return escaped, error.end


codecs.register_error("json_escape", _json_escape)


def _same(path: Path, other: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.stat(other))
    except OSError:  # either is not there
        return False


def _head(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode) or not os.access(path, os.R_OK):
        return b""
    with open(path, "rb") as file:
        return file.read(_HEAD)
