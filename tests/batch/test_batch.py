"""`vad batch` on this machine as its users meet it: rows, resumption, errors, exit codes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from vad import Detector
from vad.formats import render

from .batch_kit import batch, command, environment, rows


def test_one_command_gives_one_row_a_file(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = batch(recordings, "-o", out, "--model", "convad-tiny", "--workers", 2)
    assert code == 3, said
    found = {row["uri"]: row for row in rows(out)}
    assert len(found) == len(rows(out)) == 8
    failed = {Path(uri).name: row for uri, row in found.items() if row["status"] == "error"}
    assert set(failed) == {"empty.wav", "noise.mp3"}
    for row in failed.values():
        assert row["error_type"] == "DecodeError"
        assert row["error"]
        assert row["segments"] is None
    cut = found[str(recordings / "b/truncated.mp3")]
    assert "breaks off" in cut["warnings"][0]
    assert "2 errors" in said
    assert "2 × DecodeError, such as" in said
    assert "1 file not named like audio left out" in said
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_rows_are_what_the_detector_says(recordings: Path, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "out", "--threshold", 0.6, "--channels", "separate", "-f", "rttm")
    code, said = batch(recordings / "stereo.flac", recordings / "a", *words)
    assert code == 0, said
    from vad import Segmentation

    detector = Detector.load(device="cpu")
    for row in rows(tmp_path / "out"):
        expected = detector.detect(
            row["uri"], segmentation=Segmentation(threshold=0.6), channels="separate"
        )
        assert row["segments"] == [
            {
                name: getattr(each, name)
                for name in ("channel", "start", "end", "label", "confidence")
            }
            for each in expected.segments
        ]
        assert row["duration"] == expected.duration
        assert row["speech"] == pytest.approx(
            sum(s.end - s.start for s in expected.speech), abs=1e-3
        )
        assert (row["model"], row["sha256"]) == (detector.name, detector.sha256)
        assert json.loads(row["params"])["threshold"] == 0.6
        (beside,) = (tmp_path / "out/rttm").rglob(f"{Path(row['uri']).name}.rttm")
        if row["uri"].endswith("stereo.flac"):
            assert beside.read_text() == render(expected, "rttm")


def test_run_again_it_does_only_the_rest(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (recordings, "-o", out, "--model", "convad-tiny", "--workers", 1, "-f", "jsonl")
    assert batch(*words)[0] == 3
    before = {row["uri"]: row for row in rows(out)}
    files = {path: path.read_bytes() for path in out.iterdir()}
    code, said = batch(*words)
    assert code == 3  # as the table has rows of errors
    assert "0 files" in said
    assert "8 were done before" in said
    assert "2 errors from before; --retry-errors" in said
    assert {path: path.read_bytes() for path in out.iterdir()} == files

    # A changed file, a new one and a removed one: its row stays, since results aren't taken back.
    changed, new = recordings / "a/1.wav", recordings / "c.wav"
    changed.write_bytes((recordings / "a/2.wav").read_bytes()[:60_000])
    new.write_bytes(changed.read_bytes())
    (recordings / "a/2.wav").unlink()
    assert "7 were done before" not in batch(*words)[1]
    after = {row["uri"]: row for row in rows(out)}
    assert len(after) == len(rows(out)) == 9
    assert after[str(changed)]["size"] == 60_000
    assert {uri for uri in before if before[uri] != after[uri]} == {str(changed)}
    text = "".join(path.read_text() for path in out.glob("*.jsonl"))
    lines = [json.loads(line) for line in text.splitlines()]
    assert sorted(lines, key=lambda row: row["uri"]) == sorted(rows(out), key=lambda r: r["uri"])

    # Other parameters: every row is done again, none stands beside its predecessor.
    code, said = batch(*words, "--threshold", 0.7)
    assert "replaced" in said
    listed = {
        str(path) for path in recordings.rglob("*") if path.suffix != ".txt" and path.is_file()
    }
    again = {row["uri"]: json.loads(row["params"])["threshold"] for row in rows(out)}
    assert len(again) == len(rows(out)) == 9
    assert {uri for uri, threshold in again.items() if threshold == 0.7} == listed


def test_results_are_no_recordings(recordings: Path, tmp_path: Path) -> None:
    words = (
        f"{recordings}/a/**",
        "-o",
        recordings / "a/out",
        "--model",
        "convad-tiny",
        "-f",
        "json",
    )
    for _ in range(2):
        assert batch(*words)[0] == 0
        assert {Path(row["uri"]).name for row in rows(recordings / "a/out")} == {"1.wav", "2.wav"}


def test_errors_are_tried_again_when_asked(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (recordings, "-o", out, "--model", "convad-tiny", "--workers", 1)
    assert batch(*words)[0] == 3
    workers = {row["uri"]: row["worker"] for row in rows(out)}
    code, said = batch(*words, "--retry-errors")
    assert code == 3
    assert "6 were done before" in said
    again = {row["uri"] for row in rows(out) if row["worker"] != workers[row["uri"]]}
    assert {Path(uri).name for uri in again} == {"empty.wav", "noise.mp3"}
    assert len(rows(out)) == 8
    code, said = batch(*words, "--overwrite")
    assert "0 were done before" in said
    assert not {row["worker"] for row in rows(out)} & set(workers.values())
    assert len(rows(out)) == 8


def test_shards_are_the_whole(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (recordings, "-o", out, "--model", "convad-tiny", "--workers", 1)
    for index in (2, 0, 1):
        assert batch(*words, "--shard", f"{index}/3")[0] in (0, 3)
    assert len({row["uri"] for row in rows(out)}) == len(rows(out)) == 8
    # Another division, or none, finds all of it done.
    for more in (("--shard", "1/2"), ()):
        code, said = batch(*words, *more)
        assert "0 files" in said, said
    code, said = batch(*words, "--shard", "0/2", "--overwrite")
    assert code == 2
    assert said.startswith("vad: shard: rows to be replaced lie in part-")
    assert len(said.splitlines()) == 1
    assert len(rows(out)) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "3/3"), "shard: must be K/N"),
        (("--workers", "0"), "workers: must be"),
        (("--workers", "1..2"), "workers: may be MIN..MAX on Ray only"),
        (("--channels", "left"), "channels: "),
        (("--model", "none-such"), "none-such"),
        (("--encoding", "flac", "--sample-rate", "8000"), "encoding: "),
        (("--encoding", "mulaw"), "sample_rate: "),
        (("--device", "abacus"), "device: "),
        (("--gpus", "1"), "gpus: "),
        (("--threshold", "2"), "threshold: "),
    ],
)
def test_what_can_not_be_is_one_line_before_the_work(
    recordings: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, complaint = batch(recordings, "-o", tmp_path / "out", *words)
    assert code == 2
    *notes, last = complaint.splitlines()
    assert said in last
    assert len(notes) <= 1  # of the file that is not named like audio
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_places_that_can_not_be_are_one_line(recordings: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for words in (
        (recordings, "-o", file / "out"),
        (recordings, "-o", "nowhere://bucket/out"),
        (tmp_path / "none", "-o", tmp_path / "out"),
        ("nowhere://bucket/**.mp3", "-o", tmp_path / "out"),
    ):
        code, said = batch(*words)
        assert code == 2
        assert len(said.splitlines()) == 1, said


def test_two_runs_do_not_write_one_folder(recordings: Path, tmp_path: Path) -> None:
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code, said = batch(recordings, "-o", out)
    os.close(handle)
    assert code == 2
    assert "another `vad batch` is writing there" in said


@pytest.mark.parametrize("format", ["jsonl", "json"])
def test_a_full_disk_leaves_nothing_half_written(
    recordings: Path, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    words = command(recordings, "-o", out, "--model", "convad-tiny", "--workers", 1, "-f", format)
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=environment(),
        # As a disk with no room: a write beyond it fails in the middle of the file.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.returncode == 2
    *notes, last = done.stderr.splitlines()
    assert len(notes) == 1  # of the file that is not named like audio
    assert "File too large; 0 rows are safe, and the same command goes on" in last
    assert not [path for path in out.rglob("*") if path.is_file()]
    code, _said = batch(recordings, "-o", out, "--model", "convad-tiny", "-f", format)
    assert code == 3
    assert len(rows(out)) == 8


def test_names_too_long_for_results_are_rows(tmp_path: Path, data_dir: Path) -> None:
    long = tmp_path / "in" / ("x" * 248 + ".wav")
    long.parent.mkdir()
    long.write_bytes((data_dir / "speech-8k-mulaw.wav").read_bytes())
    code, _said = batch(long.parent, "-o", tmp_path / "out", "--model", "convad-tiny", "-f", "json")
    assert code == 3
    (row,) = rows(tmp_path / "out")
    assert row["error_type"] == "OutputError"
    assert "name too long" in row["error"]
    assert row["segments"] is None


def test_headerless_audio(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "a.pcm").write_bytes(bytes(16_000))
    how = ("--encoding", "pcm_s16le", "--sample-rate", 8000, "--model", "convad-tiny")
    assert batch(tmp_path / "*.pcm", "-o", tmp_path / "out", *how)[0] == 0
    (row,) = rows(tmp_path / "out")
    assert row["duration"] == 1
    assert json.loads(row["params"])["encoding"] == "pcm_s16le"
