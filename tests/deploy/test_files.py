"""What lies in deploy/ and .github/, held to the programs that will read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from service.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "helm/convad/rules.yaml"
DASHBOARD = DEPLOY / "grafana/convad.json"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
DOCUMENTS = sorted([*(DEPLOY / "kuberay").glob("*.yaml"), *(DEPLOY / "jobs").glob("*.yaml")])


def run(name: str, *words: object) -> str:
    """A program's output; it may lie beside this Python."""
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [program, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_takes_the_rules_and_they_say_what_is_meant() -> None:
    run("promtool", "check", "rules", RULES)
    assert "SUCCESS" in run("promtool", "test", "rules", DEPLOY / "prometheus/tests.yaml")


def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((DEPLOY / "prometheus/tests.yaml").read_text())["tests"]
    said = {
        check["alertname"]
        for test in tests
        for check in test.get("alert_rule_test", [])
        if check["exp_alerts"]
    }
    assert said == alerts


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_metrics_and_reasons_exist(path: Path) -> None:
    text = path.read_text()
    known = {metric.name for metric in Metrics().registry.collect()}
    named = set(re.findall(r"\bconvad_\w+", text))
    assert len(named) >= 5
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named} <= known
    slugs = [kind.slug for kind in PROBLEMS.values()]
    for pattern in re.findall(r'reason=~\\?"([^"\\]+)\\?"', text):
        assert [slug for slug in slugs if re.fullmatch(pattern, slug)]
    recorded = set(re.findall(r"\bconvad:[\w:]+", text))
    assert recorded <= set(re.findall(r"record: (\S+)", RULES.read_text()))


def test_the_dashboard_is_whole(tmp_path: Path) -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    # Prometheus parses each query, with Grafana's variables filled in.
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    filled = [q.replace("$__rate_interval", "1m").replace("$instance", ".*") for q in queries]
    rules = [{"record": f"query:{i}", "expr": query} for i, query in enumerate(filled)]
    (tmp_path / "queries.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]})
    )
    run("promtool", "check", "rules", tmp_path / "queries.yaml")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_batch_jobs_are_valid(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="not installed")
    document = yaml.safe_load(path.read_text())
    if document["apiVersion"] == "batch/v1":
        validate.validate(document, "1.31", strict=True)
        return
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayJob")
    cluster = document["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:  # their pods are Kubernetes' own
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
        validate.validate(pod, "1.31", strict=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_batch_jobs_call_the_command_as_it_is(path: Path) -> None:
    import shlex

    from typer.main import get_command

    from vad.cli.main import app

    document = yaml.safe_load(path.read_text())
    if document["kind"] == "Job":
        (container,) = document["spec"]["template"]["spec"]["containers"]
        words = ["vad", *container["args"]]
    else:
        words = shlex.split(document["spec"]["entrypoint"])
    assert words[:2] == ["vad", "batch"]
    command = get_command(app).commands["batch"]  # type: ignore[attr-defined]
    command.make_context("batch", words[2:])  # raises where an option is unknown


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "nginx/nginx.conf").read_text()
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\n{text}")
    run("nginx", "-t", "-q", "-c", tmp_path / "nginx.conf", "-p", tmp_path)


def test_haproxy_takes_its_configuration() -> None:
    run("haproxy", "-c", "-f", DEPLOY / "haproxy/haproxy.cfg")


def test_workflows_are_valid_and_safe() -> None:
    assert len(WORKFLOWS) == 3
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run(
        "check-jsonschema", "--builtin-schema", "vendor.dependabot", ROOT / ".github/dependabot.yml"
    )
    run("zizmor", "--offline", "--quiet", ROOT / ".github")


def test_actions_are_pinned_and_files_they_name_are_there() -> None:
    for path in WORKFLOWS:
        text = path.read_text()
        for used in re.findall(r"uses: (\S+)", text):
            assert used.startswith("./") or re.search(r"@[0-9a-f]{40}$", used), used
    tests = next(path for path in WORKFLOWS if path.name == "tests.yaml").read_text()
    assert (ROOT / re.findall(r"--constraint (\S+)'", tests)[0].rstrip("'")).is_file()
