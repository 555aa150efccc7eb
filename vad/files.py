"""Files that callers bring, open or by their path, and files that are written whole."""

from __future__ import annotations

import errno
import inspect
import io
import os
import secrets
import shutil
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from vad.errors import ParameterError


def open_path(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: says what is wrong with the path.
        ParameterError: it is none, as it holds a zero.
    """
    if not os.fspath(path):
        raise FileNotFoundError(errno.ENOENT, "the file's name is empty", "")
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "is a directory, not an audio file", os.fspath(path))
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        if "://" not in os.fspath(path):
            raise
        told = "is an address, not a file: download it first"
        raise FileNotFoundError(error.errno, told, os.fspath(path)) from None
    except ValueError as error:
        raise ParameterError("audio", f"{os.fspath(path)!r} is no path: {error}") from None


def binary_file(
    source: object, kinds: str = "a path, bytes, a binary file or a numpy array"
) -> tuple[BinaryIO, str | None]:
    """An open file that gives bytes, and its name if it has one.

    Args:
        source: a binary file object. Of an upload whose own `read` is asynchronous, such as
            Starlette's, the file that it holds is taken.
        kinds: what might have been given, for the error.

    Raises:
        ParameterError: anything else, with a word on what to give.
    """
    name = getattr(source, "name", None)
    if _is_async(source):
        name, source = getattr(source, "filename", None), getattr(source, "file", source)
        if _is_async(source):
            told = "is read asynchronously: give the bytes that `await ….read()` returns"
            raise ParameterError("audio", told)
    if not hasattr(source, "read"):
        raise ParameterError("audio", f"must be {kinds}, not {type(source).__name__}")
    if getattr(source, "closed", False):
        raise ParameterError("audio", "the file is closed: give it open, or its path")
    if isinstance(source, io.TextIOBase):
        raise ParameterError("audio", "the file is open in text mode; open it in binary mode")
    if not getattr(source, "readable", lambda: True)():
        raise ParameterError("audio", "the file is not open for reading")
    return cast(BinaryIO, source), PurePath(name).name if isinstance(name, str) else None


def write_whole(path: Path, data: bytes) -> None:
    """Makes or replaces a file, whole or not at all; a device or pipe is written to.

    Raises:
        OSError: it cannot be written. What was there before is then still there.
    """
    path = Path(os.path.realpath(path))  # the file, not the link to it
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    partial = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        # A file mounted by itself, or in a folder of others, cannot be replaced.
        if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM) or not path.exists():
            raise OSError(error.errno, error.strerror, str(path)) from None
        path.write_bytes(data)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _is_async(source: object) -> bool:
    return inspect.iscoroutinefunction(getattr(source, "read", None))
