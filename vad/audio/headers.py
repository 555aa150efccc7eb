"""What the bytes of a file say where FFmpeg does not look, or believes them too readily."""

from __future__ import annotations

import re
from collections.abc import Callable

# A WAV writer that does not know the length yet puts a number near 2^31 or 2^32: no promise.
NO_PROMISE = 0x7FFF_0000
OGG_TAIL = 2 * 65_307  # bytes, twice the longest page: holds the last page and its start
LARGEST_ID3 = 10 + (1 << 28)  # bytes, footer aside

_OGG_HEADER = 27
_WAV = (b"RIFF", b"RF64", b"BW64", b"RIFX")
_PCM, _EXTENSIBLE = 1, 0xFFFE
# ISO/IEC 11172-3 and 13818-3, layer III, by index: bit rates in kbit/s and sampling rates in Hz.
_MP3_BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2 and 2.5
}
_MP3_SAMPLE_RATES = (44_100, 48_000, 32_000)
_MP3_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # by version bits: MPEG-1, MPEG-2, MPEG-2.5
_XING_FIELDS = ((1, 4), (2, 4), (4, 100), (8, 4))  # by flag: frames, bytes, seek table, quality
# How containers begin that FFmpeg recognises at the very start only.
_MAGIC = re.compile(
    rb"OggS\x00|fLaC[\x00\x80]\x00\x00\x22|(?:RIFF|RF64|BW64|RIFX)....WAVE|riff\x2e\x91\xcf\x11"
    rb"|FORM....AIF[FC]|caff\x00\x01\x00\x00|\x1aE\xdf\xa3|\x00\x00\x00[\x08-\x80]ftyp"
    rb"|wvpk....[\x00-\x10]\x04|MAC [\x80-\x9f]\x0f|0&\xb2u\x8ef\xcf\x11|#!AMR|TTA1\x01\x00|MPCK"
    rb"|\.snd\x00\x00|ID3[\x02-\x04][\x00-\x04]",
    re.DOTALL,
)


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


def wav_data_bytes(head: bytes) -> int | None:
    """Bytes of audio that a WAV header promises; None if it does not say.

    Args:
        head: the file's first bytes, as far as its "data" chunk.
    """
    if head[:4] != b"RIFF" or (at := _wav_chunk(head, b"data")) is None:
        return None
    size = int.from_bytes(head[at - 4 : at], "little")
    return size if 0 < size < NO_PROMISE else None


def mended_wav(head: bytes) -> bytes:
    """A WAV header as FFmpeg understands it; anything else as it is. The length stays.

    Samples are left-justified in their containers (Microsoft, WAVEFORMATEXTENSIBLE), so that
    those of 20 valid bits in 32 are read as 32-bit ones; FFmpeg would take them for packed
    24-bit ones. RF64 whose sizes were never filled in, as when it is written to a pipe, becomes
    RIFF, of which FFmpeg then reads all there is.

    Args:
        head: the file's first bytes, as far as its "fmt " chunk.
    """
    found = _wav_chunk(head, b"fmt ")
    if found is None or len(head) < found + 16:
        return head
    fixed = bytearray(head)
    if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64" and not any(head[28:36]):
        fixed[:4] = b"RIFF"
    form, channels, align, bits = (
        int.from_bytes(head[found + i : found + i + 2], "little") for i in (0, 2, 12, 14)
    )
    width = 8 * align // channels if channels and align % channels == 0 else 0
    if form in (_PCM, _EXTENSIBLE) and 8 <= width <= 64 and 0 < bits <= width:
        fixed[found + 14 : found + 16] = width.to_bytes(2, "little")
        if form == _EXTENSIBLE and any(fixed[found + 18 : found + 20]):
            fixed[found + 18 : found + 20] = width.to_bytes(2, "little")
    return bytes(fixed)


def _wav_chunk(head: bytes, name: bytes) -> int | None:
    """Where the contents of a WAV chunk begin."""
    if head[:4] not in _WAV or head[8:12] != b"WAVE":
        return None
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == name:
            return at + 8
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
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
