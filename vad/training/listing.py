"""How long corpora are, from the headers of their files: for `vad data list`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import soundfile

from vad.training.corpora import Corpus


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
