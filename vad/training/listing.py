"""How long corpora are, from the headers of their files: for `vad data list`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import av
import soundfile

from vad.corpora.sources import Corpus


@dataclass(frozen=True)
class Length:
    """Of a corpus.

    Attributes:
        hours: of the clips whose length is known.
        unknown: clips whose length no header tells.
    """

    hours: float
    unknown: int

    def __str__(self) -> str:
        return f"{'≥ ' if self.unknown else ''}{self.hours:.2f}"


def length(corpus: Corpus) -> Length:
    """The sum over its clips; a file that does not open counts as unknown."""
    seconds, unknown = 0.0, 0
    for clip in corpus.clips:
        end = duration(clip.path) if clip.end is None else clip.end
        if end is None:
            unknown += 1
        else:
            seconds += max(0.0, end - clip.start)
    return Length(seconds / 3600, unknown)


def thinned(corpus: Corpus, hours: float) -> Corpus:
    """At most about so many hours of a corpus: the same clips each time, drawn by their names.

    Clips whose length no header tells count as nothing.
    """
    left, kept = hours * 3600, set()
    for clip in sorted(corpus.clips, key=lambda clip: zlib.crc32(clip.id.encode())):
        if left <= 0:
            break
        kept.add(clip.id)
        end = duration(clip.path) if clip.end is None else clip.end
        left -= max(0.0, (end or clip.start) - clip.start)
    return replace(corpus, clips=tuple(clip for clip in corpus.clips if clip.id in kept))


def duration(path: Path) -> float | None:
    """Seconds of audio by the file's header, nothing decoded; None if it does not tell."""
    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, OSError):
        pass  # compressed telephone audio and the like: FFmpeg knows more
    try:
        with av.open(path) as container:
            return None if container.duration is None else container.duration / av.time_base
    except (av.FFmpegError, OSError):
        return None
