from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from vad.corpora.sources import (
    dataset_corpus,
    find_corpora,
    folder,
    manifest,
    pack,
    phone_labels,
)
from vad.errors import DataError


def test_find_every_kind(tree: Path) -> None:
    found = {(c.kind, c.name): c for c in find_corpora(tree)}
    assert set(found) == {
        ("speech", "reader"),
        ("noise", "hiss"),
        ("noise", "hum"),
        ("music", "tones"),
        ("rir", "rir"),
    }
    assert found["music", "tones"].licence == "CC0"
    assert [clip.group for clip in found["music", "tones"].clips] == ["p", "q"]


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no corpora"):
        find_corpora(tmp_path)


def test_pack_cuts_its_parts(tree: Path) -> None:
    (tones,) = (c for c in find_corpora(tree) if c.name == "tones")
    cut = [len(audio) for _, audio in tones.audio()]
    assert cut == [24_000, 40_000]


def test_broken_file_does_not_lose_the_corpus(tmp_path: Path) -> None:
    sf.write(tmp_path / "b.wav", np.ones(1600) * 0.1, 16_000)
    (tmp_path / "a.wav").write_text("not audio")
    lengths = [len(audio) for _, audio in folder(tmp_path, "noise").audio()]
    assert lengths == [0, 1600]


def test_manifest_times_and_labels(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.arange(16_000) / 16_000, 16_000)
    row = {"file": "a.wav", "start": 0.25, "end": 0.5, "speech": [[0, 0.1]], "speaker": "me"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    ((clip, audio),) = manifest(tmp_path / "m.jsonl", "speech").audio()
    assert clip.speech == ((0.0, 0.1),)
    assert clip.speaker == "me"
    assert len(audio) == 4000
    assert audio[0] == pytest.approx(0.25, abs=1e-3)


def test_manifest_errors_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"file": "a.wav"}\n{oops\n')
    with pytest.raises(DataError, match=r"m\.jsonl:2"):
        manifest(tmp_path / "m.jsonl", "speech")


def test_phone_labels(tmp_path: Path) -> None:
    lab = tmp_path / "x.lab"
    lab.write_text("signal x\n#\n0.5 121 pau\n0.6 121 a\n0.75 121 t\n1.0 121 pau\n1.2 121 o\n")
    assert phone_labels(lab) == ((0.5, 0.75), (1.0, 1.2))
    lab.write_text("#\nnonsense here too\n")
    with pytest.raises(DataError, match="not a label line"):
        phone_labels(lab)


def test_labels_beside_audio_are_used(tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", np.zeros(16_000), 16_000)
    (tmp_path / "x.lab").write_text("#\n0.5 121 pau\n1.0 121 a\n")
    (clip,) = folder(tmp_path, "speech").clips
    assert clip.speech == ((0.5, 1.0),)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("librispeech", "LibriSpeech/train-clean-100/19/198/19-198-0000.flac"),
        ("speech-commands", "yes/19_nohash_0.wav"),
        ("ljspeech", "LJSpeech-1.1/wavs/LJ001-0001.wav"),
        ("musan-noise", "musan/noise/free-sound/noise-free-sound-0000.wav"),
        ("musan-music", "musan/music/fma/music-fma-0000.wav"),
    ],
)
def test_published_datasets_are_read_as_they_unpack(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    sf.write(path, np.ones(3200) * 0.1, 16_000)
    (path.parent / "other.txt").write_text("no audio\n")
    corpus = dataset_corpus(name, tmp_path)
    ((clip, audio),) = corpus.audio()
    assert corpus.kind == {"musan-noise": "noise", "musan-music": "music"}.get(name, "speech")
    assert clip.id == path.stem
    assert clip.speaker in {"19", "LJ001", "noise", "music"}
    assert len(audio) == 3200


def test_unknown_or_absent_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known are"):
        dataset_corpus("TIMIT", tmp_path)
    with pytest.raises(DataError, match="ljspeech"):
        dataset_corpus("ljspeech", tmp_path)


@pytest.mark.parametrize("about", ["", "3", '{"corpus": 3}', '{"corpus": "../../x"}', "\xff"])
def test_a_pack_that_describes_itself_wrongly_says_where(tmp_path: Path, about: str) -> None:
    """Above all one whose name would lead out of the cache."""
    (tmp_path / "corpus.json").write_text(about, encoding="latin-1")
    (tmp_path / "clips.jsonl").write_text("")
    with pytest.raises(DataError, match=r"corpus\.json:1: "):
        pack(tmp_path, "noise")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"start": "x"}, {"start": -0.5}, {"start": float("nan")}, {"end": float("inf")}),
        *({"file": 3}, {"speech": 3}, {"speech": [[1]]}, {"speech": [["a", 1]]}),
    ],
)
def test_a_clip_that_is_none_says_where(tmp_path: Path, wrong: dict[str, object]) -> None:
    """In a pack as in a manifest."""
    row = {"id": 7, "file": "x.wav", "start": 0, "end": 1}
    (tmp_path / "corpus.json").write_text('{"corpus": "p", "licence": null}')
    clips = tmp_path / "clips.jsonl"
    clips.write_text(json.dumps(row))
    for corpus in (pack(tmp_path, "noise"), manifest(clips, "noise")):
        assert [(clip.id, clip.end) for clip in corpus.clips] == [("7", 1.0)]
        assert corpus.licence == "unknown"
    clips.write_text("\n" + json.dumps(row | wrong))
    for read in (pack, manifest):
        with pytest.raises(DataError, match=r"clips\.jsonl:2: "):
            read(clips if read is manifest else tmp_path, "noise")


def test_a_line_ends_where_json_says(tmp_path: Path) -> None:
    """Other characters that part lines may stand in a name."""
    (tmp_path / "m.jsonl").write_text('{"file": "a\u2028b.wav"}\n', encoding="utf-8")
    (clip,) = manifest(tmp_path / "m.jsonl", "noise").clips
    assert clip.path.name == "a\u2028b.wav"
