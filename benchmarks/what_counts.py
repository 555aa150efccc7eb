"""What a detector calls speech, by how faint it is and by what it is.

    python benchmarks/what_counts.py CACHE RECIPE --model MODEL … --peer silero [--sung FOLDER]

The table of docs/what-counts-as-speech.md. Of recordings that RECIPE holds out: somebody talks for
four seconds, and half a second later somebody else, in a room, so many decibels fainter; somebody
talks alone, at so many dBFS; people laugh and sigh. Shares are of frames at a threshold of 0.5;
of talk, of those that are speech by the clip's own label.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import Table, finish, parser
from numpy.typing import NDArray

from vad import Detector
from vad.audio import load_mono
from vad.evaluation.peers import Peer, convad, load_peer
from vad.training import effects
from vad.training.bank import held_out
from vad.training.draw import Draw
from vad.training.prepare import Cached, load_cache
from vad.training.recipe import Recipe, SceneRecipe

Audio = NDArray[np.float32]
Labels = NDArray[np.int8]
UNDER_DB = (0, -6, -10, -14, -20, -26, -32)
LEVELS_DBFS = (-20, -32, -42, -52, -60)
HISS_DBFS = -78.0  # of a quiet microphone
COUNT = 20
THRESHOLD = 0.5


def clips(corpora: list[Cached], scenes: SceneRecipe, kind: str) -> Iterator[tuple[Audio, Labels]]:
    """Those held out, speech at −20 dBFS and noise as it is, each with its labels."""
    for corpus in corpora:
        if corpus.kind != kind or (kind == "noise" and corpus.name not in scenes.bursts_of):
            continue
        for row in corpus.clips:
            if not held_out(corpus.name, row, scenes.held_out):
                continue
            first, count = int(str(row["frame"])), int(str(row["frames"]))
            audio = corpus.audio[first * 160 : (first + count) * 160].astype(np.float32) / 32768
            labels = np.asarray(corpus.labels[first : first + count])
            gain = 10 ** ((-20 - float(str(row["level"]))) / 20) if kind == "speech" else 1.0
            yield audio * np.float32(gain), labels


def hissing(audio: Audio, rng: np.random.Generator) -> Audio:
    noise = rng.standard_normal(len(audio)).astype(np.float32)
    return audio + noise * np.float32(10 ** (HISS_DBFS / 20))


def in_a_room(audio: Audio, seed: int) -> Audio:
    draw = Draw("cpu", seed)
    whole = torch.from_numpy(audio)[None]
    return np.asarray(effects.in_rooms(whole, effects.simulated_rooms(1, draw))[0].numpy())


def share(peers: list[Peer], scenes: list[tuple[Audio, NDArray[np.bool_]]]) -> list[str]:
    """Of each peer, the share of the marked frames that it calls speech."""
    cells = []
    for peer in peers:
        found = [peer.probabilities(audio)[: len(mark)][mark] for audio, mark in scenes]
        cells.append(f"{np.mean(np.concatenate(found) >= THRESHOLD):.2f}")
    return cells


def main() -> None:
    options = parser(__doc__)
    options.add_argument("cache", type=Path)
    options.add_argument("recipe", type=Path)
    options.add_argument("--model", action="append", default=[])
    options.add_argument("--peer", action="append", default=[])
    options.add_argument("--sung", type=Path, help="a folder of sung notes")
    given = options.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    peers: list[Peer] = []
    for model in given.model:
        detector = convad(Detector.load(model))
        peers.append(Peer(Path(model).name, detector.probabilities))
    peers += [load_peer(name) for name in given.peer]
    corpora, scenes = load_cache(given.cache), Recipe.read(given.recipe).scenes
    talk = [
        (a, s)
        for a, s in clips(corpora, scenes, "speech")
        if len(s) >= 200 and (s == 1).mean() > 0.6
    ]
    order = rng.permutation(len(talk))[: 2 * COUNT]
    table = Table("What counts", ["share of frames called speech", *(p.name for p in peers)])
    for under in UNDER_DB:
        made = []
        for number, (one, two) in enumerate(zip(order[::2], order[1::2], strict=False)):
            (first, _), (second, said) = talk[one], talk[two]
            first, second, said = first[:64_000], second[:48_000], said[:300]
            # As long as it rings, and as loud as it was.
            wet = in_a_room(np.pad(second, (0, 3200)), number)
            wet *= np.float32(10 ** (under / 20))
            audio = np.concatenate([first, np.zeros(8_000, np.float32), wet])
            mark = np.zeros(len(audio) // 160, bool)
            start = (len(first) + 8_000) // 160
            mark[start : start + len(said)] = said == 1
            made.append((hissing(audio, rng), mark))
        table.rows.append(
            [f"somebody else, {-under} dB under the talker before", *share(peers, made)]
        )
    for level in LEVELS_DBFS:
        gain = np.float32(10 ** ((level + 20) / 20))
        made = [(hissing(talk[i][0] * gain, rng), talk[i][1] == 1) for i in order[:COUNT]]
        table.rows.append([f"talk alone at {level} dBFS", *share(peers, made)])
    bursts = [(a, np.ones(len(s), bool)) for a, s in clips(corpora, scenes, "noise")]
    chosen = rng.permutation(len(bursts))[:80]
    table.rows.append(["laughs, sighs, coughs", *share(peers, [bursts[i] for i in chosen])])
    if given.sung:
        files = sorted(given.sung.rglob("mono/*.wav"))
        notes = [load_mono(files[i]) for i in rng.permutation(len(files))[:20]]
        sung = [(a, np.ones(len(a) // 160, bool)) for a in notes]
        table.rows.append(["sung notes", *share(peers, sung)])
    finish([table], None, given)


if __name__ == "__main__":
    main()
