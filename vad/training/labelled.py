"""Recordings with labels beside them, as people make them of their own: whole, with their pauses.

What is labelled becomes clips of speech with exact labels; the long pauses between, in which
nobody speaks, become clips of noise. So a folder of recordings alone is enough to learn from: its
own background is what its speech is mixed with.

    folder/call-01.wav   call-01.txt        Audacity's label track
           call-02.flac  call-02.TextGrid   Praat's
           call-03.mp3   call-03.rttm       or one .rttm that names several
"""

from __future__ import annotations

from pathlib import Path

from vad.corpora.sources import Clip, Corpus, Interval
from vad.errors import DataError
from vad.evaluation.sets import LABEL_FORMATS, LabelledFile, load_sets
from vad.formats import recording_ids
from vad.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES

LONG_S = 1.0  # a pause that parts two clips, and is one of noise
AROUND_S = 0.3  # of a pause that belongs to the speech before and after
MARGIN_S = 0.2  # of a pause that is left out of the noise: labels are never exact
LICENCE = "own recordings"


def labelled_corpora(folder: Path) -> list[Corpus]:
    """A corpus of speech, and one of noise where the recordings have long pauses.

    Args:
        folder: of recordings, with RTTM, TextGrid or Audacity labels or a labels.jsonl as
            `vad.evaluation.sets.load_sets` reads them.

    Raises:
        DataError: nothing is labelled there, a label does not parse, or none of them is speech.
    """
    files = [file for each in load_sets([folder]) for file in each.files]
    speech = tuple(clip for file in files for clip in _spoken(file))
    pauses = tuple(clip for file in files for clip in _silent(file))
    if not speech:
        raise DataError(f"{folder}: no label in it names speech")
    name = folder.resolve().name
    found = [Corpus(name, "speech", LICENCE, speech)]
    return found + ([Corpus(f"{name}-pauses", "noise", LICENCE, pauses)] if pauses else [])


def unlabelled(folder: Path) -> list[Path]:
    """The recordings in a folder that no label is about."""
    labelled = {file.path.resolve() for each in load_sets([folder]) for file in each.files}
    sounds = (p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES | VIDEO_SUFFIXES)
    return sorted(path for path in sounds if path.resolve() not in labelled)


def unread_labels(corpus: Corpus) -> dict[Path, int]:
    """Folders where label files lie beside clips that come without labels, and how many clips.

    A corpus that is no folder of labelled recordings is labelled by the references, so a user's own
    labels would be passed over in silence.
    """
    beside: dict[Path, set[str]] = {}
    found: dict[Path, int] = {}
    for path in {clip.path for clip in corpus.clips if clip.speech is None}:
        folder = path.parent
        if folder not in beside:
            beside[folder] = {
                each.stem for each in folder.iterdir() if each.suffix.lower() in LABEL_FORMATS
            }
        if beside[folder] & recording_ids(path.name):
            found[folder] = found.get(folder, 0) + 1
    return dict(sorted(found.items()))


def _stretches(file: LabelledFile) -> list[list[Interval]]:
    """Its speech, parted at the long pauses."""
    parted: list[list[Interval]] = []
    for start, end in sorted(file.speech):
        if parted and start - max(e for _, e in parted[-1]) < LONG_S:
            parted[-1].append((start, end))
        else:
            parted.append([(start, end)])
    return parted


def _spoken(file: LabelledFile) -> list[Clip]:
    clips = []
    for number, spans in enumerate(_stretches(file)):
        start = max(0.0, spans[0][0] - AROUND_S)
        end = max(e for _, e in spans) + AROUND_S
        inside = tuple((a - start, b - start) for a, b in spans)
        id, group = f"{file.name}#{number}", file.name
        clips.append(Clip(id, file.path, start, end, group=group, speech=inside))
    return clips


def _silent(file: LabelledFile) -> list[Clip]:
    stretches = _stretches(file)
    starts = [0.0, *(max(e for _, e in spans) + MARGIN_S for spans in stretches)]
    ends = [*(spans[0][0] - MARGIN_S for spans in stretches), None]
    return [
        Clip(f"{file.name}#pause-{i}", file.path, start, end, group=file.name, speech=())
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
        if end is None or end - start >= LONG_S - 2 * MARGIN_S
    ]
