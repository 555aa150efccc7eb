"""WebSocket frames told apart without being read, so that audio takes the short way.

A library reads a frame with a state machine in Python, which costs more than finding the speech in
it. Nearly all frames of a stream are alike: binary, whole, small. Those are taken out here; every
other frame goes to the library as it came, which is to find nothing missing: it never sees the
others. Frames are those of RFC 6455, section 5.2:

    FIN·RSV·opcode │ MASK·length │ length of 126 … │ mask │ data
         1 byte    │    1 byte   │   0, 2, 8 bytes │  4   │
"""

from __future__ import annotations

from typing import NamedTuple

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without its extension in C
    from websockets.utils import apply_mask

WHOLE_BINARY, CONTROL, FIN, MASKED = 0x82, 0x08, 0x80, 0x80
LARGEST = 2**14  # bytes of a frame that is taken; copying more of it than once would cost


class Piece(NamedTuple):
    """Some bytes of a connection.

    Attributes:
        raw: as they came.
        audio: what a whole binary frame holds; None for all else, which may be part of a frame.
    """

    raw: bytes
    audio: bytes | None


class Splitter:
    """Cuts what a client sends between its frames; does no I/O."""

    def __init__(self) -> None:
        self._rest = b""  # of a frame that may be audio
        self._others = 0  # bytes of another that are still to come
        self._fragments = False  # whether a message in several frames is under way

    def push(self, data: bytes) -> list[Piece]:
        """Takes the next bytes: all that is whole comes out, in order, and nothing twice."""
        data, at = self._rest + data, min(self._others, len(data))
        pieces = [Piece(data[:at], None)] if at else []
        self._others -= at
        while at < len(data):
            head = _head(data, at)
            if head is None:
                break
            size, length = head
            end = at + size + length
            plain = data[at] == WHOLE_BINARY and not self._fragments and length <= LARGEST
            if plain and data[at + 1] & MASKED:
                if end > len(data):
                    break
                audio = apply_mask(data[at + size : end], data[at + size - 4 : at + size])
                pieces.append(Piece(data[at:end], audio))
            else:
                if not data[at] & CONTROL:
                    self._fragments = not data[at] & FIN
                self._others = max(0, end - len(data))
                pieces.append(Piece(data[at:end], None))
            at = min(end, len(data))
        self._rest = data[at:]
        return pieces


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    """Sizes of the head and of the data of the frame that begins at `at`, once it is there."""
    if len(data) < at + 2:
        return None
    length = data[at + 1] & 0x7F
    more = {126: 2, 127: 8}.get(length, 0)
    size = 2 + more + (4 if data[at + 1] & MASKED else 0)
    if len(data) < at + size:
        return None
    return size, int.from_bytes(data[at + 2 : at + 2 + more]) if more else length
