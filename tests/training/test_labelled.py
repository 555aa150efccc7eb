"""A user's folder of recordings and labels becomes speech and noise to learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vad.corpora.sources import Corpus, find_corpora
from vad.errors import DataError
from vad.training.labelled import labelled_corpora, unlabelled, unread_labels
from vad.training.prepare import load_cache, prepare
from vad.training.recipe import Recipe

RATE = 16_000
ROOT = Path(__file__).parents[2]
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
12
<exists>
1
"IntervalTier"
"words"
0
12
3
0
2
"sil"
2
3.5
"hello"
3.5
12
""
"""


def record(folder: Path, name: str, seconds: float = 12) -> None:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, round(seconds * RATE))
    soundfile.write(folder / name, noise, RATE)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    record(folder, "a.wav")
    (folder / "a.txt").write_text("1.0\t2.0\thello\n2.5\t4.0\tyou\n8.0\t9.0\tbye\n9.5\t10\tnoise\n")
    record(folder, "b.flac")
    (folder / "b.TextGrid").write_text(TEXTGRID)
    record(folder, "c.wav")
    (folder / "c.rttm").write_text("SPEAKER c 1 5.0 1.0 <NA> <NA> ann <NA> <NA>\n")
    record(folder, "d.wav", 3)
    (folder / "d.txt").write_text("")
    record(folder, "e.wav", 3)
    return folder


def clips(corpus: Corpus) -> dict[str, tuple[float, float | None]]:
    return {clip.id: (round(clip.start, 3), clip.end) for clip in corpus.clips}


def test_labels_of_each_kind_part_speech_from_pauses(mine: Path) -> None:
    speech, noise = labelled_corpora(mine)
    assert (speech.kind, speech.name, noise.kind, noise.name) == (
        "speech",
        "mine",
        "noise",
        "mine-pauses",
    )
    assert clips(speech) == {
        "a.wav#0": (0.7, 4.3),  # the short pause belongs to it
        "a.wav#1": (7.7, 9.3),
        "b.flac#0": (1.7, 3.8),
        "c.wav#0": (4.7, 6.3),
    }
    assert np.allclose(speech.clips[0].speech or (), [(0.3, 1.3), (1.8, 3.3)])
    assert clips(noise) == {
        "a.wav#pause-0": (0, 0.8),
        "a.wav#pause-1": (4.2, 7.8),
        "a.wav#pause-2": (9.2, None),
        "b.flac#pause-0": (0, 1.8),
        "b.flac#pause-1": (3.7, None),
        "c.wav#pause-0": (0, 4.8),
        "c.wav#pause-1": (6.2, None),
        "d.wav#pause-0": (0, None),  # labelled: nobody speaks
    }


def test_what_nothing_labels_is_told(mine: Path) -> None:
    assert [path.name for path in unlabelled(mine)] == ["e.wav"]


def test_labels_that_are_not_read_are_told(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    mine.rename(tmp_path / "speech" / "mine")
    (corpus,) = find_corpora(tmp_path)
    assert unread_labels(corpus) == {tmp_path / "speech" / "mine": 4}  # e.wav has none
    assert not any(map(unread_labels, labelled_corpora(tmp_path / "speech" / "mine")))
    lines: list[str] = []
    prepare(
        [noise := replace(corpus, kind="noise")], tmp_path / "cache", workers=1, report=lines.append
    )
    assert "4 recordings" in lines[0]
    assert f"--labelled {tmp_path / 'speech' / 'mine'}" in lines[0]
    prepare([noise], tmp_path / "cache", workers=1, report=lines.append)
    assert f"delete {tmp_path / 'cache' / 'noise' / 'mine'}" in lines[-1]


def test_a_folder_of_labelled_recordings_is_no_root(mine: Path) -> None:
    with pytest.raises(DataError, match="--labelled"):
        find_corpora(mine)


def test_prepared_labels_are_the_users(mine: Path, tmp_path: Path) -> None:
    prepare(labelled_corpora(mine), tmp_path / "cache", workers=1)
    cached = {corpus.name: corpus for corpus in load_cache(tmp_path / "cache")}
    spoken = (cached["mine"].labels == 1).sum() / 100
    assert spoken == pytest.approx(1.0 + 1.5 + 1.0 + 1.5 + 1.0, abs=0.1)
    assert not (cached["mine-pauses"].labels == 1).any()


def test_a_folder_without_speech_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "none", "a.wav", 2)
    with pytest.raises(DataError, match="nor label files"):
        labelled_corpora(tmp_path / "none")
    (tmp_path / "none" / "a.txt").write_text("0\t1\tnoise\n")
    with pytest.raises(DataError, match="names speech"):
        labelled_corpora(tmp_path / "none")


def test_the_recipe_needs_nothing_else(mine: Path, tmp_path: Path) -> None:
    from vad.training.draw import Draw
    from vad.training.mixing import Mixer

    prepare(labelled_corpora(mine), tmp_path / "cache", workers=1)
    recipe = Recipe.read(ROOT / "recipes/finetune.toml")
    assert not recipe.scenes.held_out
    assert recipe.taught == 0 or recipe.teacher == 0  # no reference detector to install
    mixer = Mixer(load_cache(tmp_path / "cache"), recipe.scenes)
    audio, labels = mixer.scenes(Draw("cpu", 1, 1), 8)
    assert audio.shape == (8, round(recipe.scenes.seconds * RATE))
    assert {1, 0} <= set(labels.unique().tolist())
