from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vad.errors import DataError
from vad.evaluation.sets import LabelledFile, load_sets

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
2
<exists>
1
"IntervalTier"
"words"
0
2
4
0
0.5
""
0.5
1
"hello"
1
1.2
"SIL"
1.2
2
"world"
"""


def index(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")


def audio(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_an_index_names_sets_and_files(tmp_path: Path) -> None:
    audio(tmp_path, "a/1.flac", "a/2.flac", "b/1.flac")
    index(
        tmp_path,
        {"set": "a", "file": "a/1.flac", "duration": 3, "speech": [[0, 1], [2, 3]]},
        {"set": "b", "file": "b/1.flac", "speech": [], "ignored": [[1, 2]]},
        {"set": "a", "file": "a/2.flac", "speech": [[0.5, 1]]},
    )
    first, second = load_sets([tmp_path])
    assert [(each.name, each.speech) for each in first.files] == [
        ("a/1.flac", ((0, 1), (2, 3))),
        ("a/2.flac", ((0.5, 1),)),
    ]
    assert second.files == (LabelledFile("b/1.flac", tmp_path / "b/1.flac", (), ((1, 2),)),)
    assert load_sets([tmp_path / "labels.jsonl"]) == [first, second]
    assert load_sets([tmp_path], only=["b"]) == [second]
    with pytest.raises(DataError, match="no set c; there are a, b"):
        load_sets([tmp_path], only=["b", "c"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"set": "a", "file": "x.flac", "speech": []}, "x.flac: labelled, but not there"),
        ({"set": "a", "file": "1.flac"}, "1: not a labelled file .*speech"),
        ({"set": "a", "file": "1.flac", "speech": [[2, 1]]}, "2 to 1 is no interval"),
        ({"set": "a", "file": "1.flac", "speech": [[0, float("inf")]]}, "0 to inf is no interval"),
        ({"set": "a", "file": "1.flac", "speech": [[1]]}, "1: not a labelled file"),
        ({"set": "a", "file": "1.flac", "speech": 3}, "1: not a labelled file"),
    ],
)
def test_a_bad_row_says_where(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    audio(tmp_path, "1.flac")
    index(tmp_path, row)
    with pytest.raises(DataError, match=message):
        load_sets([tmp_path])


@pytest.mark.parametrize("line", [b"[broken", b'{"file": "\xff", "speech": []}'])
def test_what_is_not_json_says_where(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "labels.jsonl").write_bytes(b"\n" + line + b"\n")
    with pytest.raises(DataError, match="jsonl:2: not a labelled file"):
        load_sets([tmp_path])


def test_an_index_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no file is labelled in it"):
        load_sets([tmp_path])


def test_a_file_is_labelled_once(tmp_path: Path) -> None:
    audio(tmp_path, "1.flac")
    index(tmp_path, *[{"set": "a", "file": "1.flac", "speech": []}] * 2)
    with pytest.raises(DataError, match="labelled twice"):
        load_sets([tmp_path])


def test_label_files_lie_beside_their_audio(tmp_path: Path) -> None:
    folder = tmp_path / "meetings"
    folder.mkdir()
    audio(folder, "one.wav", "two.flac", "deep/three.mp3", "four.wav", "five.wav")
    (folder / "one.TextGrid").write_text(TEXTGRID)
    (folder / "deep/three.txt").write_text("0.25\t0.75\tspeech\n1\t2\tnon_speech\n")
    (folder / "README.txt").write_text("not labels: no audio is called so")
    (folder / "all.rttm").write_text(
        "SPEAKER two 1 0.5 1.0 <NA> <NA> ann <NA> <NA>\n"
        "SPEAKER four 1 0.0 2.0 <NA> <NA> bob <NA> <NA>\n"
        "SPEAKER two 1 1.2 1.0 <NA> <NA> bob <NA> <NA>\n"
    )
    (found,) = load_sets([folder])
    assert found.name == "meetings"
    assert {each.name: each.speech for each in found.files} == {
        "one.wav": ((0.5, 1.0), (1.2, 2.0)),
        "two.flac": ((0.5, 1.5), (1.2, 2.2)),
        "deep/three.mp3": ((0.25, 0.75),),
        "four.wav": ((0.0, 2.0),),
    }
    (single,) = load_sets([folder / "one.TextGrid"])
    assert (single.name, single.files[0].name) == ("meetings", "one.wav")


def test_audio_may_lie_elsewhere(tmp_path: Path) -> None:
    labels, sound = tmp_path / "labels", tmp_path / "sound"
    (sound / "deep").mkdir(parents=True)
    labels.mkdir()
    audio(sound, "deep/one.flac", "two.wav", "other.wav")
    (labels / "all.rttm").write_text("SPEAKER one 1 0.5 1.0 <NA> <NA> ann <NA> <NA>\n")
    (labels / "two.txt").write_text("0.25\t0.75\tspeech\n")
    (found,) = load_sets([labels], audio=[sound])
    assert [(each.name, each.path, each.speech) for each in found.files] == [
        ("one.flac", sound / "deep/one.flac", ((0.5, 1.5),)),
        ("two.wav", sound / "two.wav", ((0.25, 0.75),)),
    ]
    with pytest.raises(DataError, match="no audio called one beside it, nor where --audio says"):
        load_sets([labels / "all.rttm"])
    audio(sound, "one.wav")
    with pytest.raises(DataError, match=r"which audio is one\? There are .*one.* and .*one"):
        load_sets([labels], audio=[sound])
    audio(labels, "one.wav")  # what lies beside comes first
    assert load_sets([labels], audio=[sound])[0].files[0].path == labels / "one.wav"


def test_a_manifest_without_sets_is_one_of_its_folders_name(tmp_path: Path) -> None:
    audio(tmp_path, "1.flac")
    index(tmp_path, {"file": "1.flac", "speech": []})
    assert [each.name for each in load_sets([tmp_path])] == [tmp_path.name]


def test_praat_writes_utf_16_too(tmp_path: Path) -> None:
    audio(tmp_path, "one.wav")
    (tmp_path / "one.TextGrid").write_bytes(TEXTGRID.encode("utf-16"))
    assert len(load_sets([tmp_path])[0].files[0].speech) == 2


def test_an_rttm_of_one_recording_may_bear_its_name(tmp_path: Path) -> None:
    audio(tmp_path, "call.wav", "quiet.wav")
    line = "SPEAKER sph2pipe_out 1 0.5 1.0 <NA> <NA> ann <NA> <NA>\n"
    (tmp_path / "call.rttm").write_text(line)
    (tmp_path / "quiet.rttm").write_text("")
    (found,) = load_sets([tmp_path])
    assert {each.name: each.speech for each in found.files} == {
        "call.wav": ((0.5, 1.5),),
        "quiet.wav": (),
    }


def test_places_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither labels\.jsonl nor label files"):
        load_sets([tmp_path])
    with pytest.raises(DataError, match="no folder with"):
        load_sets([tmp_path / "missing"])
    (tmp_path / "alone.rttm").write_text("SPEAKER x 1 0 1 <NA> <NA> ann <NA> <NA>\n")
    with pytest.raises(DataError, match="no audio called x"):
        load_sets([tmp_path])
    (tmp_path / "alone.rttm").write_text("nonsense here\n")
    with pytest.raises(DataError, match=r"alone\.rttm: line 1"):
        load_sets([tmp_path])


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (0, 0.1, 0, 10),
        (0.004, 0.016, 0, 2),  # both centres, 5 and 15 ms, lie inside
        (0.005, 0.015, 0, 1),  # a centre at the start counts, one at the end does not
        (0.0051, 0.0149, 0, 0),
        (0.105, 0.205, 10, 20),
        (4.304, 6.752, 430, 675),
        (0.9, 99, 90, 1000),
    ],
)
def test_a_frame_is_what_its_centre_is(start: float, end: float, first: int, last: int) -> None:
    found = LabelledFile("a", Path("a"), ((start, end),)).labels(1000)
    assert found.dtype == np.int8
    assert np.flatnonzero(found).tolist() == list(range(first, last))


def test_ignored_beats_speech() -> None:
    file = LabelledFile("a", Path("a"), ((0, 0.04), (0.03, 0.06)), ((0.02, 0.05),))
    assert file.labels(8).tolist() == [1, 1, -1, -1, -1, 1, 0, 0]


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 250))
def test_labels_follow_the_definition(start_ms: int, length_ms: int, frames: int) -> None:
    end_ms = start_ms + length_ms
    found = LabelledFile("a", Path("a"), ((start_ms / 1000, end_ms / 1000),)).labels(frames)
    assert found.tolist() == [int(start_ms <= 10 * i + 5 < end_ms) for i in range(frames)]
