from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from vad.cli.eval import evaluate_sets
from vad.errors import ParameterError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for name in ("one", "two"):
        audio = 0.001 * random.standard_normal(32_000)
        audio[8000:24_000] *= 200
        sf.write(tmp_path / f"{name}.flac", audio, 16_000)
        rows.append({"set": name, "file": f"{name}.flac", "speech": [[0.5, 1.5]]})
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "noise").mkdir()
    sf.write(tmp_path / "noise" / "hum.wav", 0.1 * random.standard_normal(16_000), 16_000)
    return tmp_path


def run(*arguments: object, width: int = 200) -> Result:
    app = typer.Typer()
    app.command()(evaluate_sets)
    # COLUMNS keeps rich from folding the tables.
    return CliRunner(env={"COLUMNS": str(width)}).invoke(app, [str(each) for each in arguments])


def test_everything_at_once(data: Path) -> None:
    result = run(
        data, "--peers-only", "--peer", "energy", "--noise", data / "noise", "--snr", 5,
        "--noisy-set", "two", "--false-alarms", data / "noise", "--json", data / "out.json",
        "--markdown", data / "out.md", "--worst", 1, "--seed", 3,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Labelled sets" in result.stdout
    assert "Worst files" in result.stdout
    report = json.loads((data / "out.json").read_text())
    assert report["seed"] == 3
    assert [(row["set"], row["condition"]) for row in report["sets"]] == [
        ("one", "clean"),
        ("two", "clean"),
        ("two", "5 dB"),
    ]
    assert report["noises"][0]["segments"] == 1
    assert "| two | 5 dB | energy |" in (data / "out.md").read_text()


def test_noise_comes_at_four_levels_unless_told(data: Path) -> None:
    out = data / "out.json"
    result = run(
        data, "--peers-only", "--peer", "energy", "--noise", data / "noise", "--set", "one",
        "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert [row["condition"] for row in report["sets"]] == [
        "clean", "20 dB", "10 dB", "5 dB", "0 dB",
    ]  # fmt: skip


def test_our_model_comes_first_and_is_compared(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Detector:
        def __init__(self, name: str) -> None:
            self.name = name
            self.latency_ms = 0

        @classmethod
        def load(cls, name: str) -> Detector:
            return cls(name)

        def probabilities(
            self, audio: NDArray[np.float32], sample_rate: int | None = None
        ) -> NDArray[np.float32]:
            return np.zeros(-(-len(audio) // 160), np.float32)

    monkeypatch.setattr("vad.detector.Detector", Detector)
    out = data / "out.json"
    assert run(data, "--peer", "energy", "--json", out).exit_code == 0
    assert json.loads(out.read_text())["models"] == ["convad-base", "energy"]
    assert run(data, "--model", "a", "--model", "b", "--json", out).exit_code == 0
    report = json.loads(out.read_text())
    assert report["models"] == ["a", "b"]
    assert {(row["first"], row["second"]) for row in report["comparisons"]} == {("a", "b")}


def test_groups_and_plots(data: Path) -> None:
    pytest.importorskip("matplotlib", reason="it draws the plots")
    result = run(
        data, "--peers-only", "--peer", "energy", "--group", "phone=two", "--pool-below", "0.1",
        "--plots", data / "plots", "--json", data / "out.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (data / "plots").iterdir()) == [
        "calibration.png",
        "errors-2-small-sets-clean.png",
        "errors-one-clean.png",
        "errors-two-clean.png",
    ]
    report = json.loads((data / "out.json").read_text())
    assert [row["group"] for row in report["groups"]] == ["clean", "phone"]
    assert [row["set"] for row in report["pooled"]] == ["2 small sets"]


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        (["--peers-only", "--peer", "energy", "--group", "phone"], "group"),
        (["--peers-only", "--peer", "energy", "--group", "phone=three"], "group"),
        (["--peers-only", "--peer", "energy", "--group", "a=one", "--group", "b=one"], "group"),
        (["--peers-only", "--peer", "energy", "--plots", "/nowhere/at/all"], "plots"),
        (["--peers-only"], "peers_only"),
        (["--peers-only", "--peer", "energy", "--model", "x"], "peers_only"),
        (["--peers-only", "--peer", "nobody"], "peer"),
        (["--peers-only", "--peer", "energy", "--snr", "5"], "snr"),
        (["--peers-only", "--peer", "energy", "--noisy-set", "one"], "noisy_set"),
        (["--peers-only", "--peer", "energy", "--json", "/nowhere/at/all.json"], "json"),
        (["--peers-only", "--peer", "energy", "--json", "a", "--markdown", "./a"], "markdown"),
    ],
)
def test_settings_that_make_no_sense_name_themselves(
    data: Path, arguments: list[str], param: str
) -> None:
    result = run(data, *arguments)
    assert isinstance(result.exception, ParameterError)
    assert result.exception.param == param


def test_a_noisy_set_that_is_not_evaluated_is_an_error(data: Path) -> None:
    result = run(
        data, "--peers-only", "--peer", "energy", "--set", "one",
        "--noise", data / "noise", "--noisy-set", "two",
    )  # fmt: skip
    assert isinstance(result.exception, ParameterError)
    assert "two is not evaluated" in str(result.exception)
