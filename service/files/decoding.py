"""The processes that decode: as many as there are files at a time, replaced when they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.files.workers import Cancellation
from service.settings import Settings
from vad.audio.sandbox import DecodeLimits, DecoderProcess, RemoteDecoder, Undecoded

NICENESS = 10  # live streams come first


def limits_of(settings: Settings) -> DecodeLimits:
    return DecodeLimits(
        seconds=settings.max_decode_s,
        audio_seconds=settings.max_audio_s,
        decoded_bytes=settings.max_decoded_bytes,
        memory_bytes=settings.max_decode_memory_bytes,
    )


class DecodePool:
    """Processes for decoding; as many as there are files at a time.

    Args:
        kept: that are started beforehand and kept while they have nothing to do.
        limits: of each file.
    """

    def __init__(self, kept: int, limits: DecodeLimits) -> None:
        self._kept, self._limits = kept, limits
        self._lock = threading.Lock()
        self._closed = False
        self._idle = [self._spawn() for _ in range(kept)]

    def wait_ready(self) -> None:
        """Waits until those that were started beforehand wait for files."""
        for process in list(self._idle):
            with suppress(EOFError, OSError):  # that it ended will be seen when it is needed
                process.wait_ready()

    @contextmanager
    def decode(self, what: Undecoded, cancellation: Cancellation) -> Iterator[RemoteDecoder]:
        """Decodes one file; leaving the context earlier ends the work. For worker threads.

        Raises:
            As `RemoteDecoder`.
        """
        process = self._take()
        try:
            with cancellation.calling(process.kill):
                yield RemoteDecoder(process, what, self._limits, cancellation.check)
        finally:
            self._give_back(process)

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()

    def _spawn(self) -> DecoderProcess:
        return DecoderProcess(self._limits.memory_bytes, NICENESS)

    def _take(self) -> DecoderProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.close()
        return self._spawn()

    def _give_back(self, process: DecoderProcess) -> None:
        if process.idle and process.alive and self._keep(process):
            return
        process.kill()
        # Started now, so that the next file needn't wait for it, but the last one neither.
        threading.Thread(target=self._replace, args=(process,), name="decoders").start()

    def _replace(self, process: DecoderProcess) -> None:
        process.close()
        if self._room():
            fresh = self._spawn()
            if not self._keep(fresh):
                fresh.close()

    def _room(self) -> bool:
        return not self._closed and len(self._idle) < self._kept

    def _keep(self, process: DecoderProcess) -> bool:
        with self._lock:
            if room := self._room():
                self._idle.append(process)
            return room
