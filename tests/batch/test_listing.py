"""Which recordings folders, patterns, files and manifests name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from vad.batch.listing import clashes, list_recordings
from vad.batch.storage import local_path
from vad.errors import DataError, ParameterError

NAMES = ("1.mp3", "a/2.wav", "a/b/3.MP3", "a/b/c/4.mp3", "a/notes.txt", "a/._2.wav", ".x/5.wav")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def found(tree: Path, *sources: str) -> list[str]:
    listing = list_recordings([str(tree / source) for source in sources])
    return sorted(each.uri.removeprefix(f"{tree}/") for each in listing.recordings)


def test_a_folder_gives_its_audio(tree: Path) -> None:
    assert found(tree, "") == ["1.mp3", "a/2.wav", "a/b/3.MP3", "a/b/c/4.mp3"]
    listing = list_recordings([str(tree)])
    assert listing.left_out == 1
    third = next(each for each in listing.recordings if each.uri.endswith("3.MP3"))
    assert third.name == "a/b/3.MP3"
    assert third.size == len("a/b/3.MP3")
    assert third.etag == str((tree / "a/b/3.MP3").stat().st_mtime_ns)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp3", ["1.mp3"]),
        ("**.mp3", ["1.mp3", "a/b/c/4.mp3"]),
        ("**/*.mp3", ["1.mp3", "a/b/c/4.mp3"]),
        ("a/*/*.[mM][pP]3", ["a/b/3.MP3"]),
        ("a/**", ["a/._2.wav", "a/2.wav", "a/b/3.MP3", "a/b/c/4.mp3", "a/notes.txt"]),
        ("a/?.wav", ["a/2.wav"]),
        ("a/b/[!4].*", ["a/b/3.MP3"]),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    assert found(tree, pattern) == expected


def test_patterns_of_the_current_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [each.uri for each in list_recordings(["*.mp3"]).recordings] == [str(tree / "1.mp3")]


def test_a_file_is_taken_whatever_its_name(tree: Path) -> None:
    strange = tree / "what [is] this?*.bin"
    strange.write_bytes(b"x")
    assert found(tree, strange.name, "a/._2.wav") == ["a/._2.wav", strange.name]


def test_each_file_once(tree: Path) -> None:
    assert found(tree, "", "a", "1.mp3") == found(tree, "")


def test_names_that_are_not_unicode_stay_openable(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    try:
        with open(raw, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("the file system takes Unicode only")
    (each,) = list_recordings([str(tmp_path)]).recordings
    assert each.uri.endswith("/caf%E9.wav")
    path = local_path(each.uri)
    assert path is not None
    assert Path(path).read_bytes() == b"x"
    each.name.encode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "a/2.wav\n\nb/none.wav\n"),
        ("list.csv", "size,path\n7,a/2.wav\n,b/none.wav\n"),
        ("list.tsv", "uri\tetag\na/2.wav\t\nb/none.wav\tx\n"),
        ("list.jsonl", '{"file": "a/2.wav"}\n{"file": "b/none.wav"}\n'),
    ],
)
def test_manifests_name_files_beside_them(tree: Path, name: str, text: str) -> None:
    (tree / name).write_text(text)
    assert found(tree, name) == ["a/2.wav", "b/none.wav"]
    first = list_recordings([str(tree / name)]).recordings[0]
    assert first.size == 7


def test_parquet_manifests_name_any_store(tree: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"uri": ["s3://calls/1.mp3"], "size": [12], "etag": ["x"], "more": [None]})
    pq.write_table(table, tree / "list.parquet")
    (each,) = list_recordings([str(tree / "list.parquet")]).recordings
    assert each == ("s3://calls/1.mp3", 12, "x", "calls/1.mp3")


def test_standard_input_is_a_list(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1.mp3\na/2.wav\n")))
    assert len(list_recordings(["-"]).recordings) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.csv", "title\nx\n", "row 1: has none of the columns"),
        ("list.jsonl", '{"uri": "1.mp3"}\n{"uri": \n', "row 2: "),
        ("list.jsonl", "[1]\n", "row 1: is not a JSON object"),
        ("list.csv", "uri,size\n1.mp3,large\n", "row 1: "),
        ("list.parquet", "PAR", "row 1: "),
    ],
)
def test_broken_manifests_say_where(tree: Path, name: str, text: str, said: str) -> None:
    (tree / name).write_text(text)
    with pytest.raises(DataError, match=said):
        list_recordings([str(tree / name)])


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ParameterError, match=r"no audio files in .* \(1 others\)"):
        list_recordings([str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        list_recordings([str(tmp_path / "absent.wav")])
    with pytest.raises(ParameterError, match="no audio files"):
        list_recordings([str(tmp_path / "*.wav")])


def test_results_of_one_name_are_noticed(tree: Path) -> None:
    (tree / "a/b/2.wav").touch()
    both = list_recordings([str(tree / "a/2.wav"), str(tree / "a/b/2.wav")]).recordings
    assert clashes(both) == (str(tree / "a/2.wav"), str(tree / "a/b/2.wav"))
    assert clashes(list_recordings([str(tree / "a")]).recordings) is None
