from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from vad.cli import main as cli
from vad.corpora.sources import duration, folder, length, pack
from vad.errors import ParameterError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, licence in (("free", "CC0"), ("viral", "CC BY-SA 4.0")):
        place = tmp_path / "noise" / name
        place.mkdir(parents=True)
        (place / "corpus.json").write_text(json.dumps({"corpus": name, "licence": licence}))
        row = {"file": "a.wav", "start": 0.5, "end": 36.5, "id": "x"}
        (place / "clips.jsonl").write_text(json.dumps(row))
        sf.write(place / "a.wav", np.ones(16_000) * 0.1, 16_000)
    debian = tmp_path / "noise" / "debian-pack"
    debian.mkdir()
    (debian / "copyright").write_text("See /usr/share/common-licenses/GPL-3.\n")
    sf.write(debian / "b.flac", np.zeros(72_000), 8000)
    return tmp_path


def listed(*words: str) -> tuple[str, str]:
    found = CliRunner(env={"COLUMNS": "120"}).invoke(cli.app, ["data", "list", *words])
    assert found.exit_code == 0, found.output
    return found.stdout, found.stderr


def test_lengths_come_from_headers(root: Path, data_dir: Path) -> None:
    assert length(pack(root / "noise" / "free", "noise")).hours == pytest.approx(0.01)
    assert duration(data_dir / "speech.wav") == pytest.approx(24.73, abs=0.01)
    assert duration(data_dir / "speech.m4a") == pytest.approx(24.73, abs=0.2)
    place = root / "noise" / "debian-pack"
    (place / "broken.wav").write_text("not audio")
    found = length(folder(place, "noise"))
    assert (found.hours, found.unknown) == (pytest.approx(9 / 3600), 1)
    assert str(found) == "≥ 0.00"
    shutil.copy(data_dir / "speech.amr", place / "broken.wav")
    assert length(folder(place, "noise")).unknown == 0


def test_list_shows_hours_and_licences(root: Path) -> None:
    out, err = listed(str(root))
    assert err == ""
    text = " ".join(out.split())
    assert "noise │ free │ 1 │ 0.01 │ CC0" in text
    assert "noise │ viral │ 1 │ 0.01 │ CC BY-SA 4.0" in text
    assert "noise │ debian-pack │ 1 │ 0.00 │ GPL-3" in text
    assert "all │ 3 │ 3 │ 0.02" in text


def test_licences_are_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = listed(str(root), "--without", "GPL,cc-by-sa")
    assert "free" in out
    assert "viral" not in out
    assert err == ("left out noise/debian-pack: GPL-3\nleft out noise/viral: CC BY-SA 4.0\n")
    prepared: list[str] = []
    monkeypatch.setattr(
        "vad.training.prepare.prepare",
        lambda corpora, *_, **__: prepared.extend(each.name for each in corpora),
    )
    words = ["data", "prepare", str(root), "--cache", str(root / "c"), "--without", "GPL,CC-BY-SA"]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    assert prepared == ["free"]
    nothing = CliRunner().invoke(cli.app, [*words[:-1], "GPL,CC-BY-SA,CC0"])
    assert isinstance(nothing.exception, ParameterError)
