"""Which file names say that a file holds sound, and what a file is called without that.

Content decides how a file is decoded; names only tell which files of a folder to try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

AUDIO_SUFFIXES = frozenset(
    (".wav", ".wave", ".bwf", ".rf64", ".w64", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf")
    + (".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".m4a", ".m4b", ".aac", ".ac3")
    + (".eac3", ".dts", ".mka", ".webm", ".weba", ".wma", ".wv", ".ape", ".tta", ".amr", ".awb")
    + (".gsm", ".g722", ".sph", ".voc")
)
VIDEO_SUFFIXES = frozenset(  # not .ts, which is TypeScript more often
    (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".3gp", ".3g2", ".wmv", ".flv", ".mpg", ".mpeg")
    + (".mts", ".m2ts", ".ogv", ".vob")
)
# Headerless: read with an encoding and a sample rate, and never without.
RAW_SUFFIXES = frozenset(
    {".pcm", ".raw", ".s16", ".sw", ".f32", ".ul", ".ulaw", ".mulaw", ".al", ".alaw"}
)
_SOUND = AUDIO_SUFFIXES | VIDEO_SUFFIXES | RAW_SUFFIXES


def without_suffix(name: str) -> str:
    """The name without an ending of sound; of `talk 3.15`, all."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and not stem.endswith("/") and f"{dot}{suffix}".lower() in _SOUND else name


def distinct_stems(names: Sequence[str]) -> list[str]:
    """Each name without its suffix, where that leaves them apart, upper and lower case aside.

    `a.wav` and `a.mp3` stay as they are, for `a` would be either.
    """
    stems = [without_suffix(name) for name in names]
    count = Counter(stem.casefold() for stem in stems)
    mixed = [
        stem if count[stem.casefold()] == 1 else name
        for stem, name in zip(stems, names, strict=True)
    ]
    distinct = len({each.casefold() for each in mixed}) == len({n.casefold() for n in names})
    return mixed if distinct else list(names)
