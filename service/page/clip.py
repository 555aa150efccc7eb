"""`POST /page/audio`: a file, or spans of it, as WAV, which every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Annotated

import soundfile
from pydantic import Field, Json

from service.fields import FileFields
from vad.audio import AudioReader, Channels, select_channels
from vad.audio.pcm import Samples
from vad.audio.reader import cut
from vad.errors import ParameterError

Seconds = Annotated[float, Field(ge=0)]
MAX_WAV_BYTES = 2**32 - 2**10  # its header counts with 32 bits
Span = tuple[Seconds, Seconds]  # start and end


class ClipFields(FileFields):
    """The fields of `POST /v1/vad`, and what to keep."""

    spans: Json[list[Span]] | None = None

    def kept(self) -> list[Span] | None:
        """The spans; None for everything.

        Raises:
            ParameterError: they overlap or are not in order.
        """
        before = 0.0
        for start, end in self.spans or []:
            if not before <= start <= end:
                raise ParameterError("spans", "must be in order and not overlap")
            before = end
        return self.spans


def write_clip(reader: AudioReader, fields: ClipFields, file: IO[bytes]) -> None:
    """Writes what is kept as 16-bit WAV, at the file's own rate and with all its channels.

    Args:
        reader: of the whole audio.
        fields: of the request; an index in `channels` keeps that channel alone.
        file: to be written, which must be seekable.

    Raises:
        AudioError, ParameterError: as `POST /v1/vad`, or it is too much for a WAV file.
    """
    kept, rate = fields.kept(), reader.info.sample_rate
    only: Channels = fields.channels if isinstance(fields.channels, int) else "separate"
    blocks: Iterable[Samples] = (select_channels(block, only) for block in reader.blocks())
    if kept is not None:
        bounds = [(round(start * rate), round(end * rate)) for start, end in kept]
        blocks = (part for _, part in cut(blocks, bounds))
    channels = reader.info.channels if only == "separate" else 1
    room = MAX_WAV_BYTES
    with soundfile.SoundFile(file, "w", rate, channels, "PCM_16", format="WAV") as out:
        for block in blocks:
            room -= 2 * block.size
            if room < 0:
                raise ParameterError("spans", "are more audio than a WAV file holds: 4 GB")
            out.write(block)
