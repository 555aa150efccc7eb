"""The command line as a user meets it: what is printed where, and exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from vad import __version__
from vad.cli import main as command_line
from vad.cli.main import app

ROOT = Path(__file__).parents[2]


def vad(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=stdin)


def main(*words: str) -> tuple[int, str, str]:
    """The entry point: exit code, standard output, standard error."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vad", *words])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as left:
            command_line.main()
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return int(left.value.code or 0), out, err


@pytest.fixture
def bad(tmp_path: Path) -> list[str]:
    (tmp_path / "notes.txt").write_text("no audio\n" * 99)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    return [str(tmp_path / name) for name in ("notes.txt", "empty.wav", "folder", "absent.wav")]


def test_bad_files_get_a_line_each_and_good_ones_their_answer(
    bad: list[str], data_dir: Path
) -> None:
    code, out, err = main("detect", *bad, str(data_dir / "speech.opus"), "-f", "json")
    assert code == 2
    lines = err.splitlines()
    assert len(lines) == len(bad)
    for file in bad:
        assert any(line.startswith(f"vad: {file}: ") for line in lines)
    (found,) = json.loads(out)["results"]
    assert found["file"] == "speech.opus"
    assert any(segment["label"] == "speech" for segment in found["segments"])


def test_a_name_that_does_not_show_is_told_so_that_it_does(data_dir: Path, tmp_path: Path) -> None:
    odd = str(tmp_path / "a\x1b[31mb\n ")
    code, out, err = main("detect", "", odd, str(data_dir / "speech.opus"), "-f", "csv")
    assert code == 2
    assert out.count("speech.opus,") > 2
    assert err.splitlines() == [
        "vad: the file's name is empty",
        f"vad: {odd!r}: No such file or directory",
    ]
    assert main("detect", "")[0::2] == (2, "vad: the file's name is empty\n")


def test_truncated_file_warns_and_succeeds(data_dir: Path) -> None:
    code, out, err = main("detect", str(data_dir / "truncated.mp3"), "-f", "rttm")
    assert code == 0
    assert "warning: audio breaks off" in err
    assert out.startswith("SPEAKER truncated 1 ")


def test_pipe_gets_json_by_default(data_dir: Path) -> None:
    found = vad("detect", "-", stdin=(data_dir / "speech.wav").read_bytes())
    assert found.exit_code == 0
    assert json.loads(found.stdout)["duration"] == pytest.approx(24.73, abs=0.01)


def test_closed_standard_input_is_one_line(data_dir: Path) -> None:
    command = f"{sys.executable} -m vad.cli detect - {data_dir / 'speech.opus'} <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "vad: -: standard input is closed\n"
    assert [found["file"] for found in json.loads(done.stdout)["results"]] == ["speech.opus"]


def test_closed_standard_output_is_one_line(data_dir: Path) -> None:
    command = f"{sys.executable} -m vad.cli detect {data_dir / 'speech.opus'} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "vad: output: standard output is closed: name a file\n"


def test_version() -> None:
    found = vad("--version")
    assert (found.exit_code, found.stdout) == (0, f"convad {__version__}\n")


def test_raw_pcm_from_a_pipe(data_dir: Path) -> None:
    pcm = sf.read(data_dir / "speech.wav", dtype="int16")[0].tobytes()
    raw = vad("detect", "-", "--encoding", "pcm_s16le", "--sample-rate", "16000", stdin=pcm)
    wav = vad("detect", str(data_dir / "speech.wav"))
    assert json.loads(raw.stdout)["segments"] == json.loads(wav.stdout)["segments"]


def test_plot_and_output(data_dir: Path, tmp_path: Path) -> None:
    png, srt = tmp_path / "a.png", tmp_path / "a.srt"
    found = vad(
        "detect", str(data_dir / "speech.mp3"), "-f", "srt", "-o", str(srt), "--plot", str(png)
    )
    assert found.exit_code == 0
    assert found.stdout == ""
    assert srt.read_text().startswith("1\n00:00:")
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", ["--plot", "--output"])
def test_place_that_cannot_be_written_is_told_before_the_work(
    option: str, data_dir: Path, tmp_path: Path
) -> None:
    from vad.errors import ParameterError

    for place in (tmp_path, tmp_path / "none" / "a.png"):
        found = vad("detect", str(data_dir / "speech.wav"), option, str(place))
        assert found.exit_code == 2 or isinstance(found.exception, ParameterError)
        assert found.stdout == ""


def test_reference_beside_the_plot(data_dir: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("0.2\t6.8\tspeech\n")
    png = tmp_path / "a.png"
    words = ("plot", str(data_dir / "speech.wav"), "-o", str(png), "--reference", str(labels))
    assert vad(*words).exit_code == 0
    assert png.is_file()
    labels.write_text("nonsense")
    code, _, err = main(*words)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_channels_of_one_file_do_not_stop_the_others(data_dir: Path, tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.wav"
    sf.write(stereo, np.zeros((1600, 2)), 16_000)
    code, out, err = main("detect", str(data_dir / "speech.wav"), str(stereo), "--channels", "1")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "speech.wav" in err
    assert [found["file"] for found in json.loads(out)["results"]] == ["stereo.wav"]


@pytest.mark.parametrize(
    "words",
    [
        ("--threshold", "2"),
        ("--channels", "left"),
        ("--model", "none-such"),
        ("--device", "abacus"),
        ("--encoding", "flac"),
    ],
)
def test_bad_options_are_one_line(words: tuple[str, str], data_dir: Path) -> None:
    code, out, err = main("detect", str(data_dir / "speech.wav"), *words)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert words[0].strip("-") in err


def test_data_list_names_licences(tree_of_one_pack: Path) -> None:
    found = vad("data", "list", str(tree_of_one_pack))
    assert found.exit_code == 0
    assert "CC0" in found.stdout


@pytest.fixture
def tree_of_one_pack(tmp_path: Path) -> Path:
    pack = tmp_path / "noise" / "hiss"
    pack.mkdir(parents=True)
    (pack / "corpus.json").write_text('{"corpus": "hiss", "licence": "CC0"}')
    row = {"file": "a.wav", "start": 0, "end": 1, "id": "x"}
    (pack / "clips.jsonl").write_text(json.dumps(row))
    sf.write(pack / "a.wav", np.ones(16_000) * 0.1, 16_000)
    return tmp_path


def test_broken_packs_are_named_with_their_line(tree_of_one_pack: Path) -> None:
    clips = tree_of_one_pack / "noise" / "hiss" / "clips.jsonl"
    for text, said in (('{"x": 1}', "'id' is missing"), ("[1]", "not a JSON object")):
        clips.write_text(text)
        code, _, err = main("data", "list", str(tree_of_one_pack))
        assert code == 2
        assert f"clips.jsonl:1: {said}" in err


def test_corpora_of_one_name_are_refused(tree_of_one_pack: Path) -> None:
    pytest.importorskip("torch", reason="preparing data needs torch")
    root, cache = str(tree_of_one_pack), str(tree_of_one_pack / "cache")
    code, _, err = main("data", "prepare", root, root, "--cache", cache)
    assert code == 2
    assert "noise/hiss" in err


COMMANDS = typer.main.get_command(app)


def commands() -> list[tuple[str, ...]]:
    assert isinstance(COMMANDS, TyperGroup)
    names = [(name,) for name in COMMANDS.commands]
    return [(), *names, ("data", "list"), ("data", "prepare")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_at_80_columns_never_cuts_off_an_option(words: tuple[str, ...]) -> None:
    command: Any = COMMANDS
    for word in words:
        command = command.commands[word]
    options = {name for each in command.params for name in each.opts if name.startswith("--")}
    for asked in ("-h", "--help"):
        found = CliRunner().invoke(app, [*words, asked], terminal_width=80)
        assert found.exit_code == 0
        assert options <= set(re.findall(r"--[\w-]+", found.stdout))
        assert max(map(len, found.stdout.splitlines())) <= 80


def test_no_command_is_slow_to_begin() -> None:
    """What a command needs is imported when it is run; help and completion need none of it."""
    code = (
        "import sys, vad.cli.main\n"
        "heavy = {'numpy', 'torch', 'av', 'scipy', 'fastapi', 'rich.progress', 'matplotlib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lack() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(command_line, "app", lack)
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("vad: torch is not installed: ")
