"""Every codec, container, layout and rate that PyAV's FFmpeg can write, read by convad.

    python -m tests.audio.formats_kit [--only PATTERN] [--every N] [--json FILE]

writes small files, decodes each with `vad.audio` (by path and through a pipe) and with the
`ffmpeg` of the command line, to 32-bit floats, and prints what disagrees.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from vad.audio import AudioReader
from vad.audio.sandbox import Sandbox
from vad.errors import VadError

Audio = NDArray[np.float32]

SECONDS = 2.0
# Encoders and muxers that FFmpeg lists and that hold no audio of their own kind, or that need a
# network, a screen or another file.
_NO_CONTAINERS = {
    *("alsa", "opengl", "oss", "pulse", "sdl,sdl2", "xv", "fbdev", "caca", "video4linux2,v4l2"),
    *("rtp", "rtsp", "sap", "rtp_mpegts", "tee", "fifo", "fifo_test", "hls", "dash", "segment"),
    *("stream_segment,ssegment", "hds", "smoothstreaming", "webm_chunk", "webm_dash_manifest"),
    *("crc", "framecrc", "framehash", "framemd5", "hash", "md5", "streamhash", "null"),
    *("chromaprint", "uncodedframecrc", "ffmetadata", "data", "rawvideo", "image2", "image2pipe"),
}
# Samples without a header: nothing tells a decoder their rate, and convad asks for it.
HEADERLESS = re.compile(r"[fsu](8|16|24|32|64)([bl]e)?|alaw|mulaw|vidc|codec2raw|g726(le)?|g723_1"
                        r"|sbc|aptx(_hd)?|dfpwm|daud|bit|sln|adp|spdif")  # fmt: skip
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
            16: "hexadecagonal"}  # fmt: skip
RATES = (8000, 16_000, 44_100, 48_000)
CHANGES = ("mp3", "mp2", "adts", "ac3", "eac3", "latm", "mpegts", "ogg", "flac", "dts")


@dataclass(frozen=True)
class Recipe:
    """One file; or two of one kind joined, where there is a second rate and count."""

    codec: str
    container: str
    rate: int
    channels: int
    then: tuple[int, int] | None = None

    def __str__(self) -> str:
        text = f"{self.codec} in {self.container}, {self.rate} Hz, {self.channels} ch"
        return text if self.then is None else f"{text}, then {self.then[0]} Hz, {self.then[1]} ch"


@dataclass(frozen=True)
class Outcome:
    """What was read of it.

    Attributes:
        recipe: of the file.
        verdict: "equal", "agrees" (to within a codec's frame), "refused" by both, or what differs.
        detail: in words and numbers.
    """

    recipe: Recipe
    verdict: str
    detail: str = ""

    @property
    def is_agreement(self) -> bool:
        return self.verdict in ("equal", "agrees", "refused")


def encoders() -> list[str]:
    """Audio encoders that PyAV has, by name."""
    found = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "w")
        except ValueError:
            continue
        if codec.type == "audio" and codec.is_encoder and name == codec.name:
            found.append(name)
    return [name for name in found if name not in ("anull", "comfortnoise")]


def muxers() -> list[str]:
    """Containers that PyAV can write, by name."""
    found = []
    for name in sorted(av.formats_available):
        try:
            form = av.ContainerFormat(name, "w")
        except ValueError:
            continue
        if form.is_output and name not in _NO_CONTAINERS:
            found.append(name)
    return found


def recipes() -> Iterator[Recipe]:
    """Codec × container at a usual format; then each codec's layouts and rates; then changes."""
    codecs, containers = encoders(), muxers()
    for codec, container in itertools.product(codecs, containers):
        yield Recipe(codec, container, 48_000, 2)
        yield Recipe(codec, container, 8000, 1)
    for codec, channels in itertools.product(codecs, range(1, 17)):
        for container in ("matroska", "wav", "mov", "nut", "caf"):
            yield Recipe(codec, container, 48_000, channels)
    for codec, rate in itertools.product(codecs, (*RATES, 11_025, 32_000, 96_000, 192_000)):
        for container in ("matroska", "wav"):
            yield Recipe(codec, container, rate, 1)
    first = {
        "ogg": ("libvorbis", "libopus", "flac"),
        "mpegts": ("mp2", "aac", "ac3"),
        "adts": ("aac",),
        "mp3": ("libmp3lame",),
        "latm": ("aac",),
        "dts": ("dca",),
    }
    for container in CHANGES:
        for codec in first.get(container, (container,)):
            for one, two in (((44_100, 2), (48_000, 2)), ((48_000, 1), (48_000, 2)),
                             ((48_000, 6), (48_000, 2)), ((16_000, 1), (48_000, 2))):  # fmt: skip
                yield Recipe(codec, container, *one, two)


def check(recipe: Recipe, path: Path, expected: _Sound | None, sandbox: Sandbox) -> Outcome:
    """Reads one file.

    Args:
        recipe, path: of the file.
        expected: what `ffmpeg` decodes, if anything.
        sandbox: where it is read, lest a crash end it all.
    """
    try:
        found = _by_convad(sandbox.open(path))
        with _piped(path) as pipe:
            piped = _by_convad(sandbox.open(pipe, name=path.name))
    except VadError as error:
        if expected is None or not _is_supported(expected):
            return Outcome(recipe, "refused", str(error))
        return Outcome(recipe, "not read", f"{_shape(expected)} by ffmpeg; {error}")
    if expected is None:
        return Outcome(recipe, "read, and not by ffmpeg", _shape(found))
    return _compared(recipe, expected, found, piped)


@dataclass(frozen=True)
class _Sound:
    samples: Audio  # [samples, channels]
    rate: int


@contextmanager
def _piped(path: Path) -> Iterator[BinaryIO]:
    reading, writing = os.pipe()
    data = path.read_bytes()

    def feed() -> None:
        with suppress(OSError), os.fdopen(writing, "wb") as sink:
            sink.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb") as pipe:
        yield pipe
    feeder.join()


def _compared(recipe: Recipe, expected: _Sound, found: _Sound, piped: _Sound) -> Outcome:
    detail = f"{_shape(expected)} by ffmpeg, {_shape(found)} by convad"
    if (expected.rate, expected.samples.shape[1]) != (found.rate, found.samples.shape[1]):
        return Outcome(recipe, "another format", detail)
    if found.samples.shape != piped.samples.shape:
        frame = abs(len(found.samples) - len(piped.samples))
        if frame > 4608:
            return Outcome(recipe, "another length through a pipe", f"{detail}; {_shape(piped)}")
    a, b = expected.samples, found.samples
    if a.shape == b.shape and np.abs(a - b).max(initial=0) < 1e-3:
        return Outcome(recipe, "equal", detail)
    # By a frame of the codec at the start or the end, and the filter of a change of rate.
    if abs(len(a) - len(b)) / found.rate > (0.3 if recipe.then else 0.15):
        return Outcome(recipe, "another length", detail)
    if recipe.then is None:
        likeness, late = _aligned(a.mean(axis=1), b.mean(axis=1))
    else:
        # The first channel of what was joined, each part by itself: other channels are dealt out
        # differently, and where one part ends is told to a frame.
        part = round(1.5 * found.rate)
        (likeness, late), second = (
            _aligned(a[where, 0], b[where, 0]) for where in (slice(part), slice(-part, None))
        )
        likeness = min(likeness, second[0])
    detail += f"; correlation {likeness:.4f}, {late:+d} samples"
    return Outcome(recipe, "agrees" if likeness > 0.98 else "another sound", detail)


def _aligned(a: Audio, b: Audio) -> tuple[float, int]:
    """Largest normalised correlation, and by how many samples b comes later."""
    size = 1 << (len(a) + len(b)).bit_length()
    product = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    most = 8192
    near = np.concatenate([product[:most], product[-most:]])
    at = int(near.argmax())
    norm = float(np.linalg.norm(a) * np.linalg.norm(b)) or 1.0
    return float(near[at]) / norm, at if at < most else at - 2 * most


def _by_convad(reader: AudioReader) -> _Sound:
    with reader:
        blocks = [*reader.blocks(), np.zeros((0, reader.info.channels), np.float32)]
    rate = reader.info.sample_rate
    return _Sound(np.concatenate(blocks)[round(reader.info.start * rate) :], rate)


def _by_ffmpeg(paths: list[Path]) -> list[_Sound | None]:
    """Decodes several files at a time: most of what one takes is the start of the process."""
    command = ["ffmpeg", "-v", "error", "-y"]
    for path in paths:
        command += ["-i", str(path)]
    for i, path in enumerate(paths):
        out = ["-map", f"{i}:a:0", "-c:a", "pcm_f32be", "-f", "au", f"{path}.au"]
        command += out
    done = _run(*command)
    if done.returncode and len(paths) > 1:
        return [sound for path in paths for sound in _by_ffmpeg([path])]
    return [_au(Path(f"{path}.au")) for path in paths]


def _au(path: Path) -> _Sound | None:
    data = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    if len(data) < 24:
        return None
    start, rate, channels = (int.from_bytes(data[i : i + 4], "big") for i in (4, 16, 20))
    samples = np.frombuffer(data[start:], ">f4")
    whole = samples[: len(samples) // channels * channels].reshape(-1, channels)
    return _Sound(whole.astype(np.float32), rate) if samples.size else None


def write(recipe: Recipe, path: Path, seconds: float = SECONDS) -> bool:
    """Writes the file; False if FFmpeg can't."""
    data = b""
    for rate, channels in filter(None, ((recipe.rate, recipe.channels), recipe.then)):
        try:
            _encode(recipe, rate, channels, path, seconds)
        except (av.FFmpegError, ValueError, RuntimeError, OverflowError, TypeError, MemoryError):
            return False
        data += path.read_bytes() if path.is_file() else b""
    path.write_bytes(data)
    return bool(data)


def _encode(recipe: Recipe, rate: int, channels: int, path: Path, seconds: float) -> None:
    path.unlink(missing_ok=True)
    layout = _LAYOUTS.get(channels, f"{channels}c")
    with av.open(str(path), "w", format=recipe.container, options={"strict": "-2"}) as out:
        stream = out.add_stream(recipe.codec, rate=rate, layout=layout, options={"strict": "-2"})
        assert isinstance(stream, av.AudioStream)
        signal = _signal(rate, channels)[: round(seconds * rate)]
        frame = av.AudioFrame.from_ndarray(signal.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in (*av.AudioResampler(stream.format, layout, rate).resample(frame), None):
            out.mux(stream.encode(part))


@lru_cache(40)
def _signal(rate: int, channels: int) -> Audio:
    """Noise-like sound below 1.6 kHz, another in each channel, that starts and ends softly."""
    noise = np.random.default_rng(rate + channels).standard_normal(
        (round(SECONDS * 16_000), channels)
    )
    spectrum = np.fft.rfft(noise, axis=0)
    spectrum[3200:] = 0
    spectrum[:200] = 0
    count = round(SECONDS * rate)
    x = (
        np.fft.irfft(spectrum, count, axis=0)
        if count >= len(noise)
        else np.fft.irfft(spectrum[: count // 2 + 1], count, axis=0)
    )
    envelope = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.05 * rate))
    x *= 0.25 / np.abs(x).max() * envelope[:, None]
    return x.astype(np.float32)


def _is_supported(sound: _Sound) -> bool:
    return 4000 <= sound.rate <= 192_000 and sound.samples.shape[1] <= 64


def _shape(sound: _Sound) -> str:
    seconds = len(sound.samples) / sound.rate
    return f"{seconds:.3f} s of {sound.samples.shape[1]} ch at {sound.rate} Hz"


def _run(*command: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, b"", b"")


class _Writer:
    """Writes in a process of its own: not every encoder survives what it is asked for."""

    def __init__(self) -> None:
        self.crashes: list[Recipe] = []
        self._pool = self._start()

    def write(self, recipe: Recipe, path: Path) -> bool:
        try:
            return self._pool.submit(write, recipe, path).result(timeout=60)
        except (BrokenProcessPool, TimeoutError):
            self.crashes.append(recipe)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start()
            return False

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def close(self) -> None:
        self._pool.shutdown()


def run(only: str = "", every: int = 1) -> list[Outcome]:
    """Outcomes of each n-th of the recipes whose text matches a pattern."""
    wanted = [r for r in dict.fromkeys(recipes()) if re.search(only, str(r))][::every]
    outcomes: list[Outcome] = []
    writer = _Writer()
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        files = ((r, Path(folder) / f"{i}.bin") for i, r in enumerate(wanted))
        written = (pair for pair in files if writer.write(*pair))
        while batch := list(itertools.islice(written, 25)):
            told = [pair for pair in batch if not HEADERLESS.fullmatch(pair[0].container)]
            expected = dict(zip(told, _by_ffmpeg([path for _, path in told]), strict=True))
            for pair in batch:
                outcomes.append(check(*pair, expected.get(pair), sandbox))
                pair[1].unlink()
            print(f"{wanted.index(batch[-1][0])} of {len(wanted)}", file=sys.stderr, flush=True)
    writer.close()
    for recipe in writer.crashes:
        print(f"the encoder crashed: {recipe}", file=sys.stderr)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="pattern that a recipe's text must match")
    parser.add_argument("--every", type=int, default=1, help="take each n-th only")
    parser.add_argument("--json", type=Path, help="where all outcomes go")
    arguments = parser.parse_args()
    outcomes = run(arguments.only, arguments.every)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    for verdict in sorted({outcome.verdict for outcome in outcomes}):
        found = [outcome for outcome in outcomes if outcome.verdict == verdict]
        print(f"{len(found):5d} {verdict}")
        if not found[0].is_agreement:
            for outcome in found:
                print(f"      {outcome.recipe}: {outcome.detail}")


if __name__ == "__main__":
    main()
