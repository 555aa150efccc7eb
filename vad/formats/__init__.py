"""Segments as text: eight formats to write, three of them also to read.

json      one object, or {"results": [...]} for several files
ndjson    a line for each segment, then a summary line
rttm      NIST's Rich Transcription Time Marked: one SPEAKER line for each speech segment
srt, vtt  SubRip and WebVTT: one cue for each speech segment
csv       one row for each segment, with a header
textgrid  Praat's TextGrid: one interval tier for each channel
audacity  label track: start, end and label, tab-separated
"""

from vad.formats.read import READABLE, Interval, read_labels
from vad.formats.write import (
    FORMATS,
    MEDIA_TYPES,
    SINGLE,
    SUFFIXES,
    format_of,
    ndjson_segment,
    ndjson_summary,
    recording_ids,
    render,
    render_many,
    rttm_ids,
    rttm_lines,
    to_dict,
)

__all__ = [
    "FORMATS",
    "MEDIA_TYPES",
    "READABLE",
    "SINGLE",
    "SUFFIXES",
    "Interval",
    "format_of",
    "ndjson_segment",
    "ndjson_summary",
    "read_labels",
    "recording_ids",
    "render",
    "render_many",
    "rttm_ids",
    "rttm_lines",
    "to_dict",
]
