"""The Helm chart: what it renders is valid, locked down, and fits the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/convad"
EVERYTHING = {
    "apiKeysSecret": "keys",
    "ingress": {"enabled": True, "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True, "secret": "keys"},
    "prometheusRule": {"enabled": True},
    "networkPolicy": {"from": [{"namespaceSelector": {}}]},
    "priorityClassName": "high",
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"a": "b"},
    "temporary": {"medium": "Memory", "sizeLimit": "1Gi"},
    "image": {"digest": "sha256:" + "0" * 64},
}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "gpu": yaml.safe_load((CHART / "values-gpu.yaml").read_text()),
    "everything": EVERYTHING,
    "keda": {"autoscaling": {"keda": {"enabled": True}}},
    "fixed": {"autoscaling": {"enabled": False}, "networkPolicy": {"enabled": False}},
}


def render(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Objects by their kind."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(values, name="convad", namespace="speech")
    texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    found = [each for text in texts for each in yaml.safe_load_all(text) if each]
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@pytest.fixture(params=VALUES)
def objects(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return render(VALUES[request.param])


@pytest.mark.parametrize("name", VALUES)
def test_lint_has_nothing_to_say(name: str) -> None:
    report = helm.lint(CHART, VALUES[name], strict=True, kube_version="v1.31.0")
    worse = [each for each in report["messages"] if each["severity"] > 1]
    assert (worse, report["errors"] or []) == ([], [])


def test_objects_are_valid(objects: dict[str, dict[str, Any]]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="not installed")
    for kind, each in objects.items():
        if "." in each["apiVersion"] and "k8s.io" not in each["apiVersion"]:
            assert kind in ("ServiceMonitor", "PrometheusRule", "ScaledObject")
            continue
        validate.validate(each, "1.31", strict=True)


def test_pods_may_do_nothing_but_serve(objects: dict[str, dict[str, Any]]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]


def test_a_replica_has_time_to_say_goodbye(objects: dict[str, dict[str, Any]]) -> None:
    deployment = objects["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    settings = {each["name"]: each.get("value") for each in container["env"]}
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = float(settings["VAD_SHUTDOWN_GRACE_S"])
    assert pod["terminationGracePeriodSeconds"] > pause + grace
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        ready = probe != "livenessProbe"
        path = "/healthz/ready" if ready else "/healthz/live"
        assert container[probe]["httpGet"]["path"] == path


def test_settings_are_the_services(objects: dict[str, dict[str, Any]]) -> None:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = {each["name"]: each.get("value") for each in container["env"]}
    known = {f"VAD_{name.upper()}" for name in Settings.model_fields}
    assert set(named) <= known
    given = {
        name.removeprefix("VAD_").lower(): value
        for name, value in named.items()
        if value is not None
    }
    Settings(**given)


def test_another_replica_comes_before_the_places_are_gone() -> None:
    for name, places in (("default", 300), ("gpu", 2000)):
        scaler = render(VALUES[name])["HorizontalPodAutoscaler"]["spec"]
        pods = next(each["pods"] for each in scaler["metrics"] if each["type"] == "Pods")
        assert pods["metric"]["name"] == "convad_open_streams"
        assert int(pods["target"]["averageValue"]) == places * 7 // 10
    trigger = render(VALUES["keda"])["ScaledObject"]["spec"]["triggers"][0]
    assert trigger["metadata"]["threshold"] == "210"
    assert "HorizontalPodAutoscaler" not in render(VALUES["keda"])
    assert render(VALUES["fixed"])["Deployment"]["spec"]["replicas"] == 2


def test_the_rules_installed_are_the_rules_tested() -> None:
    rule = render(EVERYTHING)["PrometheusRule"]["spec"]
    assert rule == yaml.safe_load((CHART / "rules.yaml").read_text())


def test_the_chart_is_of_this_version() -> None:
    from vad import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert str(VALUES["gpu"]["image"]["tag"]).startswith(__version__)


@pytest.mark.parametrize(
    "values",
    [
        {"setings": {}},
        {"settings": {"API_KEYS": "secret"}},
        {"settings": {"MAX_STREAMS": 0}},
        {"settings": {"max_streams": 1}},
        {"image": {"digest": "latest"}},
        {"autoscaling": {"streamsPercent": 170}},
    ],
    ids=json.dumps,
)
def test_values_that_can_not_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        render(values)
