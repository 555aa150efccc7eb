"""A process that decodes one file after another; started by `decoding.DecoderProcess`.

It takes a request with an open file over a socket and answers with the audio in blocks. The
socket is all that it shares with the server, whose Python and memory no file can harm: what
takes too much CPU time or memory is ended by the kernel, and the server starts another. It
must not import torch: it would take seconds to start and hundreds of megabytes.

    request                  kind REQUEST, JSON, with the file's descriptor
    answer                   INFO, then BLOCKs, then END; or FAILURE in place of the rest
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

from vad.audio import AudioReader, open_audio
from vad.audio.pcm import Samples
from vad.errors import AudioError, ParameterError

HEADER = struct.Struct("!cI")  # kind, bytes that follow
REQUEST, INFO, BLOCK, END, FAILURE = b"r", b"i", b"b", b"e", b"f"
NICENESS = 10  # live streams come first


def receive_exactly(channel: socket.socket, size: int) -> bytearray:
    """The next `size` bytes.

    Raises:
        EOFError: the other side has gone before.
    """
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if not (count := channel.recv_into(view)):
            raise EOFError
        view = view[count:]
    return data


def main(descriptor: int, memory_bytes: int) -> None:
    """Serves until the other side of the socket goes away.

    Args:
        descriptor: of the socket.
        memory_bytes: that the process may have, as data.
    """
    os.nice(NICENESS)
    import_module("av.subtitles.stream")  # PyAV's last, which it imports when a file is opened
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # audio must not lie about
    channel = socket.socket(fileno=descriptor)
    with suppress(EOFError, ConnectionError):
        while True:
            _serve(channel)


def _serve(channel: socket.socket) -> None:
    head, descriptors, _, _ = socket.recv_fds(channel, HEADER.size, 1)
    if not head:
        raise EOFError
    with os.fdopen(descriptors[0], "rb") as file:
        _, size = HEADER.unpack(head)
        request = json.loads(receive_exactly(channel, size))
        # CPU time, upon which the kernel ends the process, wherever it is.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            _decode(channel, file, request)
        except (AudioError, ParameterError, OSError, MemoryError) as exc:
            if isinstance(exc, ConnectionError):
                raise
            _send_json(channel, FAILURE, _described(exc))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _decode(channel: socket.socket, file: BinaryIO, request: dict[str, Any]) -> None:
    if file.seekable():
        file.seek(0)
    with open_audio(
        file,
        sample_rate=request["sample_rate"],
        encoding=request["encoding"],
        name=request["name"],
    ) as reader:
        _send_json(channel, INFO, {"info": asdict(reader.info), "length": reader.length})
        _send_blocks(channel, reader)
        _send_json(channel, END, {"warnings": reader.warnings})


def _send_blocks(channel: socket.socket, reader: AudioReader) -> None:
    second = reader.info.sample_rate
    held = np.empty((0, reader.info.channels), np.float32)
    for block in reader.blocks():
        if len(held) + len(block) > second:
            # Decoders round up to their frames; a second is what the network is given at a time.
            held = np.concatenate([held, block])
            while len(held) >= second:
                _send_block(channel, held[:second])
                held = held[second:]
        else:
            _send_block(channel, np.concatenate([held, block]))
            held = held[:0]
    if len(held):
        _send_block(channel, held)


def _send_block(channel: socket.socket, block: Samples) -> None:
    data = np.ascontiguousarray(block, np.float32).reshape(-1).view(np.uint8).data
    channel.sendall(HEADER.pack(BLOCK, len(data)))
    channel.sendall(data)


def _send_json(channel: socket.socket, kind: bytes, values: dict[str, Any]) -> None:
    data = json.dumps(values).encode()
    channel.sendall(HEADER.pack(kind, len(data)) + data)


def _described(exc: BaseException) -> dict[str, Any]:
    if isinstance(exc, ParameterError):
        return {"kind": "ParameterError", "param": exc.param, "message": exc.message}
    return {"kind": type(exc).__name__, "message": str(exc)}
