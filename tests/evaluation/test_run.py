from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from rich.console import Console

from vad.errors import DataError, ModelError
from vad.evaluation.noise import CLEAN, Condition, NoiseBank, load_noise
from vad.evaluation.peers import Peer, energy
from vad.evaluation.report import Report, render_report
from vad.evaluation.results import SetResult
from vad.evaluation.run import evaluate
from vad.evaluation.sets import LabelledSet, load_sets

from .run_kit import SPEECH, bursts, data, models, sets

__all__ = ["data", "models", "sets"]  # fixtures


def row(report: Report, name: str, condition: str, model: str) -> SetResult:
    found = [
        each
        for each in report.sets
        if (each.set, each.condition, each.model) == (name, condition, model)
    ]
    assert len(found) == 1
    return found[0]


def test_figures_of_a_detector_that_is_right(sets: list[LabelledSet], models: list[Peer]) -> None:
    report = evaluate(models, sets, draws=20)
    found = row(report, "bursts", "clean", "prompt")
    assert found.files == 3
    assert found.minutes == pytest.approx(0.125)
    assert found.speech_ratio == pytest.approx(0.4)
    assert (found.auc, found.auc_shifted, found.shift_ms) == (1, 1, 0)
    assert (found.average_precision, found.f1, found.f1_threshold, found.eer) == (1, 1, 1, 0)
    assert (found.false_alarm, found.miss, found.calibration_error) == (0, 0, 0)
    assert found.detection_error == pytest.approx(0, abs=1e-9)
    assert (found.auc_smoothed, found.average_ms) == (1, 10)
    assert [(each.shorter_than_s, each.found, each.utterances) for each in found.recalls] == [
        (0.5, 0, 0),
        (1, 6, 6),
        (None, 6, 6),
    ]
    assert found.latency_ms == 30
    assert (found.onset_ms, found.onsets, found.onsets_found) == (0, 6, 6)
    assert (found.offset_ms, found.offsets, found.offsets_found) == (0, 6, 6)
    assert row(report, "more", "clean", "prompt").files == 2


def test_figures_of_a_detector_that_lags(sets: list[LabelledSet], models: list[Peer]) -> None:
    report = evaluate(models, sets, draws=20)
    late = row(report, "bursts", "clean", "late")
    assert late.auc < 1
    assert (late.auc_shifted, late.shift_ms) == (1, 70)
    assert (late.onset_ms, late.offset_ms) == (70, 70)
    assert late.miss == pytest.approx(14 / 100)
    assert late.false_alarm == pytest.approx(14 / 150)
    assert late.detection_error == pytest.approx(0.28)
    # At its best shift it is as good, and that is what is compared.
    assert [(each.first, each.second, each.difference) for each in report.comparisons] == [
        ("prompt", "late", 0),
        ("prompt", "late", 0),
    ]
    worst = report.worst(2, "late")
    assert [(each.file, round(each.false_alarm_s, 3), round(each.miss_s, 3)) for each in worst] == [
        ("bursts0.flac", 0.14, 0.14),
        ("bursts1.flac", 0.14, 0.14),
    ]
    assert [each.file for each in report.files if math.isnan(each.auc)] == ["silence.wav"] * 2


def test_noise_is_added_to_the_sets_named_and_to_speech_only(
    data: Path, sets: list[LabelledSet]
) -> None:
    bank = NoiseBank.of([load_noise(str(data / "noise"))])
    conditions = [CLEAN, Condition(0.0, bank, {"bursts"}), Condition(-15.0, bank)]
    heard: dict[str, list[NDArray[np.float32]]] = {}

    def score(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        heard.setdefault("first", []).append(audio)
        return energy().probabilities(audio)

    report = evaluate([Peer("energy", score, 5.0)], sets, conditions)
    assert [(each.set, each.condition, each.files) for each in report.sets] == [
        ("bursts", "clean", 3),
        ("bursts", "0 dB", 3),
        ("bursts", "-15 dB", 3),
        ("more", "clean", 2),
        ("more", "-15 dB", 1),
    ]
    clean, bad, worse = (each.auc for each in report.sets[:3])
    assert clean == 1
    assert clean > bad > worse
    again = evaluate([energy()], sets, conditions)
    # As texts, which tell floats exactly: from Python 3.13 on results with a NaN equal no others.
    assert repr(again.sets) == repr(report.sets)
    other = evaluate([energy()], sets, conditions, seed=1)
    assert repr(other.sets[0]) == repr(report.sets[0])
    assert repr(other.sets[1]) != repr(report.sets[1])


def test_figures_over_several_draws_of_the_noise(data: Path, sets: list[LabelledSet]) -> None:
    bank = NoiseBank.of([load_noise(str(data / "noise"))])
    conditions = [CLEAN, Condition(-15.0, bank, {"bursts"})]

    def louder(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        level = energy().probabilities(audio)
        return np.asarray(level > level.mean(), np.float32)

    flat = Peer("flat", lambda audio: np.zeros(-(-len(audio) // 160), np.float32))
    peers = [Peer("louder", louder), flat]
    first, second, both = (
        evaluate(peers, sets, conditions, seed=seed, noise_draws=draws, draws=20)
        for seed, draws in ((4, 1), (5, 1), (4, 2))
    )
    noisy = row(both, "bursts", "-15 dB", "louder")
    apart = [row(each, "bursts", "-15 dB", "louder") for each in (first, second)]
    assert apart[0].miss != apart[1].miss
    assert noisy.miss == pytest.approx((apart[0].miss + apart[1].miss) / 2)
    assert noisy.onsets == apart[0].onsets + apart[1].onsets
    assert noisy.files == 3
    assert noisy.minutes == pytest.approx(apart[0].minutes)
    assert repr(both.sets[0]) == repr(first.sets[0])  # without noise there is nothing to draw
    assert len(both.files) == len(first.files)
    missed = [sum(each.miss_s for each in of.files) for of in (first, second, both)]
    clean = sum(each.miss_s for each in first.files if each.condition == "clean")
    assert missed[2] == pytest.approx(missed[0] + missed[1] - clean)
    (found,) = [each for each in both.comparisons if each.condition == "-15 dB"]
    assert found.difference == pytest.approx(noisy.auc_shifted - 0.5)
    assert found.low < found.difference < found.high  # over three files, not six


def test_small_sets_count_as_one(data: Path, sets: list[LabelledSet], models: list[Peer]) -> None:
    bank = NoiseBank.of([load_noise(str(data / "noise"))])
    conditions = [CLEAN, Condition(-15.0, bank, {"bursts"})]
    report = evaluate(models, sets, conditions, small_minutes=1, draws=20)
    assert [(each.set, each.condition, each.model, each.files) for each in report.pooled] == [
        ("2 small sets", "clean", "prompt", 5),
        ("2 small sets", "clean", "late", 5),
    ]
    assert [(each.model, each.over, each.sets) for each in report.means()] == [
        ("prompt", "clean", 2), ("late", "clean", 2),
        ("prompt", "clean, small pooled", 1), ("late", "clean, small pooled", 1),
        ("prompt", "all conditions, small pooled", 2), ("late", "all conditions, small pooled", 2),
    ]  # fmt: skip
    every = [each for each in report.means() if each.model == "late"][-1]
    noisy = row(report, "bursts", "-15 dB", "late")
    assert every.auc == pytest.approx((report.pooled[1].auc + noisy.auc) / 2)
    assert [each.set for each in report.comparisons] == ["bursts", "bursts", "more", "2 small sets"]
    text = report.to_markdown()
    assert "| 2 small sets | clean | prompt |" in text
    assert "## AUC@shift by condition" in text
    assert "| set | model | clean | -15 dB |" in text
    assert evaluate(models, sets, small_minutes=0.1, draws=1).pooled == ()  # one alone is small


def test_calibration_is_told_by_group(data: Path, sets: list[LabelledSet]) -> None:
    bank = NoiseBank.of([load_noise(str(data / "noise"))])
    conditions = [CLEAN, Condition(0.0, bank)]
    report = evaluate([energy()], sets, conditions, groups={"odd": ["more"]}, draws=1)
    assert [(each.group, each.sets) for each in report.groups] == [
        ("clean", ("bursts",)),
        ("noisy", ("bursts", "more")),
        ("odd", ("more",)),
    ]
    clean = report.groups[0]
    alone = row(report, "bursts", "clean", "energy")
    assert clean.calibration.error == pytest.approx(alone.calibration_error)
    assert (clean.false_alarm, clean.miss) == (alone.false_alarm, alone.miss)
    assert clean.minutes == pytest.approx(alone.minutes)
    assert "| odd | energy |" in report.to_markdown()


def test_false_segments_an_hour(data: Path, models: list[Peer]) -> None:
    report = evaluate(models[:1], [], noises=[load_noise(str(data / "noise"))])
    (found,) = report.noises
    assert (found.set, found.model, found.segments) == ("noise", "prompt", 1)
    assert found.hours == pytest.approx(4 / 3600)
    assert found.segments_per_hour == pytest.approx(900)
    assert found.speech_ratio == pytest.approx((0.5 + 0.07) / 4)
    by_clip = {each.clip: each.segments for each in found.clips}
    assert by_clip == {"knocks.wav": 1, "hush.wav": 0}


def test_progress_ends_at_one(data: Path, sets: list[LabelledSet], models: list[Peer]) -> None:
    shares: list[float] = []
    noises = [load_noise(str(data / "noise"))]
    evaluate(models, sets, noises=noises, draws=1, progress=shares.append)
    assert shares == pytest.approx([(n + 1) / 7 for n in range(7)])


def test_names_must_differ(sets: list[LabelledSet], models: list[Peer]) -> None:
    with pytest.raises(DataError, match="models need different names"):
        evaluate([models[0], models[0]], sets)
    with pytest.raises(DataError, match="conditions need different names"):
        evaluate(models, sets, [CLEAN, CLEAN])


def test_a_wrong_number_of_frames_is_an_error(sets: list[LabelledSet]) -> None:
    short = Peer("short", lambda audio: np.zeros(3, np.float32))
    with pytest.raises(ModelError, match="short gave frames"):
        evaluate([short], sets)


def test_report_as_json(data: Path, sets: list[LabelledSet], models: list[Peer]) -> None:
    report = evaluate(models, sets, noises=[load_noise(str(data / "noise"))], draws=20)
    found = json.loads(report.to_json())
    assert found["models"] == ["prompt", "late"]
    assert found["sets"][1]["shift_ms"] == 70
    assert found["noises"][0]["segments_per_hour"] == 900
    assert found["means"][0] == {
        "model": "prompt", "over": "clean", "sets": 2, "auc": 1, "auc_shifted": 1,
        "auc_smoothed": 1, "f1": 1, "eer": 0, "false_alarm": 0, "miss": 0,
    }  # fmt: skip
    assert found["sets"][0]["recalls"][2] == {"shorter_than_s": None, "utterances": 6, "found": 6}
    assert found["sets"][1]["latency_ms"] is None
    assert found["curves"][0]["curve"]["miss"] == [1, 0, 0]
    assert found["groups"][0]["calibration"]["error"] == 0
    silent = [each for each in found["files"] if each["file"] == "silence.wav"]
    assert [each["auc"] for each in silent] == [None, None]


def test_report_for_people(data: Path, sets: list[LabelledSet], models: list[Peer]) -> None:
    report = evaluate(models, sets, noises=[load_noise(str(data / "noise"))], draws=20)
    text = report.to_markdown()
    assert "| bursts | clean | late | 0.1 | 40 % |" in text
    assert "| 1.0000 | +70 | " in text
    assert "| +70 ms (6/6) | +70 ms (6/6) | whole file | - | - |" in text
    assert "| +0 ms (6/6) | +0 ms (6/6) | 30 ms | +30 ms | +30 ms |" in text
    assert "| bursts | clean | late | 0/0 | 6/6 | 6/6 | 0 |" in text
    assert "| noise | prompt | 0.00 | 900.0 | 14.2 % |" in text
    assert "Worst" not in text
    detailed = report.to_markdown(worst=1)
    assert "| late | bursts | clean | bursts0.flac | 2.50 |" in detailed
    assert "| prompt | noise | knocks.wav | 2.00 | 1 | 0.57 |" in detailed
    console = Console(width=200)
    with console.capture() as shown:
        render_report(report, console, worst=1)
    assert "Worst files" in shown.get()
    assert "knocks.wav" in shown.get()


def test_figures_are_whole_on_a_narrow_screen(sets: list[LabelledSet], models: list[Peer]) -> None:
    console = Console(width=80)
    with console.capture() as shown:
        render_report(evaluate(models, sets, draws=1), console)
    assert "…" not in shown.get().split("Differences")[0]
    assert "+70 ms (6/6)" in shown.get()


def test_names_are_not_taken_for_markup(tmp_path: Path, models: list[Peer]) -> None:
    sf.write(tmp_path / "a[red]|b.wav", bursts(np.random.default_rng(0)), 16_000)
    row = {"set": "s", "file": "a[red]|b.wav", "speech": SPEECH}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row))
    report = evaluate(models, load_sets([tmp_path]), draws=1)
    console = Console(width=200)
    with console.capture() as shown:
        render_report(report, console, worst=1)
    assert "a[red]|b.wav" in shown.get()
    assert "a[red]\\|b.wav" in report.to_markdown(worst=1)


def test_nothing_to_show(models: list[Peer]) -> None:
    report = evaluate(models, [])
    assert report.tables() == []
    assert report.means() == []


def test_files_without_a_frame_of_speech_get_no_noise(data: Path, models: list[Peer]) -> None:
    """Though an interval names speech: past the file's end, or too short for a frame."""
    rows = [{"file": "bursts0.flac", "speech": SPEECH}]
    rows += [{"file": f"bursts{n}.flac", "speech": [at]} for n, at in ((1, (9, 10)), (2, (1, 1)))]
    (data / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    noisy = Condition(5.0, NoiseBank.of([load_noise(str(data / "noise"))]))
    found = evaluate(models, load_sets([data]), [CLEAN, noisy])
    assert {each.condition: each.files for each in found.sets} == {"clean": 3, "5 dB": 1}


def test_silent_speech_is_named(data: Path, models: list[Peer]) -> None:
    sf.write(data / "silence.wav", np.zeros(16_000), 16_000)
    row = {"file": "silence.wav", "speech": [[0.2, 0.5]]}
    (data / "labels.jsonl").write_text(json.dumps(row))
    noisy = Condition(5.0, NoiseBank.of([load_noise(str(data / "noise"))]))
    with pytest.raises(DataError, match=r"silence\.wav: speech: is silent"):
        evaluate(models, load_sets([data]), [noisy])
