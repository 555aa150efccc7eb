"""Development sets made of what a recipe holds out: meetings whose labels are exact, and voices
that say no words.

    OUT/labels.jsonl                 as `vad eval` reads it
        made-meetings/000.flac …     half a minute each
        bursts/emogator.flac …       one file a corpus, without speech

Scenes are a function of the cache, the recipe and the seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from vad.errors import DataError
from vad.evaluation.timing import runs
from vad.frames import HOP_MS, HOP_SAMPLES, SAMPLE_RATE
from vad.training.bank import held_out
from vad.training.draw import Draw
from vad.training.labels import IGNORE, SPEECH, Labels
from vad.training.mixing import Mixer
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe

SECONDS = 30.0
WITHOUT_SPEECH = 0.05
# As meetings are recorded: training hears worse, and there the levels and the noise decide, not who
# is meant.
SNR_DB = (6.0, 20.0, 40.0)
LEVEL_DB = (-30.0, -1.0)


def write_made_sets(
    corpora: Sequence[Cached], recipe: SceneRecipe, out: Path, *, minutes: float, seed: int
) -> None:
    """Writes `made-meetings` and, where the recipe names corpora of bursts, `bursts`.

    Args:
        corpora: as `load_cache` gives them.
        recipe: of the scenes; only what its `held_out` names is used, and all rooms.
        out: a folder, made if absent.
        minutes: of meetings.
        seed: of them.

    Raises:
        DataError: the recipe holds out too little, or labels are there already.
    """
    index = out / "labels.jsonl"
    if index.exists():
        raise DataError(f"{index} is there already: name another folder")
    left = [_held_out(corpus, recipe.held_out) for corpus in corpora]
    scenes = replace(
        recipe,
        seconds=SECONDS,
        meetings=1.0,
        without_speech=WITHOUT_SPEECH,
        lone=0.0,
        snr_db=SNR_DB,
        level_db=LEVEL_DB,
        held_out=(),
    )
    mixer = Mixer([corpus for corpus in left if corpus.clips], scenes)
    rows = []
    (out / "made-meetings").mkdir(parents=True, exist_ok=True)
    for number in range(max(1, round(minutes * 60 / SECONDS))):
        audio, labels = mixer.scenes(Draw("cpu", seed, number), 1)
        name = f"made-meetings/{number:03d}.flac"
        sf.write(out / name, audio[0].numpy(), SAMPLE_RATE, subtype="PCM_16")
        rows.append(_row("made-meetings", name, labels[0].numpy()))
    for corpus in left:
        if corpus.name in recipe.bursts_of and corpus.clips:
            (out / "bursts").mkdir(exist_ok=True)
            name = f"bursts/{corpus.name}.flac"
            audio_of_all = np.concatenate([corpus.samples(row) for row in corpus.clips])
            sf.write(out / name, audio_of_all, SAMPLE_RATE, subtype="PCM_16")
            frames = np.zeros(len(audio_of_all) // HOP_SAMPLES, np.int8)
            rows.append(_row("bursts", name, frames))
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _held_out(corpus: Cached, rules: Sequence[str]) -> Cached:
    """What of a corpus is kept for testing; a room is a room."""
    if corpus.kind == "rir":
        return corpus
    return replace(corpus, clips=[row for row in corpus.clips if held_out(corpus.name, row, rules)])


def _row(name: str, file: str, labels: Labels) -> dict[str, Any]:
    def spans(value: int) -> list[list[float]]:
        return [[a * HOP_MS / 1000, b * HOP_MS / 1000] for a, b in runs(labels == value)]

    row: dict[str, Any] = {"set": name, "file": file, "duration": len(labels) * HOP_MS / 1000}
    return row | {"speech": spans(SPEECH), "ignored": spans(IGNORE), "labels": "made"}
