from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from vad.cli import train as train_command
from vad.cli.main import app
from vad.errors import DataError, ParameterError, VadError
from vad.nn import ARCHITECTURES, Architecture, Network, weights
from vad.training.prepare import Cached

TINY = """
architecture = "{architecture}"
steps = {steps}
batch = 2
seed = {seed}
{more}
[scenes]
seconds = 1.0
"""


def recipe(place: Path, name: str, architecture: str = "conv-dense", **more: object) -> Path:
    values = {"steps": 2, "seed": 1} | more
    steps, seed = values.pop("steps"), values.pop("seed")
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    file = place / f"{name}.toml"
    file.write_text(TINY.format(architecture=architecture, steps=steps, seed=seed, more=lines))
    return file


def plan(place: Path, *stages: str) -> Path:
    file = place / "plan.toml"
    file.write_text("".join(f"[[stages]]\n{stage}\n" for stage in stages))
    return file


def train(what: Path, folder: Path, cache: list[Cached], *more: str) -> Result:
    place = Path(cache[0].audio.filename).parents[2]  # type: ignore[attr-defined]
    command = ["train", str(what), "--cache", str(place), "--workers", "0"]
    command += ["--run", str(folder / "run"), "--out", str(folder / "model"), *more]
    return CliRunner().invoke(app, command)


def trained(what: Path, folder: Path, cache: list[Cached], *more: str) -> Path:
    result = train(what, folder, cache, *more)
    assert result.exit_code == 0, result.output
    return folder / "model"


def equal(one: Path, other: Path) -> bool:
    a, b = (Network.of(weights.load(place)).state_dict() for place in (one, other))
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_one_command_prepares_trains_and_resumes(tree: Path, tmp_path: Path) -> None:
    """A killed run goes on with the stage it was in, and what was done isn't done again."""
    recipe(tmp_path, "first", steps=9)
    recipe(tmp_path, "second", seed=2)
    stages = plan(tmp_path, 'recipe = "first.toml"\nstop_at = 3', 'recipe = "second.toml"')
    command = ["train", str(stages), "--cache", str(tmp_path / "cache"), "--workers", "0"]
    command += ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "model")]
    for done in (False, True):
        result = CliRunner().invoke(app, command, env={"VAD_DATA": str(tree)})
        assert result.exit_code == 0, result.output
        assert ("goes on after step 3" in result.stderr) == done
        log = (tmp_path / "run" / "first" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in log] == [1, 2, 3]
    assert weights.load(tmp_path / "model").about["step"] == 2


def test_networks_beside_are_written_each_to_its_folder(
    cache: list[Cached], tmp_path: Path
) -> None:
    file = recipe(tmp_path, "both", beside=["conv-pool-dense"])
    place = trained(file, tmp_path, cache)
    for name in ("conv-dense", "conv-pool-dense"):
        assert weights.load(place / name).architecture == ARCHITECTURES[name]
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert set(json.loads(log[0])) == {"step", "loss", "loss.conv-pool-dense", "rate"}


def test_a_network_that_goes_on_alone_stays_in_its_folder(
    cache: list[Cached], tmp_path: Path
) -> None:
    recipe(tmp_path, "both", beside=["conv-pool-dense"])
    recipe(tmp_path, "one", seed=2)
    stages = plan(tmp_path, 'recipe = "both.toml"', 'recipe = "one.toml"')
    place = trained(stages, tmp_path, cache)
    assert sorted(each.name for each in place.iterdir()) == ["conv-dense", "conv-pool-dense"]
    tuned, left = (weights.load(place / name) for name in ("conv-dense", "conv-pool-dense"))
    assert (tuned.about["recipe"]["seed"], left.about["recipe"]["seed"]) == (2, 1)


def test_a_fresh_stage_forgets_what_came_before(cache: list[Cached], tmp_path: Path) -> None:
    for name, stages in {
        "alone": ['recipe = "second.toml"'],
        "after": ['recipe = "first.toml"', 'recipe = "second.toml"'],
        "fresh": ['recipe = "first.toml"', 'recipe = "second.toml"\nfresh = true'],
        "changed": [
            'recipe = "first.toml"',
            'recipe = "first.toml"\nname = "second"\nfresh = true\nchange = {seed = 2}',
        ],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        recipe(folder, "first")
        recipe(folder, "second", seed=2)
        trained(plan(folder, *stages), folder, cache)
    alone = tmp_path / "alone" / "model"
    # Runs that don't follow from one another are models of their own.
    assert equal(tmp_path / "fresh" / "model" / "second", alone)
    assert equal(tmp_path / "changed" / "model" / "second", alone)
    assert not equal(tmp_path / "fresh" / "model" / "first", alone)
    assert not equal(tmp_path / "after" / "model", alone)


@pytest.mark.parametrize("names", [["conv-dense"], ["conv-dense", "dense"]])
def test_init_is_where_the_first_stage_starts(
    names: list[str], cache: list[Cached], tmp_path: Path
) -> None:
    networks = {name: Network(ARCHITECTURES[name]) for name in names}
    starts = []
    for name, network in networks.items():
        weights.save(network.model(), tmp_path / name, {})
        starts += ["--init", str(tmp_path / name)]
    slow = {"steps": 1, "peak_rate": 1e-9, "weight_decay": 0.0, "beside": names[1:]}
    made = trained(recipe(tmp_path, "slow", **slow), tmp_path, cache, *starts)
    for name, network in networks.items():
        place = made / name if len(names) > 1 else made
        for key, tensor in Network.of(weights.load(place)).state_dict().items():
            torch.testing.assert_close(tensor, network.state_dict()[key], atol=1e-6, rtol=0)


def test_a_stage_is_mixed_with_an_earlier_one_at_its_end(
    cache: list[Cached], tmp_path: Path
) -> None:
    recipe(tmp_path, "one")
    blend = '[[blends]]\nnetwork = "conv-dense"\nof = "one"\nshare = {}\n'
    for folder, share in (("all", 1.0), ("none", 0.0)):
        place = tmp_path / folder
        place.mkdir()
        recipe(place, "one")
        second = recipe(place, "two", seed=2)
        second.write_text(second.read_text() + blend.format(share))
        trained(plan(place, 'recipe = "one.toml"', 'recipe = "two.toml"'), place, cache)
    alone = trained(tmp_path / "one.toml", tmp_path, cache)
    assert equal(tmp_path / "all" / "model", alone)
    assert not equal(tmp_path / "none" / "model", alone)
    missing = recipe(tmp_path, "missing")
    missing.write_text(missing.read_text() + blend.format(0.5).replace('"one"', '"nowhere"'))
    result = train(missing, tmp_path / "more", cache)
    assert result.exit_code != 0
    assert not list((tmp_path / "more").rglob("checkpoint.pt"))  # nothing was trained in vain


@pytest.mark.parametrize(
    "option",
    [
        *(["--stop-at", "0"], ["--stop-at", "-5"], ["--seed", "-1"], ["--device", "foo"]),
        ["--out", __file__],
        ["--dev-noise", "folder"],
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(
    option: list[str], cache: list[Cached], tmp_path: Path
) -> None:
    result = train(recipe(tmp_path, "plain"), tmp_path, cache, *option)
    assert result.exit_code == 2 or isinstance(result.exception, VadError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "needs", ['arbiter = "x"', 'blends = [{network = "conv-dense", of = "x", share = 0.5}]']
)
def test_what_a_later_stage_lacks_is_told_before_the_first(
    needs: str, cache: list[Cached], tmp_path: Path
) -> None:
    recipe(tmp_path, "x", "mlpconv")
    later = recipe(tmp_path, "later", seed=2)
    later.write_text(f"{needs}\n{later.read_text()}")
    stages = ['recipe = "x.toml"\nname = "first"', 'recipe = "later.toml"']
    result = train(plan(tmp_path, *stages), tmp_path, cache)
    assert isinstance(result.exception, VadError)
    assert not (tmp_path / "run").exists()


def test_a_run_past_where_it_should_stop_is_not_passed_off_as_stopped_there(
    cache: list[Cached], tmp_path: Path
) -> None:
    file = recipe(tmp_path, "plain", steps=3)
    trained(file, tmp_path, cache, "--stop-at", "2")
    result = train(file, tmp_path, cache, "--stop-at", "1")
    assert isinstance(result.exception, DataError)
    assert "is of step 2, past 1" in str(result.exception)


def test_init_of_another_architecture_is_refused(cache: list[Cached], tmp_path: Path) -> None:
    """Of another name, or of the same name with other layers, as an older model may have."""
    known = ARCHITECTURES["conv-dense"]
    older = Architecture("conv-dense", ARCHITECTURES["conv-conv-dense"].layers, known.delay)
    file = recipe(tmp_path, "plain")
    for other in (ARCHITECTURES["mlpconv"], older, replace(known, delay=1)):
        weights.save(Network(other).model(), tmp_path / "other", {})
        result = train(file, tmp_path, cache, "--init", str(tmp_path / "other"))
        assert isinstance(result.exception, ParameterError)
        assert "another architecture than 'conv-dense'" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_an_earlier_stage_teaches_a_later_one(
    cache: list[Cached], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vad.teachers.find_teacher", lambda name: None)  # not installed
    monkeypatch.setattr("vad.teachers.load_teachers", lambda device, names: ())
    heard: list[Tensor] = []
    arbiters = train_command._teachers

    def watched(names: tuple[str, ...], arbiter: Network | None, device: str) -> object:
        found = arbiters(names, arbiter, device)
        if found:
            heard.append(found[-1](torch.ones(1, 1600)))
        return found

    monkeypatch.setattr(train_command, "_teachers", watched)
    recipe(tmp_path, "big", "conv-conv-dense", steps=3)
    recipe(tmp_path, "small", teacher=0.5, taught=1.0, arbiter="big")
    stages = plan(tmp_path, 'recipe = "big.toml"', 'recipe = "small.toml"')
    place = trained(stages, tmp_path, cache)
    assert weights.load(place).architecture.name == "conv-dense"
    (said,) = heard
    kept = torch.load(tmp_path / "run" / "big" / "checkpoint.pt")["students"][0]["average"]
    arbiter = Network(ARCHITECTURES["conv-conv-dense"])
    arbiter.load_state_dict(kept)
    with torch.no_grad():
        torch.testing.assert_close(said, arbiter.eval()(torch.ones(1, 1600)).sigmoid())


def test_a_model_teaches_beside_the_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(ARCHITECTURES["conv-dense"]).eval()
    weights.save(network.model(), tmp_path / "model", {})
    first, second = torch.nn.Identity(), torch.nn.Identity()
    monkeypatch.setattr("vad.teachers.load_teachers", lambda device, names: (first, second))
    audio = torch.randn(2, 1600)
    assert train_command._arbiter("", {}) is None
    assert train_command._teachers((), None, "cpu") == [first, second]
    arbiter = train_command._arbiter(str(tmp_path / "model"), {})
    found = train_command._teachers((), arbiter, "cpu")
    assert found[:2] == [first, second]
    heard = found[2](audio)
    assert not heard.requires_grad
    torch.testing.assert_close(heard, network(audio).sigmoid().detach())


def test_the_arbiter_is_a_copy_that_no_later_stage_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vad.teachers.load_teachers", lambda device, names: ())
    network, audio = Network(ARCHITECTURES["conv-dense"]).eval(), torch.randn(1, 1600)
    (teacher,) = train_command._teachers(
        (), train_command._arbiter("big", {"big": [network]}), "cpu"
    )
    before = teacher(audio)
    torch.nn.init.zeros_(next(network.parameters()))
    assert torch.equal(teacher(audio), before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_names_that_fit_no_corpus_are_told(cache: list[Cached], tmp_path: Path) -> None:
    stage = recipe(tmp_path, "stage")
    scenes = 'held_out = [":nobody", "hum"]\n[scenes.boost]\n"hiss%2" = 2\ntones = 2\n'
    stage.write_text(stage.read_text() + scenes)
    result = train(stage, tmp_path, cache)
    assert result.exit_code == 0, result.output
    assert "held_out, but not in the cache: hiss%2, :nobody\n" in result.stderr
