"""Nothing is lost: what is written where, what is refused, and that no file is half-written."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vad.cli import output
from vad.cli.main import app
from vad.cli.output import check_target, print_whole
from vad.errors import ParameterError
from vad.files import write_whole
from vad.formats import SUFFIXES, format_of

ROOT = Path(__file__).parents[2]


def vad(*words: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, and what went wrong."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    wrong = done.stderr + ("" if done.exception is None else str(done.exception))
    return done.exit_code, done.stdout, wrong


@pytest.fixture
def tree(tmp_path: Path, data_dir: Path) -> Path:
    """Two recordings of one name in different folders, one of them twice, and something else."""
    sound = (data_dir / "speech.opus").read_bytes()
    for name in ("a/talk.opus", "b/talk.opus", "b/talk.webm", "b/.hidden.wav", "b/notes.md"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound if path.suffix != ".md" else b"# Notes\n")
    return tmp_path / "tree"


@pytest.fixture
def recording(tmp_path: Path, data_dir: Path) -> Path:
    path = tmp_path / "talk.opus"
    path.write_bytes((data_dir / "speech.opus").read_bytes())
    return path


def aliases(recording: Path) -> list[Path]:
    """The same file by other names, each of which may be written by its suffix."""
    link, hard = recording.with_name("link.json"), recording.with_name("hard.json")
    link.symlink_to(recording)
    os.link(recording, hard)
    return [link, hard, Path(os.path.relpath(link))]


@pytest.mark.parametrize("given", [True, False], ids=["input", "bystander"])
def test_a_recording_is_never_written_over(recording: Path, data_dir: Path, given: bool) -> None:
    before = recording.read_bytes()
    heard = recording if given else data_dir / "speech.mp3"
    for target in [recording, *aliases(recording)]:
        for options in ((), ("-f", "json")):
            code, out, wrong = vad("detect", heard, "-o", target, *options)
            assert code, target
            assert out == ""
            assert "output" in wrong
            assert recording.read_bytes() == before


def test_a_plot_is_no_way_round(tmp_path: Path, recording: Path) -> None:
    disguised = tmp_path / "talk.png"
    os.link(recording, disguised)
    for words in (("detect", disguised, "--plot"), ("plot", disguised, "-o")):
        code, _, wrong = vad(*words, disguised)
        assert code
        assert "one of the recordings" in wrong
    assert disguised.read_bytes() == recording.read_bytes()


def test_the_name_tells_the_format(recording: Path, tmp_path: Path) -> None:
    for format, suffixes in SUFFIXES.items():
        assert {format_of(f"named{suffix.upper()}") for suffix in suffixes} == {format}
    named, asked = tmp_path / "named.webvtt", tmp_path / "asked"
    assert vad("detect", recording, "-o", named)[0] == 0
    assert vad("detect", recording, "-o", asked, "-f", "vtt")[0] == 0
    assert named.read_bytes() == asked.read_bytes() != b""


def test_a_name_that_disagrees_or_tells_nothing_is_refused(recording: Path, tmp_path: Path) -> None:
    for name, options, said in (
        ("a.srt", ("-f", "json"), "is json, but a.srt is named as srt"),
        ("a.xyz", (), "tells no format"),
        ("a", (), "tells no format"),
    ):
        code, _, wrong = vad("detect", recording, "-o", tmp_path / name, *options)
        assert code
        assert said in wrong
        assert not (tmp_path / name).exists()
    assert vad("detect", recording, "-o", tmp_path / "a.txt", "-f", "rttm")[0] == 0


def test_a_dash_is_standard_output(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, wrong = vad("detect", recording, "-f", "rttm", "-o", "-")
    assert (code, wrong) == (0, "")
    assert printed.startswith("SPEAKER talk 1 ")
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detect", "{recording}", "-o", "{folder}"], "is a folder: name a file, or give --output"),
        (["detect", "{recording}", "--output-dir", "{recording}"], "is a file, or lies in one"),
        (["detect", "{recording}", "--output-dir", "{recording}/a"], "is a file, or lies in one"),
        (["cut", "{recording}", "--split", "{recording}"], "is a file, or lies in one"),
    ],
)
def test_a_file_is_no_folder_and_a_folder_no_file(
    recording: Path, words: list[str], message: str
) -> None:
    names = {"recording": recording, "folder": recording.parent}
    code, printed, wrong = vad(*(word.format(**names) for word in words))
    assert code
    assert printed == ""
    assert message in wrong


def test_files_of_one_name_stay_apart(tree: Path, tmp_path: Path) -> None:
    _, rttm, _ = vad("detect", "-r", tree, "-f", "rttm")
    _, table, _ = vad("detect", "-r", tree, "-f", "csv")
    _, pieces, _ = vad("detect", "-r", tree, "-f", "ndjson")
    ids = {line.split()[1] for line in rttm.splitlines()}
    names = {line.split(",")[0] for line in table.splitlines()[1:]}
    assert ids == {"a/talk", "b/talk.opus", "b/talk.webm"}
    assert names == {"a/talk.opus", "b/talk.opus", "b/talk.webm"}
    assert {json.loads(line)["file"] for line in pieces.splitlines()} == names
    # Named one by one, they are told apart from the folder that holds all.
    given = [tree / name for name in sorted(names)]
    assert vad("detect", *given, "-f", "csv")[1] == table
    # What goes out as it comes is what a file gets in the end.
    target = tmp_path / "all.ndjson"
    assert vad("detect", "-r", tree, "-o", target)[0] == 0
    assert target.read_text() == pieces


def test_a_file_for_each_recording(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    code, out, wrong = vad("detect", "-r", tree, "--output-dir", folder, "-f", "textgrid")
    assert (code, out) == (0, "")
    assert "3 recordings; passed over: 1 hidden, 1 .md" in wrong
    made = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert made == ["a/talk.TextGrid", "b/talk.opus.TextGrid", "b/talk.webm.TextGrid"]


@pytest.mark.parametrize("format", ["srt", "vtt", "textgrid", "audacity"])
def test_several_recordings_are_no_one_subtitle_file(
    tree: Path, tmp_path: Path, format: str
) -> None:
    target = tmp_path / f"all{SUFFIXES[format][0]}"
    for options in (("-f", format), ("-o", target)):
        code, out, wrong = vad("detect", "-r", tree, *options)
        assert code
        assert out == ""
        assert "--output-dir" in wrong
    assert not target.exists()


def test_a_folder_wants_recursive(tree: Path, recording: Path) -> None:
    code, out, wrong = vad("detect", tree, recording, "-f", "rttm")
    assert code == 2
    assert f"{tree}: is a folder: add --recursive (-r)" in wrong
    assert out.startswith("SPEAKER talk 1")
    (tree / "empty").mkdir()
    code, _, wrong = vad("detect", "-r", tree / "empty")
    assert code == 2
    assert "no recordings in it" in wrong


def test_each_recording_once(recording: Path) -> None:
    again = recording.parent / "." / recording.name
    _, table, _ = vad("detect", recording, again, recording.parent, "-r", "-f", "csv")
    _, once, _ = vad("detect", recording, "-f", "csv")
    assert table == once


def test_jobs_do_not_change_the_answer(tree: Path) -> None:
    answers = {vad("detect", "-r", tree, "-f", "json", "-j", jobs)[1] for jobs in "13"}
    assert len(answers) == 1


CRASHING = """
import os, sys
from vad.audio import sandbox
open_audio = sandbox.open_audio
sandbox.open_audio = lambda *args, **options: (
    os.abort() if "crash" in options["name"] else open_audio(*args, **options)
)
sandbox.serve(*map(int, sys.argv[1:]))
"""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_crash_of_the_decoder_costs_that_recording_alone(
    tree: Path, monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    (tree / "b" / "crash.opus").write_bytes((tree / "b" / "talk.opus").read_bytes())
    monkeypatch.setattr("vad.audio.sandbox._COMMAND", CRASHING)
    code, out, wrong = vad("detect", "-r", tree, "-f", "csv", "-j", jobs)
    assert code == 2
    assert f"{tree}/b/crash.opus: the decoder crashed on it" in wrong
    assert len({line.split(",")[0] for line in out.splitlines()[1:]}) == 3


def test_a_shells_pipes(recording: Path) -> None:
    """`<(…)` is a descriptor of the process that was started, and of no child of it."""
    words = f"{sys.executable} -m vad.cli detect <(cat {recording}) <(cat {recording}) -f csv"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({line.split(",")[0] for line in done.stdout.splitlines()[1:]}) == 2


# ---------------------------------------------------------------- writing


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    path.chmod(0o640)

    def fail(*paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(output.os, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, b"after")
    assert path.read_text() == "before"
    write_whole(path, b"after")
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    target, link = tmp_path / "a.json", tmp_path / "b.json"
    target.write_text("before")
    link.symlink_to(target)
    write_whole(link, b"after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    write_whole(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


def test_what_was_written_before_may_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    check_target("output", path)
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(ParameterError, match="no text"):
        check_target("output", path)


@pytest.mark.parametrize(
    ("format", "shown"),
    [("json", '"d\\u00e9j\\u00e0 \\ud83d\\ude00"'), ("csv", '"d\\xe9j\\xe0 \\U0001f600"')],
)
def test_what_the_output_cannot_show_is_escaped(
    format: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_whole('"déjà 😀"', format)
    assert raw.getvalue().decode() == shown
    if format == "json":
        assert json.loads(raw.getvalue()) == "déjà 😀"


# ---------------------------------------------------------------- as a process


def start(*words: str | Path, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vad.cli", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, **{"stdout": pipe, "stderr": pipe, **more})  # type: ignore[call-overload, no-any-return]


def test_names_that_are_no_utf_8_and_an_ascii_output(tmp_path: Path, data_dir: Path) -> None:
    sound = (data_dir / "speech.opus").read_bytes()
    try:
        for name in (b"\xff.opus", "é.opus".encode()):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(sound)
    except OSError:
        pytest.skip("file names are UTF-8 here")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for format in ("csv", "json"):
        process = start("detect", "-r", tmp_path, "-f", format, env=environment)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, b"")
        if format == "json":
            names = {each["file"] for each in json.loads(out)["results"]}
            assert names == {"\\udcff.opus", "é.opus"}
        else:
            assert b"\\udcff" in out
            assert b"\\xe9" in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(recording: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start("detect", recording, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err == b"vad: No space left on device\n"


def test_a_reader_that_has_had_enough_is_no_error(recording: Path) -> None:
    command = f"{sys.executable} -m vad.cli detect {recording} | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == (b"{", b"")


def test_a_meter_on_the_terminal_takes_nothing_from_standard_output(recording: Path) -> None:
    pty = pytest.importorskip("pty", reason="there are no terminals here")
    ours, theirs = pty.openpty()
    copy = recording.with_name("again.opus")
    copy.write_bytes(recording.read_bytes())
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = start("detect", recording, copy, "-f", "csv", stderr=theirs, env=environment)
    os.close(theirs)
    assert process.stdout is not None
    with process.stdout as out, open(ours, "rb", buffering=0) as terminal:
        lines, shown = out.read().splitlines(), b""
        try:
            while data := terminal.read(4096):
                shown += data
        except OSError:  # how Linux ends a terminal
            pass
    assert process.wait() == 0
    assert len(lines) > 10
    assert b"of 2" in shown
    assert b"non_speech" not in shown


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, recording: Path) -> None:
    """One recording gets done, the other is a pipe that never says anything."""
    folder, whole = tmp_path / "out", tmp_path / "all.json"
    for options in (("--output-dir", folder), ("-o", whole)):
        # One each: the first one's decoder may hold its end a moment longer than its parent lives.
        endless = tmp_path / f"endless{options[0]}.wav"
        os.mkfifo(endless)
        process = start("detect", recording, endless, "-j", "2", *options)
        with open(endless, "wb"):  # waits until it is being read
            while options[1] == folder and not (folder / "talk.json").exists():
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 130
    assert [path.name for path in folder.iterdir()] == ["talk.json"]
    assert json.loads((folder / "talk.json").read_text())["segments"]
    assert not whole.exists()
