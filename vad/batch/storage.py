"""Where recordings lie and results go: paths of this machine, object stores, whatever fsspec opens.

A place is named by a path or by a URI, `s3://bucket/key`. Credentials, regions and endpoints come
from where each store's own tools look for them, such as AWS_PROFILE and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes, urlsplit

from vad.errors import MissingExtra, OutputError, ParameterError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_IN_MEMORY = 16 << 20  # bytes of a remote file; larger ones go through a temporary file
_CHUNK = 1 << 20
_OF_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_UNFINISHED = ".unfinished-"


def local_path(uri: str) -> str | None:
    """The path that `uri` means on this machine; None for another store's."""
    if uri.startswith("file://"):
        return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))
    return None if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", uri) else uri


def as_uri(path: str) -> str:
    """How a table names a local file: its absolute path, or where that isn't Unicode a file URI."""
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return Path(absolute).as_uri()
    return absolute


def locate(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path within it.

    Raises:
        ParameterError: no such kind of store, or what opens it isn't installed.
        OSError: the store can't be reached.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in _OF_ARROW:
        return _by_fsspec(uri)
    authority, _, path = rest.partition("/")
    system, base = _by_arrow(f"{scheme}://{authority}")
    return system, f"{base.rstrip('/')}/{path}" if path else base


@cache
def _by_arrow(root: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem
    from pyarrow.lib import ArrowException

    try:
        system, base = FileSystem.from_uri(root)
    except (ArrowException, ValueError) as error:
        raise ParameterError("uri", f"{root}: {error}") from error
    return system, str(base)


def _by_fsspec(uri: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        import fsspec
    except ImportError:
        raise MissingExtra("fsspec", "batch") from None
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise ParameterError("uri", f"{uri}: {error}") from error
    return PyFileSystem(FSSpecHandler(system)), path


def fetch(uri: str) -> BinaryIO:
    """A copy of a remote file, seekable, gone when it is closed.

    Decoders seek, and each seek in a store would be a request.

    Raises:
        OSError: it isn't there, may not be read, or the connection failed.
    """
    system, path = locate(uri)
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller's
    copy = cast(BinaryIO, spool)
    try:
        with system.open_input_stream(path) as stream:
            shutil.copyfileobj(cast("IO[bytes]", stream), copy, _CHUNK)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


class Folder:
    """Where results go; whatever is written there is there whole or not at all."""

    def __init__(self, uri: str) -> None:
        path = local_path(uri)
        self.uri = uri.rstrip("/") or "/"
        self.local = None if path is None else Path(path).absolute()
        if self.local is None:
            self._system, self._path = _output_system(self.uri)

    def check(self) -> None:
        """Makes the folder and writes in it, so that what can't be is known before the work.

        Raises:
            OutputError: it can't be made or written.
        """
        name = f"{_UNFINISHED}{uuid.uuid4().hex}"
        self.write(name, b"Can this be written?\n")
        self.remove(name)

    def names(self) -> list[str]:
        """The files in the folder itself, in order.

        Raises:
            OutputError: the folder can't be listed.
        """
        try:
            if self.local is not None:
                return sorted(os.listdir(self.local))
            from pyarrow.fs import FileSelector

            listed = self._system.get_file_info(FileSelector(self._path))
            return sorted(info.base_name for info in listed if info.is_file)
        except OSError as error:
            raise OutputError(f"{self.uri}: {_reason(error)}") from error

    def open(self, name: str) -> Any:
        """A file to read, as pyarrow.parquet takes it."""
        if self.local is not None:
            return str(self.local / name)
        return self._system.open_input_file(f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        """Removes a file that may be gone already; OutputError where that can't be."""
        try:
            if self.local is not None:
                (self.local / name).unlink(missing_ok=True)
            else:
                self._system.delete_file(f"{self._path}/{name}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.uri}/{name}: {_reason(error)}") from error

    def write(self, name: str, data: bytes, writer: str = "") -> None:
        """Writes a file under another name, and gives it its own once it is whole.

        Args:
            name: relative to the folder; folders on the way are made.
            data: all of it.
            writer: who writes one file after another, and so needs one other name for all.

        Raises:
            OutputError: it can't be; nothing of it is left behind.
        """
        parent, _, last = name.rpartition("/")
        partial = f"{parent}/" * bool(parent) + unfinished(writer or last)
        try:
            if self.local is not None:
                _write_local(self.local / partial, self.local / name, data)
            else:
                self._write_remote(f"{self._path}/{partial}", f"{self._path}/{name}", data)
        except OSError as error:
            raise OutputError(f"{self.uri}/{name}: {_reason(error)}") from error

    def _write_remote(self, partial: str, target: str, data: bytes) -> None:
        try:
            with self._system.open_output_stream(partial) as stream:
                stream.write(data)
            self._system.move(partial, target)
        except BaseException:
            with suppress(OSError):
                self._system.delete_file(partial)
            raise


def unfinished(writer: str) -> str:
    """What a file is called while it is written, by the file's own name or by its writer's.

    Always the same, so that the next run writes over what a killed one left behind; and short,
    since names have their limit.
    """
    return f"{_UNFINISHED}{hashlib.blake2s(writer.encode(), digest_size=10).hexdigest()}"


def _write_local(partial: Path, target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _output_system(uri: str) -> tuple[FileSystem, str]:
    try:
        system, path = locate(uri)
        system.create_dir(path, recursive=True)
    except (OSError, NotImplementedError) as error:
        raise OutputError(f"{uri}: {error}") from error
    return system, path.rstrip("/")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def relative_name(uri: str, root: str = "") -> str:
    """What a recording's results are called: its path below `root`, else its whole path.

    Never leads out of the folder that it is joined to.
    """
    path = local_path(uri)
    if path is not None:
        path = path.encode("utf-8", "replace").decode()
    rest = uri.split("://", 1)[1] if path is None else path.replace(os.sep, "/")
    if root and rest.startswith(root):
        rest = rest[len(root) :]
    parts = [part for part in PurePosixPath(rest).parts if part not in ("/", "..", ".")]
    return "/".join(part.replace(":", "_") for part in parts)
