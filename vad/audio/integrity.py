"""Whether audio is all there, in the cases where no decoder tells."""

from __future__ import annotations

# A WAV writer that does not know the length yet puts a number near 2^31 or 2^32: no promise.
NO_PROMISE = 0x7FFF_0000
OGG_TAIL = 2 * 65_307  # bytes, twice the longest page: holds the last page and its start

_OGG_HEADER = 27
# ISO/IEC 11172-3 and 13818-3, layer III, by index: bit rates in kbit/s and sampling rates in Hz.
_MP3_BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2 and 2.5
}
_MP3_SAMPLE_RATES = (44_100, 48_000, 32_000)
_MP3_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # by version bits: MPEG-1, MPEG-2, MPEG-2.5


def wav_data_bytes(head: bytes) -> int | None:
    """Bytes of audio that a WAV header promises; None if it does not say.

    Args:
        head: the file's first bytes, as far as its "data" chunk.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at = 12
    while at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"data":
            return size if 0 < size < NO_PROMISE else None
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
