"""What the bytes of a file say where FFmpeg does not look, or believes them too readily."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

# A WAV writer that does not know the length yet puts a number near 2^31 or 2^32: no promise.
NO_PROMISE = 0x7FFF_0000
OGG_TAIL = 2 * 65_307  # bytes, twice the longest page: holds the last page and its start
LARGEST_ID3 = 10 + (1 << 28)  # bytes, footer aside

_OGG_HEADER = 27
_WAV = (b"RIFF", b"RF64", b"BW64", b"RIFX")
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PLAIN = (_PCM, 3, 6, 7)  # and floats, A-law, µ-law
# ISO/IEC 11172-3 and 13818-3, layer III, by index: bit rates in kbit/s and sampling rates in Hz.
_MP3_BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2 and 2.5
}
_MP3_SAMPLE_RATES = (44_100, 48_000, 32_000)
_MP3_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # by version bits: MPEG-1, MPEG-2, MPEG-2.5
_XING_FIELDS = ((1, 4), (2, 4), (4, 100), (8, 4))  # by flag: frames, bytes, seek table, quality
# How containers begin that FFmpeg recognises at the very start only, by its names of them.
_BEGINNINGS = {
    "aiff": rb"FORM....AIF[FC]",
    "amr": rb"#!AMR",
    "ape": rb"MAC [\x80-\x9f]\x0f",
    "asf": rb"0&\xb2u\x8ef\xcf\x11",
    "au": rb"\.snd\x00\x00",
    "caf": rb"caff\x00\x01\x00\x00",
    "flac": rb"fLaC[\x00\x80]\x00\x00\x22",
    "flv": rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09",
    "matroska": rb"\x1aE\xdf\xa3",
    "mov": rb"\x00\x00\x00[\x08-\x80]ftyp",
    "mpc8": rb"MPCK",
    "ogg": rb"OggS\x00\x02",
    "tta": rb"TTA1\x01\x00",
    "w64": rb"riff\x2e\x91\xcf\x11",
    "wav": rb"(?:RIFF|RF64|BW64|RIFX)....WAVE",
    "wv": rb"wvpk....[\x00-\x10]\x04",
}
# A part of them that is the same in all, for which bytes are searched faster than for a pattern.
_SIGNS = {
    "aiff": b"AIF",
    "amr": b"#!AMR",
    "au": b".snd",
    "flac": b"fLaC",
    "flv": b"FLV\x01",
    "w64": b"riff\x2e",
    "wav": b"WAVE",
}
LONGEST_BEGINNING = 12  # bytes
_MAGIC = re.compile(
    b"|".join([*_BEGINNINGS.values(), rb"OggS\x00", rb"ID3[\x02-\x04][\x00-\x04]"]), re.DOTALL
)
_FORMAT_LENGTH = 16  # bytes of WAVEFORMAT that every WAV has
# Chunks of W64 are named by GUIDs that begin with the letters of WAV's.
_W64_CHUNK = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_UNKNOWN_64 = 1 << 40  # bytes: in place of a length that nobody knew, and that FFmpeg refuses
_UNKNOWN_32 = 0x7FFF_FF00


def id3_bytes(head: bytes) -> int:
    """Length of the ID3v2 tag with which `head` begins; 0 if it begins with none.

    Args:
        head: at least 10 bytes. See https://id3.org/id3v2.4.0-structure, section 3.1.
    """
    if len(head) < 10 or head[:3] != b"ID3" or not 2 <= head[3] <= 4 or head[4] == 0xFF:
        return 0
    size = head[6:10]
    if max(size) > 0x7F or head[5] & 0x0F:
        return 0
    footer = 10 if head[5] & 0x10 else 0
    return 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + footer


def find_container(data: bytes, start: int = 0) -> int | None:
    """Where in `data` the first well-known container begins, from `start` on; None if nowhere."""
    found = _MAGIC.search(data, start)
    return None if found is None else found.start()


class Joint:
    """Where another file of the same kind begins, as `cat` puts it behind one.

    Args:
        family: FFmpeg's name of the container, the first one where it has several.
    """

    def __init__(self, family: str) -> None:
        self._sign = _SIGNS.get(family, b"")
        begins = _BEGINNINGS.get(family)
        self._begins = None if begins is None else re.compile(begins, re.DOTALL)

    def search(self, data: bytes, start: int = 0) -> int | None:
        """Where in `data`, from `start` on; None if nowhere."""
        if self._begins is None or self._sign not in data:
            return None
        found = self._begins.search(data, start)
        return None if found is None else found.start()


def passes_over_joints(head: bytes) -> Joint | None:
    """For files at whose end FFmpeg reads on, and loses or hears the next one's header.

    Args:
        head: the file's first bytes.

    Returns:
        How the next one begins; None for files of other kinds.
    """
    return next(
        (each for each in map(Joint, _SIGNS) if each.search(head[:LONGEST_BEGINNING]) == 0), None
    )


def wav_data_bytes(head: bytes) -> int | None:
    """Bytes of audio that a header of WAV or W64 promises; None if it does not say.

    Args:
        head: the file's first bytes, as far as its "data" chunk.
    """
    if (at := _w64_chunk(head, b"data")) is not None:
        size = int.from_bytes(head[at - 8 : at], "little") - 24
        return size if 0 < size < 1 << 40 else None
    if head[:4] != b"RIFF" or (at := _wav_chunk(head, b"data")) is None:
        return None
    size = int.from_bytes(head[at - 4 : at], "little")
    return size if 0 < size < NO_PROMISE else None


def wav_has_plain_samples(head: bytes) -> bool:
    """Whether a header of WAV or W64 tells of PCM, which may be cut into packets anywhere.

    Args:
        head: the file's first bytes, as far as its "fmt " chunk.
    """
    at = _w64_chunk(head, b"fmt ") or _wav_chunk(head, b"fmt ")
    if at is None:
        return False
    form = int.from_bytes(head[at : at + 2], "little")
    if form == _EXTENSIBLE:
        form = int.from_bytes(head[at + 24 : at + 26], "little")
    return form in _PLAIN


def caf_is_open(head: bytes) -> bool:
    """Whether a CAF header leaves the length of its audio open, as when it goes into a pipe."""
    return head[:4] == b"caff" and b"data" + b"\xff" * 8 in head


def mended(head: bytes) -> bytes:
    """A header as FFmpeg understands it; mostly as it is. The length stays.

    WAV and W64: samples are left-justified in their containers (Microsoft, WAVEFORMATEXTENSIBLE),
    so that those of 20 valid bits in 32 are read as 32-bit ones; FFmpeg would take them for packed
    24-bit ones. RF64, W64 and AIFF whose sizes were never filled in, as when they are written to
    a pipe, get sizes with which FFmpeg reads all there is.

    Args:
        head: the file's first bytes, as far as the audio's.
    """
    fixed = bytearray(head)
    if (found := _wav_chunk(head, b"fmt ")) is not None:
        if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64" and not any(head[28:36]):
            fixed[:4] = b"RIFF"
        _mend_format(fixed, found)
    elif (found := _w64_chunk(head, b"fmt ")) is not None:
        _mend_format(fixed, found)
        for at in (24, _w64_chunk(head, b"data")):
            if at is not None and not 0 < int.from_bytes(head[at - 8 : at], "little") < 1 << 62:
                fixed[at - 8 : at] = _UNKNOWN_64.to_bytes(8, "little")
    elif (found := _aiff_chunk(head, b"SSND")) is not None and not any(head[found - 4 : found]):
        for at in (8, found):
            fixed[at - 4 : at] = _UNKNOWN_32.to_bytes(4, "big")
    return bytes(fixed)


def _mend_format(head: bytearray, at: int) -> None:
    """Makes what a sample takes what a sample has; `at` is where WAVEFORMAT stands."""
    if len(head) < at + _FORMAT_LENGTH:
        return
    form, channels, align, bits = (
        int.from_bytes(head[at + i : at + i + 2], "little") for i in (0, 2, 12, 14)
    )
    width = 8 * align // channels if channels and align % channels == 0 else 0
    if form in (_PCM, _EXTENSIBLE) and 8 <= width <= 64 and 0 < bits <= width:
        head[at + 14 : at + 16] = width.to_bytes(2, "little")
        if form == _EXTENSIBLE and any(head[at + 18 : at + 20]):
            head[at + 18 : at + 20] = width.to_bytes(2, "little")


def _wav_chunk(head: bytes, name: bytes) -> int | None:
    """Where the contents of a WAV chunk begin."""
    if head[:4] not in _WAV or head[8:12] != b"WAVE":
        return None
    return _iff_chunk(head, name, "little")


def _aiff_chunk(head: bytes, name: bytes) -> int | None:
    """Where the contents of an AIFF chunk begin."""
    if head[:4] != b"FORM" or head[8:11] != b"AIF":
        return None
    return _iff_chunk(head, name, "big")


def _iff_chunk(head: bytes, name: bytes, order: Literal["little", "big"]) -> int | None:
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == name:
            return at + 8
        size = int.from_bytes(head[at + 4 : at + 8], order)
        at += 8 + size + size % 2
    return None


def _w64_chunk(head: bytes, name: bytes) -> int | None:
    """Where the contents of a W64 chunk begin."""
    if head[:4] != b"riff":
        return None
    at = 40
    while at + 24 <= len(head):
        if head[at : at + 16] == name + _W64_CHUNK:
            return at + 24
        size = int.from_bytes(head[at + 16 : at + 24], "little")
        at += max(24, size + -size % 8)
    return None


def ogg_has_last_page(tail: bytes) -> bool:
    """Whether the last page (RFC 3533, section 6) is whole and marked as the stream's last.

    Args:
        tail: the last `OGG_TAIL` bytes, or all if there are fewer.
    """
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < _OGG_HEADER or len(page) < _OGG_HEADER + page[26]:
        return False
    lacing = page[_OGG_HEADER : _OGG_HEADER + page[26]]
    return bool(page[5] & 4) and len(page) >= _OGG_HEADER + len(lacing) + sum(lacing)


def mp3_frame_bytes(header: bytes) -> int | None:
    """Length of the layer III frame that starts with these bytes.

    Args:
        header: at least 4 bytes.

    Returns:
        Bytes, header included; None if this is no layer III header or its bit rate is free.
    """
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer != 1:
        return None
    if bit_rate_index in (0, 15) or rate_index == 3:
        return None
    bit_rate = _MP3_BIT_RATES[version == 3][bit_rate_index] * 1000
    sample_rate = _MP3_SAMPLE_RATES[rate_index] // _MP3_RATE_DIVISOR[version]
    return (144 if version == 3 else 72) * bit_rate // sample_rate + padding


def adts_frame_bytes(header: bytes) -> int | None:
    """Length of the AAC frame that starts with these bytes (ISO/IEC 14496-3, 1.A.2.2).

    Args:
        header: at least 6 bytes.

    Returns:
        Bytes, header included; None if this is no ADTS header.
    """
    if header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > 7 else None


def begins_with_frames(head: bytes) -> bool:
    """Whether frames of MP3 or AAC (ADTS) stand here, three in a row, so that it is no chance."""
    return any(_frames(head, length) == 3 for length in (mp3_frame_bytes, adts_frame_bytes))


def _frames(head: bytes, length: Callable[[bytes], int | None]) -> int:
    at = 0
    for count in range(3):
        header = head[at : at + 6]
        if len(header) < 6 or (size := length(header)) is None:
            return count
        at += size
    return 3


def mp3_samples(head: bytes) -> int | None:
    """Samples that a file of layer III declares, without the padding; None if it does not.

    Args:
        head: the file's first bytes, ID3 tags aside: a frame with the tags of Xing and LAME.
            See http://gabriel.mp3-tech.org/mp3infotag.html.
    """
    if len(head) < 200 or mp3_frame_bytes(head[:4]) is None:
        return None
    version, mono = head[1] >> 3 & 3, head[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    tag = head[4 + side : 4 + side + 160]
    if tag[:4] not in (b"Xing", b"Info") or not tag[7] & 1:
        return None
    frames = int.from_bytes(tag[8:12], "big")
    lame = tag[8 + sum(size for bit, size in _XING_FIELDS if tag[7] & bit) :]
    gap = int.from_bytes(lame[21:24], "big")
    if not frames or lame[:4] not in (b"LAME", b"Lavf", b"Lavc"):
        return None
    samples = frames * (1152 if version == 3 else 576) - (gap >> 12) - (gap & 0xFFF)
    return samples if samples > 0 else None
