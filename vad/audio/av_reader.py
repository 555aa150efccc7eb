"""Compressed audio, video, and all else that libsndfile refuses, through FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from vad.audio.bytestream import Replay, last_bytes
from vad.audio.integrity import OGG_TAIL, mp3_frame_bytes, ogg_has_last_page, wav_data_bytes
from vad.audio.pcm import Samples, as_float
from vad.audio.reader import BreaksOff, SourceInfo
from vad.errors import DecodeError

# Headerless formats, which only the file's name tells.
_BY_SUFFIX = {".g722": "g722", ".gsm": "gsm"}
# Containers whose header states the stream's duration, so that FFmpeg need not estimate it
# from bit rate and file size.
_DECLARES_DURATION = {"mov", "flac", "mp3", "wav", "aiff", "au", "caf"}
_TOLERANCE = 0.25  # s: twice the longest frame of common codecs (AAC at 8 kHz)
_LONGEST_PACKET = 1.0  # s: what a damaged packet may claim to last
_SHORTEST_GAP = 0.2  # s between timestamps: less is jitter
_MOST_SILENCE = 60.0  # s in all, more than there is audio, to stand in for what is missing


class AvDecoder:
    """The first audio track of a file or pipe.

    Args:
        file: seekable, or a pipe, which is read from where it is.
        head: its first few kilobytes.
        name: file name; tells the format of headerless G.722 and GSM.

    Raises:
        DecodeError: FFmpeg finds no audio or cannot decode it.
    """

    def __init__(self, file: BinaryIO | Replay, head: bytes, name: str) -> None:
        self.warnings: list[str] = []
        self._decoded = 0  # samples
        self._silenced = 0.0  # s of them, to stand in for what is missing
        self._last: Packet[AudioStream] | None = None
        self._lost = 0.0  # s of damaged packets since the last good one
        self._has_gaps = False
        self._origin: float | None = None  # s, timestamp of the first frame
        self._broken: str | None = None
        self._file = file
        self._head = head
        self._container = _open(file, name)
        try:
            self._stream = _first_audio(self._container)
            frames = self._decode()
            first = next(frames, None)
            if first is None:
                raise DecodeError(f"FFmpeg: {self._broken or 'the audio track is empty'}")
        except BaseException:
            self._container.close()
            raise
        self._frames = chain([first], frames)
        self.info = _info(self._container, self._stream, first, head)
        self._declared = _declared_duration(self._container, self._stream)
        self.length = self._estimated_length()

    def blocks(self) -> Iterator[Samples]:
        parts: list[Samples] = []
        held = 0
        for part in self._samples():
            parts.append(part)
            held += len(part)
            if held >= self.info.sample_rate:
                yield np.concatenate(parts)
                parts, held = [], 0
        if parts:
            yield np.concatenate(parts)
        if broken := self._broken or self._shortfall():
            raise BreaksOff(broken)

    def close(self) -> None:
        self._container.close()

    def _samples(self) -> Iterator[Samples]:
        for frame in self._frames:
            if changed := self._changed(frame):
                self._broken = changed
                return
            yield from self._silence(self._missing(frame))
            block = _as_block(frame)
            self._decoded += len(block)
            yield block

    def _decode(self) -> Iterator[AudioFrame]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._last = packet
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    self._lost += _seconds(packet)
                    continue
                yield from (frame for frame in frames if isinstance(frame, AudioFrame))
        except av.FFmpegError as error:
            self._broken = _reason(error)

    def _changed(self, frame: AudioFrame) -> str | None:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if rate != self.info.sample_rate:
            return f"the sample rate changes from {self.info.sample_rate} to {rate} Hz"
        if channels != self.info.channels:
            return f"the number of channels changes from {self.info.channels} to {channels}"
        return None

    def _missing(self, frame: AudioFrame) -> float:
        """Seconds between the last good frame and this one."""
        lost, self._lost = self._lost, 0.0
        if frame.time is None:
            return lost
        if self._origin is None:
            self._origin = frame.time
        # Damaged pages and clusters vanish without an error, but timestamps go on.
        gap = frame.time - self._origin - self._decoded / self.info.sample_rate
        missing = gap if gap > max(lost, _SHORTEST_GAP) else lost
        # Else a small file with wild timestamps would last for years.
        audio = self._decoded / self.info.sample_rate - self._silenced
        return missing if self._silenced + missing <= audio + _MOST_SILENCE else 0.0

    def _silence(self, seconds: float) -> Iterator[Samples]:
        """Keeps what follows missing audio at its time."""
        rate = self.info.sample_rate
        count = round(seconds * rate)
        if count and not self._has_gaps:
            self._has_gaps = True
            at = self._decoded / rate
            self.warnings.append(f"audio missing, first at {at:.2f} s, is replaced by silence")
        self._decoded += count
        self._silenced += seconds
        for start in range(0, count, rate):
            yield np.zeros((min(rate, count - start), self.info.channels), np.float32)

    def _shortfall(self) -> str | None:
        """Why audio that ended quietly is not all there, or None."""
        decoded = self._decoded / self.info.sample_rate
        if self._declared is not None and decoded < self._declared - _TOLERANCE:
            return f"the header promises {self._declared:.2f} s"
        if self._lost:
            return "what follows cannot be decoded"
        if self._last is not None and self._is_cut(self._last):
            return "the file ends in the middle of a packet"
        if self._container.format.name == "ogg" and not ogg_has_last_page(_tail(self._file)):
            return "the Ogg stream has no last page"
        return None

    def _is_cut(self, last: Packet[AudioStream]) -> bool:
        if self.info.codec == "mp3" and last.size >= 4:
            return last.size < (mp3_frame_bytes(bytes(last)[:4]) or 0)
        if self.info.container == "wav" and wav_data_bytes(self._head) is None:
            return False  # written to a pipe: FFmpeg always misses something at the end
        return last.is_corrupt

    def _estimated_length(self) -> int | None:
        seconds = self._declared
        if seconds is None and self._stream.duration and self._stream.time_base:
            seconds = float(self._stream.duration * self._stream.time_base)
        if seconds is None and self._container.duration:
            seconds = self._container.duration / av.time_base
        return None if seconds is None else round(seconds * self.info.sample_rate)


def _open(file: BinaryIO | Replay, name: str) -> InputContainer:
    try:
        return av.open(
            file,
            "r",
            format=_BY_SUFFIX.get(PurePath(name).suffix.lower()),
            # A playlist must not make FFmpeg open other files or addresses.
            options={"protocol_whitelist": ""},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise DecodeError(_reason(error)) from None


def _first_audio(container: InputContainer) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise DecodeError("FFmpeg: there is no audio track")
    # PyAV's types deny it, but a track of an unknown codec has no context.
    stream = next((track for track in tracks if track.codec_context is not None), None)
    if stream is None:
        raise DecodeError("FFmpeg: the audio's codec is unknown")
    if stream.codec_context.name == "flac":
        # Else a damaged frame becomes a burst of noise.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def _info(
    container: InputContainer, stream: AudioStream, frame: AudioFrame, head: bytes
) -> SourceInfo:
    return SourceInfo(
        _container_name(container, head),
        stream.codec_context.codec.canonical_name,
        frame.sample_rate,
        frame.layout.nb_channels,
    )


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


def _as_block(frame: AudioFrame) -> Samples:
    """[samples, channels] float32 from planar or interleaved samples of any type."""
    samples: Any = frame.to_ndarray()
    if frame.format.is_planar:
        return np.ascontiguousarray(as_float(samples.T))
    return as_float(samples.reshape(-1, frame.layout.nb_channels))


def _declared_duration(container: InputContainer, stream: AudioStream) -> float | None:
    """Seconds that the header promises of this stream, or None where it does not say."""
    family = container.format.name.split(",")[0]
    if family == "matroska":
        return _matroska_duration(container, stream)
    if family not in _DECLARES_DURATION or not stream.duration or not stream.time_base:
        return None
    if family == "mp3" and not stream.start_time:  # no LAME tag: an estimate
        return None
    return float(stream.duration * stream.time_base)


def _matroska_duration(container: InputContainer, stream: AudioStream) -> float | None:
    """The track's tag where the writer left one; else the file's, if it is of one track."""
    if tag := stream.metadata.get("DURATION"):
        try:
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
        except ValueError:
            return None
        return 3600 * hours + 60 * minutes + seconds
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _seconds(packet: Packet[AudioStream]) -> float:
    if not packet.duration or not packet.time_base:
        return 0.0
    return min(float(packet.duration * packet.time_base), _LONGEST_PACKET)


def _tail(file: BinaryIO | Replay) -> bytes:
    return file.tail if isinstance(file, Replay) else last_bytes(file, OGG_TAIL)


def _reason(error: av.FFmpegError) -> str:
    return f"FFmpeg: {error.strerror}"
