from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from vad.corpora.licences import parts
from vad.corpora.sources import Corpus, thinned
from vad.errors import DataError
from vad.training.snapshots import SNAPSHOTS, snapshot_corpus


def copy(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        sf.write(root / file, np.zeros(16_000), 16_000, format="WAV")
    return root


def test_a_copy_gives_its_files_with_speakers_and_languages(tmp_path: Path) -> None:
    files = ("data/mp3/000091-11-1.mp3", "data/mp3/000092-11-1.mp3", "data/mp3/000091-11-2.mp3")
    voices = snapshot_corpus("emogator", copy(tmp_path / "a", *files, "data/README.mp3"))
    assert [(c.id, c.speaker, c.group) for c in voices.clips] == [
        ("data/mp3/000091-11-1.mp3", "000091", "000091"),
        ("data/mp3/000092-11-1.mp3", "000092", "000092"),
    ]
    assert voices.wordless
    assert (voices.kind, voices.licence) == ("noise", "Apache-2.0")
    words = snapshot_corpus("gcompris-voices", copy(tmp_path / "b", "pt_BR/words/sun.ogg"))
    assert [(c.lang, c.speaker) for c in words.clips] == [("pt_BR", None)]
    assert not words.wordless


def test_what_its_licence_leaves_out_stays_out(tmp_path: Path) -> None:
    root = copy(tmp_path, "heysavant/en/a.wav", "amelia/en/b.wav")
    assert [c.id for c in snapshot_corpus("precise-community-data", root).clips] == [
        "amelia/en/b.wav"
    ]


def test_unknown_names_and_empty_copies_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known are emogator"):
        snapshot_corpus("librivox", tmp_path)
    with pytest.raises(DataError, match=r"clone https://github.com/fredbuhl/EmoGator there"):
        snapshot_corpus("emogator", tmp_path)


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_every_entry_says_where_it_is_from(name: str) -> None:
    snapshot = SNAPSHOTS[name]
    assert re.fullmatch(r"[0-9a-f]{40}", snapshot.revision)
    assert snapshot.url.count("/") == 4
    assert parts(snapshot.licence)
    re.compile(snapshot.files)


def test_a_thinned_corpus_is_the_same_part_each_time(tmp_path: Path) -> None:
    files = [f"data/mp3/{i:06d}-01-1.mp3" for i in range(40)]
    whole = snapshot_corpus("emogator", copy(tmp_path, *files))
    part = thinned(whole, 10 / 3600)
    assert 10 <= len(part.clips) <= 11
    assert part == thinned(Corpus(*vars(whole).values()), 10 / 3600)
    assert [c for c in whole.clips if c in part.clips] == list(part.clips)
    assert thinned(whole, 1) == whole
