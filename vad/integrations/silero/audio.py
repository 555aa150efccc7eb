"""Reading, writing and cutting audio."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vad.audio import load_mono
from vad.audio.pcm import as_array
from vad.audio.writer import AudioWriter
from vad.errors import ParameterError
from vad.integrations.silero.arrays import rows, tensor, torch
from vad.integrations.silero.values import check, rate_of

Timestamps = Sequence[Mapping[str, Any]]


def read_audio(path: str | os.PathLike[str], sampling_rate: int = 16000) -> Any:
    """[samples] float32 at that rate, of whatever FFmpeg decodes; channels are mixed.

    Raises:
        DecodeError, UnsupportedAudio, ParameterError: see `vad.errors`.
        OSError: the file does not exist or may not be read.
    """
    return tensor(load_mono(path, rate_of("sampling_rate", sampling_rate)))


def save_audio(path: str | os.PathLike[str], tensor: Any, sampling_rate: int = 16000) -> None:
    """Writes [samples] or [channels, samples] as the path's suffix says: WAV has 16 bits.

    Raises:
        ParameterError: a suffix of no format that is written, no audio, or no rate.
    """
    channels, rate = rows(tensor, "tensor"), rate_of("sampling_rate", sampling_rate)
    if not channels.size:
        raise ParameterError("tensor", "has no samples, so that there is nothing to write")
    with AudioWriter(path, rate, len(channels)) as file:
        file.write(np.clip(channels.T, -1, 1))


def collect_chunks(
    tss: Timestamps, wav: Any, seconds: bool = False, sampling_rate: int | None = None
) -> Any:
    """The spans of `wav`, one behind the other; of none, no samples.

    Args:
        tss: `{"start", "end"}` in samples, as `get_speech_timestamps` gives them.
        wav: [samples].
        seconds: they are in seconds.
        sampling_rate: of `wav`, Hz; needed with `seconds`.

    Raises:
        ParameterError: seconds without a sampling rate, what are no spans, or several channels.
    """
    spans = _spans(tss, wav, seconds, sampling_rate)
    return _joined([wav[start:end] for start, end in spans], wav)


def drop_chunks(
    tss: Timestamps, wav: Any, seconds: bool = False, sampling_rate: int | None = None
) -> Any:
    """What is left of `wav` without the spans; arguments as for `collect_chunks`."""
    kept, at = [], 0
    for start, end in sorted(_spans(tss, wav, seconds, sampling_rate)):
        kept.append(wav[at : max(at, start)])
        at = max(at, end)
    return _joined([*kept, wav[at:]], wav)


def _spans(
    tss: Timestamps, wav: Any, seconds: bool, sampling_rate: int | None
) -> list[tuple[int, int]]:
    if seconds and not sampling_rate:
        raise ParameterError("sampling_rate", "must be given with seconds, in Hz")
    if (dimensions := getattr(wav, "ndim", 1)) != 1:
        raise ParameterError("wav", f"must be [samples]; it has {dimensions} dimensions")
    scale = rate_of("sampling_rate", sampling_rate) if seconds else 1
    found = []
    for span in tss:
        try:
            start, end = span["start"], span["end"]
        except (TypeError, KeyError, IndexError):
            told = f"must be spans with a start and an end, not {span!r:.40}"
            raise ParameterError("tss", told) from None
        check(start=start, end=end)
        found.append((max(0, round(start * scale)), max(0, round(end * scale))))
    return found


def _joined(parts: list[Any], wav: Any) -> Any:
    """Of the same kind as `wav`: a tensor with its gradient stays one."""
    parts = parts or [wav[:0]]
    if hasattr(wav, "detach") and torch() is not None:
        return torch().cat(parts)
    return np.concatenate([as_array(part) for part in parts])
