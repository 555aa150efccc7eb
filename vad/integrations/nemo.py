"""Speech for NeMo's speaker diarisation, in place of its own voice activity detection.

    Path("vad.json").write_text(manifest([found], ["meeting.wav"]))

and then `diarizer.vad.external_vad_manifest=vad.json` with `diarizer.vad.model_path=null`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from vad.segments import Segments


def manifest(results: Iterable[Segments], paths: Iterable[str | os.PathLike[str]]) -> str:
    """The manifest that NeMo reads: a JSON object a line, one for each span of speech.

    The fields are those of
    https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/speaker_diarization/.

    Args:
        results: one for each recording; of several channels, wherever anyone speaks.
        paths: of the recordings, as NeMo's own manifest names them. NeMo tells them apart by
            their names without folder and suffix.

    Raises:
        ValueError: not as many paths as results.
    """
    return "".join(
        json.dumps(
            {
                "audio_filepath": os.fspath(path),
                "offset": start,
                "duration": round(end - start, 3),
                "label": "UNK",
                "uniq_id": Path(path).stem,
            }
        )
        + "\n"
        for found, path in zip(results, paths, strict=True)
        for start, end in found.spans
    )
