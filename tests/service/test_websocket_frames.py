"""What is audio comes out, and the library gets all the rest and nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from service.websocket_frames import LARGEST, Splitter

Kind = tuple[Opcode, bool, bytes]


def message(kind: str, size: int) -> list[Frame]:
    data = bytes(i % 251 for i in range(size))
    whole = {"binary": Opcode.BINARY, "text": Opcode.TEXT, "ping": Opcode.PING}
    if kind == "fragments":  # a control frame may come between them
        first = Frame(Opcode.BINARY, data, fin=False)
        return [first, Frame(Opcode.PING, b"?"), Frame(Opcode.CONT, data)]
    return [Frame(whole[kind], data[:125] if kind == "ping" else data)]


messages = st.lists(
    st.builds(
        message,
        st.sampled_from(["binary", "binary", "text", "ping", "fragments"]),
        st.sampled_from([0, 1, 125, 126, 640, LARGEST, LARGEST + 1, 70_000]),
    ),
    max_size=6,
)


def read(stream: bytes) -> list[Kind]:
    """The frames of a stream, by the library."""
    reader = StreamReader()
    reader.feed_data(stream)
    reader.feed_eof()
    found: list[Kind] = []
    while not done(reader):
        parsing = Frame.parse(reader.read_exact, mask=True)
        with pytest.raises(StopIteration) as end:
            next(parsing)
        frame = end.value.value
        found.append((frame.opcode, frame.fin, bytes(frame.data)))
    return found


def done(reader: StreamReader) -> bool:
    with pytest.raises(StopIteration) as end:
        next(reader.at_eof())
    return bool(end.value.value)


@given(messages, st.data())
def test_audio_comes_out_and_all_else_goes_on(
    given: list[list[Frame]], data: st.DataObject
) -> None:
    frames = [frame for each in given for frame in each]
    stream = b"".join(bytes(frame.serialize(mask=True)) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = Splitter()
    pieces = [
        piece
        for start, end in pairwise([0, *cuts, len(stream)])
        for piece in splitter.push(stream[start:end])
    ]
    assert b"".join(piece.raw for piece in pieces) == stream
    is_audio = [f.opcode is Opcode.BINARY and f.fin and len(f.data) <= LARGEST for f in frames]
    audio = [bytes(f.data) for f, taken in zip(frames, is_audio, strict=True) if taken]
    assert [piece.audio for piece in pieces if piece.audio is not None] == audio
    rest = b"".join(piece.raw for piece in pieces if piece.audio is None)
    others = [f for f, taken in zip(frames, is_audio, strict=True) if not taken]
    assert read(rest) == [(f.opcode, f.fin, bytes(f.data)) for f in others]


@given(st.binary(max_size=200), st.data())
def test_nonsense_goes_on_as_it_came(nonsense: bytes, data: st.DataObject) -> None:
    """Unless it looks like audio; and the end of what looks like its beginning is waited for."""
    cut = data.draw(st.integers(0, len(nonsense)))
    splitter = Splitter()
    raw = b"".join(p.raw for part in (nonsense[:cut], nonsense[cut:]) for p in splitter.push(part))
    assert nonsense.startswith(raw)


@pytest.mark.parametrize("first", [0x82, 0xC2], ids=["not masked", "a reserved bit"])
def test_what_no_client_may_send_is_left_to_the_library(first: int) -> None:
    mask = b"" if first == 0x82 else bytes(4)
    frame = bytes([first, 2 | (0x80 if mask else 0)]) + mask + b"ab"
    assert Splitter().push(frame) == [(frame, None)]
