from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from service import Settings, create_app
from service.state import Phase
from vad import Detector, __version__

from .conftest import SPEECH, EnergyDetector, EnergyEngine, wav


def test_ready_only_between_start_and_drain(app: FastAPI) -> None:
    service = app.state.service
    assert service.phase is Phase.STARTING
    with TestClient(app) as client:
        assert client.get("/healthz/ready").json() == {"status": "ready"}
        assert client.portal is not None
        client.portal.call(service.drain)
        refused = client.get("/healthz/ready")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert client.get("/healthz/live").json() == {"status": "draining"}
        assert client.post("/v1/vad", content=b"x").status_code == 503


def test_not_ready_before_the_start() -> None:
    client = TestClient(create_app(Settings()))  # without its lifespan
    assert client.get("/healthz/live").status_code == 200
    assert client.get("/healthz/ready").status_code == 503
    assert client.get("/v1/models").status_code == 503


@pytest.mark.parametrize("path", ["/healthz/live", "/healthz/ready"])
def test_health_answers_head(client: TestClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_version(client: TestClient) -> None:
    assert client.get("/version").json() == {"name": "convad", "version": __version__}


def test_models(client: TestClient) -> None:
    assert client.get("/v1/models").json() == {
        "models": [
            {
                "name": "energy",
                "sha256": "0" * 64,
                "sample_rate": 16_000,
                "hop_ms": 10,
                "lookahead_ms": 0,
                "latency_ms": 10,
                "parameters": 0,
                "device": "cpu",
            }
        ]
    }


def test_metrics_are_each_apps_own(client: TestClient, detector: Detector) -> None:
    client.get("/version")
    with TestClient(create_app(Settings(), detector)) as other:
        text = other.get("/metrics")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert 'route="/version"' not in text.text
    mine = client.get("/metrics").text
    assert 'convad_requests_total{method="GET",route="/version",status="200"} 1.0' in mine
    assert "convad_open_streams 0.0" in mine


def test_metric_labels_cannot_be_multiplied_by_clients(client: TestClient) -> None:
    client.request("BREW", "/coffee/1")
    client.request("BREW", "/coffee/2")
    text = client.get("/metrics").text
    assert 'convad_requests_total{method="other",route="unmatched",status="404"} 2.0' in text
    assert "coffee" not in text


@pytest.mark.parametrize("given", ["abc-123", "a" * 128])
def test_a_sane_request_id_is_kept(client: TestClient, given: str) -> None:
    with capture_logs() as logs:
        response = client.get("/version", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given
    assert [record["event"] for record in logs] == ["request"]


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "x\ty", "é"])
def test_another_request_id_is_replaced(client: TestClient, given: str) -> None:
    response = client.get("/version", headers=[(b"X-Request-ID", given.encode("latin-1"))])
    assert response.headers["X-Request-ID"] not in ("", given)


def test_each_request_is_logged_without_its_query(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/version?token=secret")
    [record] = logs
    assert (record["method"], record["path"], record["status"]) == ("GET", "/version", "200")
    assert "secret" not in str(record)


def test_json_logs_are_one_object_a_line(
    detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    with TestClient(create_app(Settings(log_format="json"), detector)) as client:
        client.get("/version", headers={"X-Request-ID": "r1"})
    records: list[dict[str, Any]] = [
        json.loads(line) for line in capsys.readouterr().out.split("\n") if line
    ]
    [request] = [record for record in records if record["event"] == "request"]
    assert (request["request_id"], request["level"]) == ("r1", "info")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_logged_failure_shows_no_values(
    log_format: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EnergyDetector(EnergyEngine(fails_at=48_000))
    with TestClient(create_app(Settings(log_format=log_format), broken)) as client:
        client.post("/v1/vad", content=wav(SPEECH))
    logged = capsys.readouterr().out
    assert "the engine broke down" in logged
    assert "array(" not in logged
