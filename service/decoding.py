"""Decoding in processes of their own, which can be killed: see `decoder` for their side."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.decoder import END, FAILURE, HEADER, INFO, REQUEST, receive_exactly
from service.errors import DecodedTooLarge, DecoderFailed, DecodeTooSlow
from service.settings import Settings
from service.workers import Cancellation
from vad.audio import SourceInfo
from vad.errors import AudioError, AudioTooLong, DecodeError, ParameterError, UnsupportedAudio

_COMMAND = "import sys; from service.decoder import main; main(int(sys.argv[1]), int(sys.argv[2]))"
_ERRORS = {kind.__name__: kind for kind in (AudioError, DecodeError, UnsupportedAudio)}


@dataclass(frozen=True)
class DecodeLimits:
    """What one file may take.

    Attributes:
        seconds: of work.
        audio_seconds: that come out.
        decoded_bytes: that come out, four a sample and channel.
        memory_bytes: of the process.
    """

    seconds: float
    audio_seconds: float
    decoded_bytes: int
    memory_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> DecodeLimits:
        return cls(
            settings.max_decode_s,
            settings.max_audio_s,
            settings.max_decoded_bytes,
            settings.max_decode_memory_bytes,
        )


@dataclass(frozen=True)
class Undecoded:
    """A file as it came.

    Attributes:
        file: a file on disk, or the reading end of a pipe.
        name: to go by.
        sample_rate, encoding: of headerless PCM.
    """

    file: BinaryIO
    name: str
    sample_rate: int | None = None
    encoding: str | None = None


class DecoderProcess:
    """One process, and the socket to it.

    Args:
        memory_bytes: that it may have.

    Attributes:
        channel: the socket.
        idle: whether it waits for a request.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.channel, theirs = socket.socketpair()
        self.idle, self._killed = True, False
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, str(theirs.fileno()), str(memory_bytes)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the server
                env=_environment(),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._killed and self._process.poll() is None

    def kill(self) -> None:
        """Ends it at once, whatever it does; from any thread."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """Kills it if it lives, and waits until it is gone."""
        self.channel.close()
        self._process.kill()
        self._process.wait()

    def ended(self) -> int:
        """Exit status, negative for a signal, of one that has closed its side of the socket."""
        return self._process.wait()


class RemoteDecoder:
    """A file that is being decoded elsewhere: a `vad.audio.reader.Decoder`.

    Args:
        process: an idle one.
        source: the file; a pipe is handed over, and closed here.
        limits: of the file.
        cancellation: asked before each block.

    Attributes:
        seconds: spent on waiting for blocks.

    Raises:
        AudioError, ParameterError: as `open_audio`.
        DecodeTooSlow, DecodedTooLarge, DecoderFailed: the process was ended, or ended itself.
    """

    def __init__(
        self,
        process: DecoderProcess,
        source: Undecoded,
        limits: DecodeLimits,
        cancellation: Cancellation,
    ) -> None:
        self.seconds = 0.0
        self.warnings: list[str] = []
        self._process, self._limits, self._cancellation = process, limits, cancellation
        # A pipe may rest for as long as the client does; its body has a time limit of its own.
        self._timed = source.file.seekable()
        process.channel.settimeout(limits.seconds if self._timed else None)
        self._request(source)
        if not self._timed:
            source.file.close()
        kind, data = self._receive()
        assert kind == INFO
        opened = json.loads(data)
        self.info = SourceInfo(**opened["info"])
        self.length: int | None = opened["length"]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """[samples, channels] each.

        Raises:
            AudioTooLong: they are more than `audio_seconds`.
            And as the class.
        """
        samples = received = 0
        while True:
            self._cancellation.check()
            kind, data = self._receive()
            if kind == END:
                self.warnings += json.loads(data)["warnings"]
                return
            block = np.frombuffer(data, np.float32).reshape(-1, self.info.channels)
            samples, received = samples + len(block), received + len(data)
            if samples > self._limits.audio_seconds * self.info.sample_rate:
                raise AudioTooLong(f"a file may have {self._limits.audio_seconds:g} s of audio")
            if received > self._limits.decoded_bytes:
                raise DecodedTooLarge(
                    f"a file may have {self._limits.decoded_bytes} bytes once it is decoded"
                )
            yield block

    def close(self) -> None:
        """Nothing: the process is its owner's."""

    def _request(self, source: Undecoded) -> None:
        values = {
            "name": source.name,
            "sample_rate": source.sample_rate,
            "encoding": source.encoding,
            "seconds": self._limits.seconds,
        }
        data = json.dumps(values).encode()
        self._process.idle = False
        with self._explained():
            head = HEADER.pack(REQUEST, len(data))
            socket.send_fds(self._process.channel, [head], [source.file.fileno()])
            self._process.channel.sendall(data)

    def _receive(self) -> tuple[bytes, bytearray]:
        started = perf_counter()
        with self._explained():
            head = receive_exactly(self._process.channel, HEADER.size)
            kind, size = HEADER.unpack(head)
            data = receive_exactly(self._process.channel, size)
        self.seconds += perf_counter() - started
        if self._timed and self.seconds > self._limits.seconds:
            raise self._too_slow()
        self._process.idle = kind in (END, FAILURE)
        if kind == FAILURE:
            raise self._failure(json.loads(data))
        return kind, data

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says why the process doesn't answer."""
        try:
            yield
        except TimeoutError:
            raise self._too_slow() from None
        except (EOFError, ConnectionError):
            self._cancellation.check()
            status = self._process.ended()
            if status == -signal.SIGPROF:
                raise self._too_slow() from None
            if status >= 0:  # no file does that
                raise RuntimeError(f"the decoder's process ended with status {status}") from None
            raise DecoderFailed(f"the decoder crashed on it (signal {-status})") from None

    def _too_slow(self) -> DecodeTooSlow:
        return DecodeTooSlow(f"a file may take {self._limits.seconds:g} s to decode")

    def _failure(self, values: dict[str, Any]) -> Exception:
        message = values["message"]
        if "param" in values:
            return ParameterError(values["param"], message)
        if values["kind"] == "MemoryError":
            limit = self._limits.memory_bytes
            return DecodedTooLarge(f"decoding it takes more than {limit} bytes of memory")
        if (kind := _ERRORS.get(values["kind"])) is not None:
            return kind(message)
        return DecoderFailed(f"the decoder could not read it ({values['kind']})")


def _environment() -> dict[str, str]:
    """The server's, without its settings: there are keys among them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAD_")}
    path = os.pathsep.join(filter(None, sys.path))
    # One thread each: the memory limit counts their stacks, and nothing here is worth more.
    return kept | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
