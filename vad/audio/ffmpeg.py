"""Audio of every kind through FFmpeg, whose demuxers decide by content."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import PurePath
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from vad.audio.bytestream import Replay, last_bytes
from vad.audio.channels import fit_channels
from vad.audio.headers import (
    LONGEST_BEGINNING,
    OGG_TAIL,
    Joint,
    caf_is_open,
    mended,
    mp3_frame_bytes,
    mp3_samples,
    ogg_has_last_page,
    passes_over_joints,
    wav_data_bytes,
    wav_has_plain_samples,
)
from vad.audio.pcm import Samples, as_float
from vad.audio.reader import MAX_RATE, MIN_RATE, BreaksOff, SourceInfo
from vad.audio.resample import Resampler
from vad.errors import DecodeError

# Formats without a header or a sign of their own, which only the file's name tells.
_BY_SUFFIX = (".g722", ".gsm")
# Containers that state how many samples follow, so that none is an answer as well.
_COUNTED = {"wav", "w64", "aiff", "au", "caf"}
# Containers whose header states the stream's duration, so that FFmpeg need not estimate it
# from bit rate and file size.
_DECLARES_DURATION = _COUNTED | {"mov", "flac", "wv", "tta", "ape"}
_HEAD = 4096  # bytes by which a format is told
_SEARCHED = 1 << 20  # bytes behind the audio, among which another file may begin
# Bare frames one after the other, by what each begins with (bits that are set; none if that
# differs): timestamps are no more than a count of the frames before, and what lies between them
# is not audio.
_BARE = {
    "mp3": b"\xff\xe0",
    "aac": b"\xff\xf0",
    "loas": b"\x56\xe0",
    "ac3": b"\x0b\x77",
    "eac3": b"\x0b\x77",
    "dts": b"",
    "mlp": b"",
    "truehd": b"",
}
# These store no timestamps: FFmpeg reckons them from bytes, and is wrong where the packets of a
# codec differ from what the header says.
_CLOCKLESS = {*_BARE, "avi", "wav", "w64"}
# FFmpeg's decoders of these label a frame with the format of the one before.
_LATE_LABELS = {"mp1", "mp2", "mp3"}
# Where the header tells what the encoder added at the end, and what that is at most, in samples.
# FFmpeg knows it too, but does not cut it off a pipe.
_PADDED = {"mp3": 4095, "mov": 2048}
_MAY_BE_ENCRYPTED = {"mov", "matroska", "mpegts"}  # packet by packet
# Bytes of a packet of PCM in WAV, where that makes nobody wait: FFmpeg's own 4096 make a short file
# cheap and an hour expensive. Other codecs' packets are as their encoders made them.
_WAV_PACKET = 1 << 16
# Of these so many are searched for DTS, which WAV can hide: FFmpeg would search 5 MB, for 0.1 s.
_WAV_SEARCHED = 4
_BLOCK = 1.0  # s: the most that is handed out at once
_TOLERANCE = 0.25  # s: twice the longest frame of common codecs (AAC at 8 kHz)
_LONGEST_PACKET = 1.0  # s: what a damaged packet may claim to last
_SHORTEST_GAP = 0.2  # s between timestamps: less is jitter
_MOST_SILENCE = 60.0  # s in all, more than there is audio, to stand in for what is missing
_SHORTEST_LEAD = 0.01  # s, a frame of the detector
_LONGEST_LEAD = 3600.0  # s
_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
# Before PyAV 19, tags that are no UTF-8 are errors unless it is told otherwise; from then on never.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# A layout that is none of FFmpeg's own, as CAF may have, is freed both with the frame and with the
# frame's attribute there.
_FREES_LAYOUTS_TWICE = av.__version__.split(".")[0] in ("17", "18")
_NO_MEMORY = "FFmpeg: it would take more memory than there is"
_ENCRYPTED = "the audio is encrypted (DRM): only decrypted audio can be decoded"


class AvDecoder:
    """The first audio track of a file or pipe.

    A track that changes its sample rate or its channels on the way is converted to what it
    begins with. Silence stands in for what is missing in the middle, and for what precedes the
    track where it begins later than the container.

    Args:
        file: seekable, or a pipe, which is read from where it is.
        start: bytes before the container, in a seekable file.
        head: the first few kilobytes from there on.
        name: file name; tells the format of headerless G.722 and GSM.

    Raises:
        Unrecognised: FFmpeg knows no such format.
        DecodeError: there is no audio that it can decode.
    """

    def __init__(
        self, file: BinaryIO | Replay, head: bytes = b"", name: str = "", start: int = 0
    ) -> None:
        self.warnings: list[str] = []
        self._decoded = 0  # samples
        self._silenced = 0.0  # s of them, to stand in for what is missing
        self._last: Packet[AudioStream] | None = None
        self._lost = 0.0  # s of damaged packets since the last good one
        self._has_gaps = False
        self._origin = 0.0  # s: timestamp of the first sample that is handed out
        self._broken: str | None = None
        self._declared: float | None = None
        self._head = head
        self._bytes = _Bytes(file, head, name, start)
        self._container, self._stream = _open(self._bytes)
        self._may_be_encrypted = self._container.format.name.split(",")[0] in _MAY_BE_ENCRYPTED
        self._late_labels = self._stream.codec_context.codec.canonical_name in _LATE_LABELS
        try:
            frames = self._decode()
            first = next(frames, None)
            if first is None and not self._is_empty():
                raise DecodeError(self._broken or "FFmpeg: the audio track is empty")
            self._frames = frames if first is None else chain([first], frames)
            self._declared = _declared_duration(self._container, self._stream, head)
            self._lead = 0.0 if first is None else self._find_lead(first)
            self.info = self._describe(first)
            # What a pipe's header promises is nothing to wait for.
            self.length = self._estimated_length() if self._bytes.seekable() else None
        except BaseException:
            self._container.close()
            raise

    def blocks(self) -> Iterator[Samples]:
        yield from self._without_padding()
        broken = self._shortfall() if self._broken is None else self._broken
        if broken and not (self._broken and self._is_complete()):
            raise BreaksOff(broken)

    def close(self) -> None:
        self._container.close()

    def _without_padding(self) -> Iterator[Samples]:
        most = _PADDED.get(self._container.format.name.split(",")[0], 0)
        if self._declared is None or not most:
            yield from self._samples()
            return
        held: deque[Samples] = deque()
        size = 0
        for block in self._samples():
            held.append(block)
            size += len(block)
            while size - len(held[0]) >= most:
                size -= len(held[0])
                yield held.popleft()
        excess = self._decoded - round((self._lead + self._declared) * self.info.sample_rate)
        if 0 < excess <= min(most, size):
            self._decoded -= excess
            size -= excess
        for block in held:
            if size > 0:
                yield block[:size]
            size -= len(block)

    def _samples(self) -> Iterator[Samples]:
        yield from self._zeros(self._lead)
        convert = _Conversion(self.info)
        for frame in self._frames:
            now = self._decoded / self.info.sample_rate + convert.held
            if missing := self._missing(frame, now):
                yield from self._count(convert.take())
                yield from self._silence(missing)
            if convert.changes(frame):
                yield from self._count(convert.flush())
                if not MIN_RATE <= frame.sample_rate <= MAX_RATE:
                    self._broken = f"the sample rate changes to {frame.sample_rate} Hz"
                    return
                self.warnings += convert.change(frame, self._decoded / self.info.sample_rate)
            elif convert.held + frame.samples / frame.sample_rate > _BLOCK:
                yield from self._count(convert.take())
            convert.push(frame)
        yield from self._count(convert.flush())

    def _count(self, block: Samples) -> Iterator[Samples]:
        most = round(_BLOCK * self.info.sample_rate)
        for start in range(0, len(block), most):
            part = block[start : start + most]
            self._decoded += len(part)
            yield part

    def _decode(self) -> Iterator[AudioFrame]:
        while True:
            wrong = None
            try:
                yield from self._demux()
            except IndexError:
                return  # PyAV before 19, at its end, over tracks that appeared on the way
            except MemoryError as error:
                raise OutOfMemory(_NO_MEMORY) from error
            except av.FFmpegError as error:
                wrong = _ENCRYPTED if self._bytes.encrypted else _reason(error)
            if not self._next_file(None if wrong else _SEARCHED):
                self._broken = wrong
                return

    def _demux(self) -> Iterator[AudioFrame]:
        for packet in self._container.demux(self._stream):
            if packet.size:
                self._last = packet
            if self._may_be_encrypted and packet.has_sidedata("encryption_info"):
                raise DecodeError(_ENCRYPTED)
            try:
                frames = packet.decode()
            except MemoryError as error:
                raise OutOfMemory(_NO_MEMORY) from error
            except av.FFmpegError:
                if self._is_audio(packet):
                    self._lost += _seconds(packet)
                continue
            if _FREES_LAYOUTS_TWICE:
                _keep_layouts(frames)
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples:
                    if self._late_labels:
                        frame.sample_rate = self._stream.codec_context.sample_rate
                    yield frame

    def _next_file(self, within: int | None) -> bool:
        """Goes on with the file that follows this one, as `cat` joins them, and chained Ogg.

        Args:
            within: bytes behind what was read, in which it may begin; None is all.
        """
        family = self._container.format.name.split(",")[0]
        last = self._last
        if last is None or last.pos is None:
            return False
        behind = last.pos + (0 if family == "ogg" else last.size)  # Ogg tells where the page is
        if not self._bytes.restart(Joint(family), behind, within):
            return False
        try:
            container, stream = _open(self._bytes)
        except DecodeError:
            return False
        self._container.close()
        self._container, self._stream, self._last = container, stream, None
        more = _declared_duration(container, stream, self._bytes.head)
        if self._declared is not None:
            self._declared = None if more is None else self._declared + more
        return True

    def _is_audio(self, packet: Packet[AudioStream]) -> bool:
        """Whether a packet that fails to decode is one at all, and not a tag in between."""
        sign = _BARE.get(self._container.format.name)
        if sign is None:
            return True
        start = bytes(packet)[: len(sign)]
        return len(start) == len(sign) and all(a & b == b for a, b in zip(start, sign, strict=True))

    def _is_empty(self) -> bool:
        """Whether there is no audio although nothing is wrong, or the header alone."""
        return not self._broken and not self._lost and self._container.format.name in _COUNTED

    def _find_lead(self, first: AudioFrame) -> float:
        """Seconds from the container's start to the track's."""
        if first.time is None:
            return 0.0
        self._origin = first.time
        begins = self._container.start_time
        if begins is None or len(self._container.streams) == 1:
            return 0.0
        lead = first.time - begins / av.time_base
        if lead < _SHORTEST_LEAD:
            return 0.0
        if lead > _LONGEST_LEAD:
            self.warnings.append(
                f"the audio track begins {lead:.2f} s after the file; that is ignored, and times "
                "count from the track's start"
            )
            return 0.0
        if lead >= _SHORTEST_GAP:
            self.warnings.append(
                f"the audio track begins {lead:.2f} s after the file; times count from the "
                "file's start, and there is no speech before"
            )
        self._origin -= lead
        return lead

    def _missing(self, frame: AudioFrame, now: float) -> float:
        """Seconds between the last good frame, which ended at `now`, and this one."""
        lost, self._lost = self._lost, 0.0
        missing = lost
        if frame.time is not None and self._container.format.name not in _CLOCKLESS:
            # Damaged pages and clusters vanish without an error, but timestamps go on.
            gap = frame.time - self._origin - now
            if gap < -_SHORTEST_GAP:
                self._origin = frame.time - now  # a new clock, as in files joined to one
            elif gap > max(lost, _SHORTEST_GAP):
                missing = gap
        # Else a small file with wild timestamps would last for years.
        if self._silenced + missing > now - self._silenced + _MOST_SILENCE:
            self._origin += missing
            return 0.0
        return missing

    def _silence(self, seconds: float) -> Iterator[Samples]:
        """Keeps what follows missing audio at its time."""
        if not self._has_gaps:
            self._has_gaps = True
            at = self._decoded / self.info.sample_rate
            self.warnings.append(f"audio missing, first at {at:.2f} s, is replaced by silence")
        self._silenced += seconds
        yield from self._zeros(seconds)

    def _zeros(self, seconds: float) -> Iterator[Samples]:
        most = round(_BLOCK * self.info.sample_rate)
        count = round(seconds * self.info.sample_rate)
        for start in range(0, count, most):
            size = min(most, count - start)
            yield from self._count(np.zeros((size, self.info.channels), np.float32))

    def _is_complete(self) -> bool:
        """Whether all that the header promises has come; an error behind it is no matter."""
        return self._declared is not None and self._decoded >= round(
            (self._lead + self._declared) * self.info.sample_rate
        )

    def _shortfall(self) -> str | None:
        """Why audio that ended quietly is not all there, or None."""
        decoded = self._decoded / self.info.sample_rate - self.info.start
        if self._declared is not None and decoded < self._declared - _TOLERANCE:
            return f"the header promises {self._declared:.2f} s"
        if self._lost:
            return "what follows cannot be decoded"
        if self._last is not None and self._is_cut(self._last):
            return "the file ends in the middle of a packet"
        if self._container.format.name == "ogg" and not ogg_has_last_page(self._bytes.tail()):
            return "the Ogg stream has no last page"
        return None

    def _is_cut(self, last: Packet[AudioStream]) -> bool:
        if self.info.codec == "mp3" and last.size >= 4:
            return last.size < (mp3_frame_bytes(bytes(last)[:4]) or 0)
        if self.info.container in ("wav", "w64") and wav_data_bytes(self._head) is None:
            return False  # written to a pipe: FFmpeg always misses something at the end
        if self.info.container == "caf" and caf_is_open(self._head):
            return False  # the same
        return last.is_corrupt

    def _describe(self, first: AudioFrame | None) -> SourceInfo:
        context = self._stream.codec_context
        like = context if first is None else first
        return SourceInfo(
            _container_name(self._container, self._head),
            context.codec.canonical_name,
            like.sample_rate,
            like.layout.nb_channels,
            round(self._lead, 3),
        )

    def _estimated_length(self) -> int | None:
        seconds = self._declared
        if seconds is None and self._stream.duration and self._stream.time_base:
            seconds = float(self._stream.duration * self._stream.time_base)
        if seconds is None and self._container.duration:
            seconds = self._container.duration / av.time_base
        return None if seconds is None else round((self._lead + seconds) * self.info.sample_rate)


class Unrecognised(DecodeError):
    """FFmpeg knows no such format."""


class OutOfMemory(DecodeError, MemoryError):
    """FFmpeg asks for more memory than there is: most often because of a broken header."""


class _Bytes:
    """What FFmpeg reads: a file from `start` on, or a pipe.

    Its name is not given away, lest it outweigh the content.
    """

    def __init__(self, file: BinaryIO | Replay, head: bytes, name: str, start: int) -> None:
        self._file, self._start = file, start
        self._seekable = not isinstance(file, Replay)
        self._at = 0
        self._begin(head)
        suffix = PurePath(name).suffix.lower()
        self.name = "audio" + suffix if suffix in _BY_SUFFIX else ""
        self.encrypted = False
        if self._seekable:
            self.seek(0)

    def _begin(self, head: bytes) -> None:
        self._at, self.head = 0, head
        better = mended(head)
        self._instead = b"" if better == head else better  # of the first bytes
        self._end: int | None = None  # where another file begins, of those that need to be told
        self._joint = passes_over_joints(head)

    def seekable(self) -> bool:
        return self._seekable

    def read(self, size: int) -> bytes:
        if self._end is not None:
            size = min(size, max(0, self._end - self._at))
        data = bytes(self._file.read(size) or b"")[:size]  # more would overrun FFmpeg's buffer
        if self._joint is not None and self._end is None:
            data = self._until_joint(data)
        if self._at < len(self._instead):
            fixed = self._instead[self._at : self._at + len(data)]
            data = fixed + data[len(fixed) :]
        self._at += len(data)
        self.encrypted = self.encrypted or (b"enca" in data and b"sinf" in data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        assert not isinstance(self._file, Replay)
        if whence == 0:
            if offset < 0:
                return -1  # asked for by a broken header
            offset += self._start
        self._at = self._file.seek(offset, whence) - self._start
        return self._at

    def tell(self) -> int:
        return self._at

    def _until_joint(self, data: bytes) -> bytes:
        """What precedes the next file of the kind."""
        assert self._joint is not None
        ahead = self._peek(LONGEST_BEGINNING) if data else b""
        found = self._joint.search(data + ahead, 0 if self._at else 1)
        if found is None or found >= len(data):
            return data
        self._end = self._at + found
        if isinstance(self._file, Replay):
            self._file.unread(len(data) - found)
        else:
            self._file.seek(found - len(data), os.SEEK_CUR)
        return data[:found]

    def _peek(self, size: int) -> bytes:
        if isinstance(self._file, Replay):
            return self._file.peek(size)
        data = self._file.read(size)
        self._file.seek(-len(data), os.SEEK_CUR)
        return data

    def restart(self, joint: Joint, after: int, within: int | None) -> bool:
        """Begins anew where a file of the kind begins, behind position `after`.

        Args:
            within: so many bytes of a seekable file; None is all.
        """
        if isinstance(self._file, Replay):
            again = min(max(0, self._at - after), len(self._file.tail))
            self._file.unread(again)
            found = joint.search(self._file.peek(_SEARCHED))
            self._file.skip(again if found is None else found)
            if found is None:
                return False
        else:
            at = _find(self._file, joint, self._start + after, within)
            if at is None:
                return False
            self._start = at
            self.seek(0)
        self._begin(self._peek(_HEAD))
        return True

    def tail(self) -> bytes:
        return (
            self._file.tail if isinstance(self._file, Replay) else last_bytes(self._file, OGG_TAIL)
        )


def _find(file: BinaryIO, joint: Joint, start: int, within: int | None) -> int | None:
    """Where the next file begins in a seekable one, from `start` on."""
    file.seek(start)
    end = None if within is None else start + within
    kept = b""
    while (end is None or start < end) and (data := file.read(1 << 16)):
        kept += data
        if (found := joint.search(kept)) is not None:
            return start + found
        start += max(0, len(kept) - LONGEST_BEGINNING)
        kept = kept[-LONGEST_BEGINNING:]
    return None


class _Conversion:
    """Frames of any format to blocks of one rate and number of channels.

    Frames are converted many at a time: one by one, those of 20 ms would cost more than decoding.

    Attributes:
        held: seconds of frames that wait to be taken.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.held = 0.0
        self._info = info
        self._rate, self._channels = info.sample_rate, info.channels
        self._frames: list[AudioFrame] = []
        self._resampler: Resampler | None = None
        self._told = False

    def changes(self, frame: AudioFrame) -> bool:
        return (frame.sample_rate, frame.layout.nb_channels) != (self._rate, self._channels)

    def change(self, frame: AudioFrame, seconds: float) -> list[str]:
        """Prepares for frames like this; returns a warning the first time."""
        self._rate, self._channels = frame.sample_rate, frame.layout.nb_channels
        info = self._info
        self._resampler = (
            None
            if self._rate == info.sample_rate
            else Resampler(self._rate, info.sample_rate, info.channels)
        )
        if self._told:
            return []
        self._told = True
        return [
            f"the audio changes at {seconds:.2f} s from {_format(info.sample_rate, info.channels)} "
            f"to {_format(self._rate, self._channels)}; it is converted back"
        ]

    def push(self, frame: AudioFrame) -> None:
        self._frames.append(frame)
        self.held += frame.samples / frame.sample_rate

    def take(self) -> Samples:
        """What has been pushed since the last time."""
        frames, self._frames, self.held = self._frames, [], 0.0
        parts = [np.empty((0, self._info.channels), np.float32)]
        for _, alike in groupby(frames, lambda frame: frame.format.name):
            block = fit_channels(_as_block(list(alike)), self._info.channels)
            parts.append(block if self._resampler is None else self._resampler.push(block))
        return parts[-1] if len(parts) == 2 else np.concatenate(parts)

    def flush(self) -> Samples:
        """The same and, where the rate is converted, what the filter holds back."""
        block = self.take()
        if self._resampler is None:
            return block
        resampler, self._resampler = self._resampler, None
        return np.concatenate([block, resampler.flush()])


def _format(rate: int, channels: int) -> str:
    return f"{rate} Hz and {channels} channel{'s' * (channels > 1)}"


def _open(data: _Bytes) -> tuple[InputContainer, AudioStream]:
    # A playlist must not make FFmpeg open other files or addresses.
    options = {"protocol_whitelist": ""}
    if data.seekable() and wav_has_plain_samples(data.head):
        options |= {"max_size": str(_WAV_PACKET), "max_probe_packets": str(_WAV_SEARCHED)}
    try:
        container = av.open(cast(BinaryIO, data), "r", options=options, **_LENIENT)
    except MemoryError as error:
        raise OutOfMemory(_NO_MEMORY) from error
    except av.FFmpegError as error:
        raise Unrecognised(_reason(error)) from None
    try:
        return container, _first_audio(container)
    except BaseException:
        container.close()
        raise


def _first_audio(container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise DecodeError("FFmpeg: there is no audio track")
    # PyAV's types deny it, but a track of an unknown codec has no context.
    stream = next((track for track in tracks if track.codec_context is not None), None)
    if stream is None:
        raise DecodeError("FFmpeg: the audio's codec is unknown")
    if "enc_key" in stream.metadata:
        raise DecodeError(_ENCRYPTED)
    if stream.codec_context.name == "flac":
        # Else a damaged frame becomes a burst of noise.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def _keep_layouts(frames: list[Any]) -> None:
    """Makes layouts of channels by name immortal, so that they are freed but once."""
    for frame in frames:
        if isinstance(frame, AudioFrame) and "(" in frame.layout.name:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(frame.layout))


def _container_name(container: InputContainer, head: bytes) -> str:
    """One of the names that FFmpeg gives to a family of containers, such as mov,mp4,m4a,3gp."""
    family = container.format.name.split(",")
    if family[0] == "matroska":
        return "webm" if b"webm" in head[:64] else "matroska"
    if family[0] != "mov":
        return family[0]
    brand = container.metadata.get("major_brand", "").strip().lower()
    if brand in family:
        return brand
    return "mov" if brand == "qt" else "3gp" if brand.startswith("3gp") else "mp4"


def _as_block(frames: list[AudioFrame]) -> Samples:
    """[samples, channels] float32 from planar or interleaved samples of any one type."""
    # Not frame.to_ndarray(): it knows no 64-bit integers, and reads beyond the end of the list
    # of planes where there are just eight of them.
    first = frames[0]
    channels = first.layout.nb_channels
    planar = first.format.is_planar and channels > 1  # one plane is as it would be interleaved
    dtype = np.dtype(_DTYPES[first.format.packed.name])
    values = 1 if planar else channels
    planes = [
        np.concatenate(
            [np.frombuffer(AudioPlane(each, i), dtype, each.samples * values) for each in frames]  # type: ignore[call-overload]
        )
        for i in range(channels if planar else 1)
    ]
    return as_float(np.stack(planes, axis=1) if planar else planes[0].reshape(-1, channels))


def _declared_duration(container: InputContainer, stream: AudioStream, head: bytes) -> float | None:
    """Seconds that the header promises of this stream, or None where it does not say."""
    family = container.format.name.split(",")[0]
    if family == "matroska":
        return _matroska_duration(container, stream)
    if family == "mp3" and (samples := mp3_samples(head)):
        return samples / stream.codec_context.sample_rate
    if family == "w64":  # its duration is FFmpeg's guess from the file's size
        promised = wav_data_bytes(head)
        return 8 * promised / stream.bit_rate if promised and stream.bit_rate else None
    if not stream.duration and (promised := wav_data_bytes(head)) and stream.bit_rate:
        return 8 * promised / stream.bit_rate  # FFmpeg has seen that the file is shorter
    if family not in _DECLARES_DURATION or not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)


def _matroska_duration(container: InputContainer, stream: AudioStream) -> float | None:
    """The track's tag where the writer left one; else the file's, if it is of one track.

    Both say when the track ends, on a clock that it need not begin at 0.
    """
    begins = 0.0
    if stream.start_time and stream.time_base:
        begins = max(0.0, float(stream.start_time * stream.time_base))
    if tag := stream.metadata.get("DURATION"):
        try:
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
        except ValueError:
            return None
        return 3600 * hours + 60 * minutes + seconds - begins
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - begins
    return None


def _seconds(packet: Packet[AudioStream]) -> float:
    if not packet.duration or not packet.time_base:
        return 0.0
    return min(float(packet.duration * packet.time_base), _LONGEST_PACKET)


def _reason(error: av.FFmpegError) -> str:
    return f"FFmpeg: {error.strerror}"
