"""Derives the recordings of this directory; README.md says from what.

python tests/data/make.py /usr/share/pocketsphinx/test/data/librivox
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

HERE = Path(__file__).parent
SENTENCES = ("0870", "0880", "0890", "0920", "0930")
RATE = 16_000


def encode(
    name: str, codec: str, speech: NDArray[np.int16], rate: int, *, bit_rate: int, picture: bool
) -> None:
    with av.open(HERE / name, "w") as container:
        audio = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(audio, av.AudioStream)
        audio.bit_rate = bit_rate
        if picture:
            video = container.add_stream("mpeg4", rate=1, width=32, height=32)
            video.pix_fmt = "yuv420p"
            for second in range(len(speech) // RATE):
                grey = np.full((32, 32, 3), 8 * second, np.uint8)
                image = av.VideoFrame.from_ndarray(grey, format="rgb24")
                image.pts, image.time_base = second, Fraction(1)
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(speech[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        # The encoder takes its own format, rate and frame size: PyAV converts.
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def main(librivox: Path) -> None:
    paths = [librivox / f"sense_and_sensibility_01_austen_64kb-{n}.wav" for n in SENTENCES]
    speech = np.concatenate([sf.read(path, dtype="int16")[0] for path in paths])
    sf.write(HERE / "speech.wav", speech, RATE)

    exact = speech / 32768
    telephone = soxr.resample(exact, RATE, 8000)
    sf.write(HERE / "speech-8k-mulaw.wav", telephone, 8000, subtype="ULAW")
    wide = soxr.resample(exact, RATE, 48_000)
    stereo = np.stack([wide, wide / 2], axis=1)
    sf.write(HERE / "speech-48k-stereo.flac", stereo, 48_000, subtype="PCM_16")

    for name, codec, rate, bit_rate, picture in (
        ("speech.mp3", "libmp3lame", RATE, 32_000, False),
        ("speech.opus", "libopus", 48_000, 24_000, False),
        ("speech.m4a", "aac", 44_100, 64_000, False),
        ("speech.webm", "libopus", 48_000, 24_000, False),
        ("speech.mp4", "aac", 44_100, 64_000, True),
        ("speech.amr", "libopencore_amrnb", 8000, 12_200, False),
    ):
        encode(name, codec, speech, rate, bit_rate=bit_rate, picture=picture)
    whole = (HERE / "speech.mp3").read_bytes()
    (HERE / "truncated.mp3").write_bytes(whole[: len(whole) // 2 + 50])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
