"""One file → one row, the same wherever it is computed."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from vad.audio import Channels, open_audio
from vad.batch.storage import Folder, fetch, local_path, relative_name
from vad.config import DEFAULT_MODEL, Segmentation
from vad.detector import Detector
from vad.errors import ModelError, OutputError
from vad.formats import render
from vad.inference.engine import Engine
from vad.nn import weights
from vad.segments import Segments

Row = dict[str, Any]
"""A row of the table; `vad.batch.table` has the columns and their types."""

# Waits, in seconds, before a file that couldn't be read is tried again: what is transient on a
# network is over in seconds, and stores' own clients have tried before.
WAITS_S = (0.5, 2.0)

_NOT_TRANSIENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_REFUSED = ("ACCESS_DENIED", "NO_SUCH_KEY", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID")


class Recording(NamedTuple):
    """A file as it was listed.

    Attributes:
        uri: its absolute path, or where it lies in a store.
        size: bytes; None where the listing doesn't say.
        etag: what changes when the file does: nanoseconds of its last change, or what the
            manifest says; empty where neither is known.
        name: what its own results are called, without a suffix.
    """

    uri: str
    size: int | None = None
    etag: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done to each file. It is sent to every worker, so it holds names, not weights.

    Attributes:
        model: a name or a folder, as for `Detector.load`.
        sha256: of the weights, which every worker must have; None where any will do.
        device: as for `Detector.load`.
        segmentation: thresholds and durations.
        channels: `mix`, `separate` or the index of one.
        encoding, sample_rate: of headerless PCM.
        formats: of `vad.formats.FORMATS`; each recording gets a file of each.
        output: the folder of those files.
    """

    model: str = DEFAULT_MODEL
    sha256: str | None = None
    device: str = "auto"
    segmentation: Segmentation = field(default_factory=Segmentation)
    channels: Channels = "mix"
    encoding: str | None = None
    sample_rate: int | None = None
    formats: tuple[str, ...] = ()
    output: str = ""

    @property
    def params(self) -> str:
        """All that the answer depends on beside the model, as JSON."""
        values = {**self.segmentation.effective(), "channels": self.channels}
        if self.encoding is not None:
            values |= {"encoding": self.encoding, "sample_rate": self.sample_rate}
        return json.dumps(values, sort_keys=True)


class Worker:
    """Makes rows; loads the model once.

    Raises:
        ModelNotFound, CorruptModel, ParameterError: as `Detector.load`.
        ModelError: the model of this name is another one on this machine.
        OutputError: the folder for results can't be made.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        model = weights.load(work.model)
        # In one thread, for there is a worker for each core.
        engine = Engine(model, work.device, threads=1)
        self._detector = Detector(model, work.device).using(engine)
        if work.sha256 not in (None, self._detector.sha256):
            raise ModelError(
                f"{work.model} on {socket.gethostname()} is {self._detector.sha256:.12}…, "
                f"not {work.sha256:.12}…: install the same version everywhere"
            )
        self._folder = Folder(work.output) if work.formats else None
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def row(self, recording: Recording | str) -> Row:
        """Analyses a recording; whatever is wrong with it stands in its row.

        Args:
            recording: a path or URI will do.

        Returns:
            A row whose `status` is `ok` or `error`.

        Raises:
            OutputError: its results can't be written, which isn't the recording's fault.
        """
        if isinstance(recording, str):
            recording = Recording(recording)
        start = time.perf_counter()
        row = empty_row(recording, self._work, self._detector.sha256, self._name)
        try:
            found = _with_patience(lambda: self._detect(recording.uri))
            self._write(recording, found)
        except OutputError as error:
            if not _too_long(error):
                raise
            row |= failure(error)
        except Exception as error:  # a file that brings out a mistake of ours stops no other
            row |= failure(error)
        else:
            row |= _findings(found)
        return {**row, "seconds": round(time.perf_counter() - start, 6)}

    def _detect(self, uri: str) -> Segments:
        path = local_path(uri)
        if path is not None:
            return self._analysed(path)
        with fetch(uri) as copy:
            return self._analysed(copy, uri.rpartition("/")[2])

    def _analysed(self, source: str | BinaryIO, name: str | None = None) -> Segments:
        work = self._work
        reader = open_audio(source, sample_rate=work.sample_rate, encoding=work.encoding, name=name)
        return self._detector.detect(reader, segmentation=work.segmentation, channels=work.channels)

    def _write(self, recording: Recording, found: Segments) -> None:
        name = recording.name or relative_name(recording.uri)
        for format in self._work.formats:
            assert self._folder is not None
            self._folder.write(f"{format}/{name}.{format}", render(found, format).encode())


def empty_row(recording: Recording, work: Work, sha256: str | None, worker: str) -> Row:
    """A row that says which file it is about and what was asked."""
    return {
        "uri": recording.uri,
        "size": recording.size,
        "etag": recording.etag,
        "status": "error",
        "duration": None,
        "speech": None,
        "segments": None,
        "warnings": None,
        "error_type": None,
        "error": None,
        "model": PurePosixPath(work.model.replace(os.sep, "/")).name,
        "sha256": sha256,
        "params": work.params,
        "worker": worker,
        "seconds": None,
    }


def failure(error: BaseException) -> Row:
    """The columns of what went wrong, on one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    return {
        "status": "error",
        "error_type": type(error).__name__,
        "error": " ".join(text.encode("utf-8", "replace").decode().split()),
    }


def _findings(found: Segments) -> Row:
    return {
        "status": "ok",
        "duration": found.duration,
        "speech": round(sum(each.end - each.start for each in found.speech), 3),
        "segments": [
            {
                "channel": each.channel,
                "start": each.start,
                "end": each.end,
                "label": each.label,
                "confidence": each.confidence,
            }
            for each in found.segments
        ],
        "warnings": list(found.warnings),
    }


def _with_patience(attempt: Callable[[], Segments]) -> Segments:
    """Tries again what failed for a reason that may pass."""
    for wait in WAITS_S:
        try:
            return attempt()
        except OSError as error:
            if not _transient(error):
                raise
            time.sleep(wait)
    return attempt()


def _transient(error: OSError) -> bool:
    return not isinstance(error, _NOT_TRANSIENT) and not any(w in str(error) for w in _REFUSED)


def _too_long(error: OutputError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG
