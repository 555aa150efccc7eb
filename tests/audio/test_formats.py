"""All that FFmpeg can write is read as FFmpeg reads it; what differs has its reason here."""

from __future__ import annotations

import re
import shutil

import pytest

from .formats_kit import run

# What disagrees with FFmpeg 5.1 to 9 on the command line, and why; told in docs/formats.md too.
EXPLAINED = {
    r"pcm_.* in (ismv|mp4),": "FFmpeg before 6 doesn't know uncompressed audio in MP4",
    r"adpcm_ima_wav in nut": "NUT doesn't store how many bits a sample has",
    r"flac in (asf|wtv)": "the muxer leaves a gap between its first timestamps, which is kept",
    r"vorbis in (wav|w64)": "the muxer writes what nothing can read",
    r"aac in wav, .* 7 ch": "the muxer writes what nothing can read",
    r"libmp3lame in caf": "padding by the packet table, which FFmpeg 5.1 does not cut off",
    r"g726 in wav, 11025 Hz": "both take the rounded byte rate for 3 bits a sample, not 4",
    r"(ac3|ac3_fixed|eac3|flac|libopus) in flv": "FFmpeg 5.1 does not know these in FLV",
    r" in spdif": "nothing tells the command what it is; convad takes it for what it holds",
    r"tta in matroska, .* 5 ch": "FFmpeg 5.1 refuses the layout",
    r"libspeex in wav": "FFmpeg 5.1 writes and reads frames of another length",
    r"libopus in ogg, .*6 ch, then": "FFmpeg 5.1 ends where the channels change",
    r"flac in flac, .*, then": "FFmpeg 5.1 ends where the rate changes",
    r"mp2 in (mp2|mpegts), .*, then": "ffprobe tells the rate of the second part",
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is what it is compared with")
@pytest.mark.parametrize(("only", "every"), [(", then", 1), ("", 12)])
def test_what_ffmpeg_writes_is_read_as_ffmpeg_reads_it(only: str, every: int) -> None:
    outcomes = run(only, every)
    unlike = [
        outcome
        for outcome in outcomes
        if not outcome.is_agreement
        and not any(re.search(pattern, str(outcome.recipe)) for pattern in EXPLAINED)
    ]
    assert unlike == []
    assert sum(outcome.verdict in ("equal", "agrees") for outcome in outcomes) > 20
