"""The pages agree with the code, and their configurations with the programs that read them.

Their blocks are run by test_readme.py.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from service.live.messages import OMITTED, ServerMessage
from service.live.session import COMMANDS
from service.metrics import Metrics
from service.problems import PROBLEMS
from service.settings import Settings
from vad.events import StopReason

ROOT = Path(__file__).parents[1]
CLIENTS = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
OPERATORS = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
SERVER_TYPES = {
    next(field.default for field in fields(kind) if field.name == "type"): kind
    for kind in get_args(ServerMessage)
}


def block(page: str, language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(found)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, timeout: float = 120) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_that_is_generated_is_stale() -> None:
    assert "nothing is stale" in run(sys.executable, "docs/generate.py", "--check")


def test_every_call_and_parameter_of_silero_is_mapped() -> None:
    silero = pytest.importorskip("silero_vad")
    page = (ROOT / "docs/from-silero-vad.md").read_text(encoding="utf-8")
    for name in silero.__all__:
        assert f"`{name}" in page or f" {name}(" in page, name
    for call in (silero.load_silero_vad, silero.get_speech_timestamps, silero.VADIterator):
        for name in inspect.signature(call).parameters:
            mapped = f"`{name}=" in page or name in ("audio", "model", *_OF_ONE_FORM)
            assert mapped, f"{call.__name__}({name})"


# Of `load_silero_vad`, for the network that hears whole sequences.
_OF_ONE_FORM = ("sequence", "max_frames")


def test_a_change_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import generate

    assert generate.renewed(OPERATORS) == OPERATORS
    assert generate.renewed(OPERATORS.replace("`VAD_PORT`", "`VAD_HARBOUR`")) == OPERATORS
    shown = set(re.findall(r"^\| `VAD_(\w+)`", OPERATORS, re.MULTILINE))
    assert shown == {name.upper() for name in Settings.model_fields}


def test_settings_that_the_pages_name_exist() -> None:
    known = {f"VAD_{name.upper()}" for name in Settings.model_fields}
    compose, dockerfile = ((ROOT / name).read_text() for name in ("compose.yaml", "Dockerfile"))
    for text in (OPERATORS, CLIENTS, compose, dockerfile):
        assert set(re.findall(r"\bVAD_[A-Z_]+\b", text)) <= known


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_every_message_is_shown_as_it_is() -> None:
    shown = [json.loads(line) for line in block(CLIENTS, "json").splitlines()]
    assert {message["type"] for message in shown} == set(SERVER_TYPES)
    for message in shown:
        names = {field.name for field in fields(SERVER_TYPES[message["type"]])}
        assert set(message) | OMITTED == names | OMITTED
        assert message.get("reason", "end") in get_args(StopReason)
    sent = re.findall(r'`\{"type": "([\w.]+)"', CLIENTS)
    assert set(sent) == COMMANDS
    assert {r for r in get_args(StopReason) if f"`{r}`" not in CLIENTS} == set()


def test_every_error_is_listed() -> None:
    for kind in {kind.slug: kind for kind in reversed(list(PROBLEMS.values()))}.values():
        assert f"| `{kind.slug}` | {kind.status} | {kind.close_code} |" in CLIENTS


def test_alerts_name_metrics_and_labels_that_exist() -> None:
    alerts = block(OPERATORS, "yaml")
    known = {metric.name for metric in Metrics().registry.collect()}
    named = set(re.findall(r"\bconvad_\w+", alerts))
    assert len(named) >= 5
    assert {re.sub(r"_(total|bucket)$", "", name) for name in named} <= known
    slugs = [kind.slug for kind in PROBLEMS.values()]
    for pattern in re.findall(r'reason=~"([^"]+)"', alerts):
        assert [slug for slug in slugs if re.fullmatch(pattern, slug)]


def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(block(OPERATORS, "yaml"))
    assert "SUCCESS" in run(program("promtool"), "check", "rules", str(tmp_path / "alerts.yaml"))


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    site = f"events {{}}\npid {tmp_path}/pid;\nhttp {{\n{block(OPERATORS, 'nginx')}\n}}\n"
    (tmp_path / "nginx.conf").write_text(site)
    run(program("nginx"), "-t", "-q", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path))


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "Caddyfile").write_text(block(OPERATORS, "caddy"))
    file = str(tmp_path / "Caddyfile")
    run(program("caddy"), "validate", "--adapter", "caddyfile", "--config", file)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.sh")), ids=lambda p: p.name)
def test_shell_examples_parse(path: Path) -> None:
    run("bash", "-n", str(path))


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_python_examples_compile(path: Path) -> None:
    compile(path.read_text(), path.name, "exec")
