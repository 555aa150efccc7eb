"""Decoding in a process of its own, which no file can take the caller down with.

A decoder is a large body of C that reads what strangers send. Here it runs in a child process,
which takes one file after the other and answers with the audio in blocks; the connection is all
that it shares with its parent. What takes too much CPU time or memory is ended by the kernel,
and what crashes costs that file alone: the next one gets another child.

    of itself                READY, once it has started
    request                  REQUEST and JSON; then the file's descriptor, if it has no path
    answer                   INFO, then BLOCKs, then END; or FAILURE in place of the rest
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import PurePath
from time import perf_counter
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np

from vad.audio.bytestream import spool
from vad.audio.pcm import Samples
from vad.audio.reader import AudioReader, SourceInfo
from vad.audio.source import Source, open_audio
from vad.errors import (
    AudioError,
    AudioTooLong,
    DecodedTooLarge,
    DecodeError,
    DecoderCrashed,
    DecodeTooSlow,
    ParameterError,
    UnsupportedAudio,
)

READY, REQUEST, INFO, BLOCK, END, FAILURE = b"s", b"r", b"i", b"b", b"e", b"f"
_POSIX = os.name == "posix"
_COMMAND = "import sys; from vad.audio.sandbox import serve; serve(*map(int, sys.argv[1:]))"
_ERRORS = {kind.__name__: kind for kind in (AudioError, DecodeError, UnsupportedAudio)}
_NO_LIMIT = 0


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may take; None is no limit.

    Attributes:
        seconds: of work. Of a pipe only CPU time counts, since it may rest.
        audio_seconds: that come out.
        decoded_bytes: that come out, four a sample and channel.
        memory_bytes: of the process, where the system can limit it.
    """

    seconds: float | None = None
    audio_seconds: float | None = None
    decoded_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Undecoded:
    """What is to be decoded.

    Attributes:
        source: a path, or a file with a descriptor; which may be the reading end of a pipe.
        name: to go by.
        sample_rate, encoding: of headerless PCM.
    """

    source: str | BinaryIO
    name: str
    sample_rate: int | None = None
    encoding: str | None = None


class DecoderProcess:
    """A child that decodes.

    Args:
        memory_bytes: that it may have.
        niceness: by how much it stands back for others.

    Attributes:
        memory_bytes: the same.
        connection: to it.
        idle: whether it waits for a request.
        pid: its number.
    """

    def __init__(self, memory_bytes: int | None = None, niceness: int = 0) -> None:
        self.memory_bytes = memory_bytes
        self.connection, theirs = Pipe()
        self.idle, self._killed, self._ready = True, False, False
        handle = theirs.fileno()
        with theirs:
            if not _POSIX:
                os.set_handle_inheritable(handle, True)  # type: ignore[attr-defined]
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _COMMAND, str(handle)),
                    *(str(memory_bytes or _NO_LIMIT), str(niceness)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[handle] if _POSIX else [],
                close_fds=_POSIX,
                start_new_session=True,  # Ctrl-C is for the parent
                env=_environment(),
            )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        return not self._killed and self._process.poll() is None

    def wait_ready(self) -> None:
        """Waits until it has started.

        Raises:
            EOFError, OSError: it ended before.
        """
        if not self._ready:
            self._ready = _received(self.connection) == READY

    def kill(self) -> None:
        """Ends it at once, whatever it does; from any thread."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """Kills it if it lives, and waits until it is gone."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def ended(self) -> int:
        """Exit status, negative for a signal, of one that has closed its end of the connection."""
        return self._process.wait()


class RemoteDecoder:
    """A file that is being decoded in another process: a `vad.audio.reader.Decoder`.

    Args:
        process: an idle one.
        what: the file; a pipe is handed over, and closed here.
        limits: of the file.
        check: called before each block; what it raises ends the work.

    Attributes:
        seconds: spent on waiting for blocks.

    Raises:
        AudioError, ParameterError, OSError: as `open_audio`.
        DecodeTooSlow, DecodedTooLarge, DecoderCrashed: the process was ended, or ended itself.
    """

    def __init__(
        self,
        process: DecoderProcess,
        what: Undecoded,
        limits: DecodeLimits = DecodeLimits(),
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self.seconds = 0.0
        self.warnings: list[str] = []
        self._process, self._limits, self._check = process, limits, check
        # A pipe may rest for as long as whoever fills it does.
        pipe = None if isinstance(what.source, str) or what.source.seekable() else what.source
        self._timed = pipe is None
        self._request(what)
        if pipe is not None:
            pipe.close()
        kind, data = self._receive()
        assert kind == INFO
        opened = json.loads(bytes(data))
        self.info = SourceInfo(**opened["info"])
        self.length: int | None = opened["length"]

    def blocks(self) -> Iterator[Samples]:
        """[samples, channels] each.

        Raises:
            AudioTooLong: they are more than `audio_seconds`.
            Exception: whatever else opening it raises; see the class.
        """
        limits = self._limits
        samples = received = 0
        while True:
            self._check()
            kind, data = self._receive()
            if kind == END:
                self.warnings += json.loads(bytes(data))["warnings"]
                return
            block = np.frombuffer(data, np.float32).reshape(-1, self.info.channels)
            samples, received = samples + len(block), received + len(data)
            most = limits.audio_seconds
            if most is not None and samples > most * self.info.sample_rate:
                raise AudioTooLong(f"a file may have {most:g} s of audio")
            if limits.decoded_bytes is not None and received > limits.decoded_bytes:
                raise DecodedTooLarge(
                    f"a file may have {limits.decoded_bytes} bytes once it is decoded"
                )
            yield block

    def close(self) -> None:
        """Nothing: the process is its owner's."""

    def _request(self, what: Undecoded) -> None:
        path = what.source if isinstance(what.source, str) else None
        values = {
            "path": path,
            "name": what.name,
            "sample_rate": what.sample_rate,
            "encoding": what.encoding,
            "seconds": self._limits.seconds,
        }
        self._process.idle = False
        with self._explained():
            self._process.wait_ready()
            connection = self._process.connection
            connection.send_bytes(REQUEST + json.dumps(values).encode())
            if not isinstance(what.source, str):
                # Kept out of the way of whoever has no such thing.
                reduction = importlib.import_module("multiprocessing.reduction")
                reduction.send_handle(connection, what.source.fileno(), self._process.pid)

    def _receive(self) -> tuple[bytes, memoryview]:
        started = perf_counter()
        most = self._limits.seconds
        with self._explained():
            connection = self._process.connection
            if (
                self._timed
                and most is not None
                and not connection.poll(max(0.0, most - self.seconds))
            ):
                raise self._too_slow()
            message = memoryview(_received(connection))
        kind, data = bytes(message[:1]), message[1:]
        self.seconds += perf_counter() - started
        self._process.idle = kind in (END, FAILURE)
        if kind == FAILURE:
            raise self._failure(json.loads(bytes(data)))
        return kind, data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says why the process doesn't answer."""
        try:
            yield
        except (EOFError, OSError):  # the latter in the middle of a message
            self._check()
            status = self._process.ended()
            if _POSIX and status == -signal.SIGPROF:
                raise self._too_slow() from None
            raise DecoderCrashed(f"the decoder crashed on it ({_told(status)})") from None

    def _too_slow(self) -> DecodeTooSlow:
        return DecodeTooSlow(f"a file may take {self._limits.seconds:g} s to decode")

    def _failure(self, values: dict[str, Any]) -> Exception:
        kind, message = values["kind"], values["message"]
        if kind == "ParameterError":
            return ParameterError(values["param"], message)
        if kind == "MemoryError" and self._limits.memory_bytes is None:
            return DecodeError(message or "decoding it takes more memory than there is")
        if kind == "MemoryError":
            limit = self._limits.memory_bytes
            return DecodedTooLarge(f"decoding it takes more than {limit} bytes of memory")
        if kind in _ERRORS:
            return _ERRORS[kind](message)
        if values.get("path") is not None:
            return OSError(values["errno"], values["strerror"], values["path"])
        return DecoderCrashed(f"the decoder could not read it ({kind})")


class Sandbox:
    """Opens files as `open_audio` does, in a child process that is kept from file to file.

    The child starts at once, so that it is ready when the first file comes. A context manager;
    for one thread.

    Args:
        limits: of each file.
    """

    def __init__(self, limits: DecodeLimits = DecodeLimits()) -> None:
        self._limits = limits
        self._idle: DecoderProcess | None = self._spawn()
        self._lent: DecoderProcess | None = None

    def open(
        self,
        source: Source,
        *,
        sample_rate: int | None = None,
        encoding: str | None = None,
        name: str | None = None,
    ) -> AudioReader:
        """As `open_audio`, whose errors it raises; an array is taken as it is.

        Raises:
            DecoderCrashed: the decoder did; here or while blocks are read.
            DecodeTooSlow, DecodedTooLarge, AudioTooLong: a limit was reached.
        """
        if not isinstance(source, str) and hasattr(source, "__array__"):
            return open_audio(source, sample_rate=sample_rate, encoding=encoding, name=name)
        copy: BinaryIO | None = None
        file: str | BinaryIO
        if isinstance(source, str | os.PathLike):
            file, name = os.fspath(source), name or PurePath(source).name
            file = file and os.path.abspath(file)  # the empty one is no folder
        elif not _POSIX:  # only a path can be handed over
            return open_audio(source, sample_rate=sample_rate, encoding=encoding, name=name)
        elif _has_descriptor(source):
            file = cast(BinaryIO, source)
            own = getattr(source, "name", None)
            name = name or (PurePath(own).name if isinstance(own, str) else None)
        else:
            file = copy = _copied(source)
        what = Undecoded(file, name or "audio", sample_rate, encoding)
        process = self._take()

        def close() -> None:
            if copy is not None:
                copy.close()
            self._give_back(process)

        try:
            return AudioReader(RemoteDecoder(process, what, self._limits), what.name, close)
        except BaseException:
            close()
            raise

    def close(self) -> None:
        """Ends the child; from any thread, whatever it is at."""
        if self._lent is not None:
            self._lent.kill()
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _spawn(self) -> DecoderProcess:
        return DecoderProcess(self._limits.memory_bytes)

    def _take(self) -> DecoderProcess:
        process, self._idle = self._idle, None
        if process is not None and not process.alive:
            process.close()
            process = None
        self._lent = process or self._spawn()
        return self._lent

    def _give_back(self, process: DecoderProcess) -> None:
        self._lent = None
        if process.idle and process.alive and self._idle is None:
            self._idle = process
        else:
            process.close()


def _received(connection: Connection) -> bytes:
    """The next message.

    Raises:
        EOFError: the other side has gone.
    """
    try:
        return connection.recv_bytes()
    except OSError as error:
        if error.errno is None:  # "got end of file during message"
            raise EOFError from None
        raise


def _has_descriptor(source: object) -> bool:
    try:
        return isinstance(cast(BinaryIO, source).fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def _copied(source: object) -> BinaryIO:
    """The bytes of a source without a descriptor, in a file that has one."""
    file = spool()
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            file.write(source)
        elif hasattr(source, "read"):
            if getattr(source, "seekable", lambda: False)():
                cast(BinaryIO, source).seek(0)
            shutil.copyfileobj(cast(BinaryIO, source), file)
        else:
            raise ParameterError(
                "audio",
                "must be a path, bytes, a binary file or a numpy array, "
                f"not {type(source).__name__}",
            )
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _told(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _environment() -> dict[str, str]:
    """The parent's, without the service's settings: there are keys among them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAD_")}
    path = os.pathsep.join(filter(None, sys.path))
    # One thread each: the memory limit counts their stacks, and nothing here is worth more.
    return kept | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def serve(handle: int, memory_bytes: int, niceness: int) -> None:
    """The child's side: serves until the other side of the connection goes away.

    Args:
        handle: of the connection.
        memory_bytes: that the process may have, as data; 0 for no limit.
        niceness: by how much it stands back for others.
    """
    importlib.import_module("av.subtitles.stream")  # PyAV's last, imported with the first file
    if _POSIX:
        os.nice(niceness)
        resource = importlib.import_module("resource")
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # audio must not lie about
        connection = Connection(handle)
    else:
        kind = importlib.import_module("multiprocessing.connection").PipeConnection
        connection = kind(handle)
    with suppress(EOFError, ConnectionError):
        connection.send_bytes(READY)
        while True:
            _answer(connection)


def _answer(connection: Connection) -> None:
    request = json.loads(_received(connection)[1:])
    file: str | BinaryIO = request["path"]
    if file is None:
        reduction = importlib.import_module("multiprocessing.reduction")
        file = os.fdopen(reduction.recv_handle(connection), "rb")
    try:
        with _cpu_time(request["seconds"]):
            _decode(connection, file, request)
    except (AudioError, ParameterError, OSError, MemoryError) as error:
        if isinstance(error, ConnectionError):
            raise
        _send_json(connection, FAILURE, _described(error))
    finally:
        if not isinstance(file, str):
            file.close()


@contextmanager
def _cpu_time(seconds: float | None) -> Iterator[None]:
    """Within this, the kernel ends the process after so much CPU time, wherever it is."""
    if seconds is None or not _POSIX:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _decode(connection: Connection, file: str | BinaryIO, request: dict[str, Any]) -> None:
    with open_audio(
        file,
        sample_rate=request["sample_rate"],
        encoding=request["encoding"],
        name=request["name"],
    ) as reader:
        _send_json(connection, INFO, {"info": asdict(reader.info), "length": reader.length})
        for block in reader.blocks():
            data = np.ascontiguousarray(block, np.float32).reshape(-1).view(np.uint8)
            connection.send_bytes(BLOCK + data.tobytes())
        _send_json(connection, END, {"warnings": reader.warnings})


def _send_json(connection: Connection, kind: bytes, values: dict[str, Any]) -> None:
    connection.send_bytes(kind + json.dumps(values).encode())


def _described(error: BaseException) -> dict[str, Any]:
    values: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, ParameterError):
        return {**values, "kind": "ParameterError", "param": error.param, "message": error.message}
    if isinstance(error, MemoryError):
        return {**values, "kind": "MemoryError"}
    if isinstance(error, AudioError) and values["kind"] not in _ERRORS:
        return {**values, "kind": "DecodeError"}
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return {
            **values,
            "errno": error.errno,
            "strerror": error.strerror,
            "path": error.filename,
        }
    return values
