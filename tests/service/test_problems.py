from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from service import errors as service_errors
from service.problems import INTERNAL, PROBLEMS, Problem, problem_type
from vad import errors as vad_errors


def descendants(base: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in base.__subclasses__():
        if not child.__module__.startswith("vad.client"):  # what clients raise, no server meets
            yield child
            yield from descendants(child)


ALL = [*descendants(service_errors.ServiceError), *descendants(vad_errors.VadError)]
# What only a fault of the server itself can cause.
OURS = {
    vad_errors.ModelError,
    vad_errors.CorruptModel,
    vad_errors.StreamClosed,
    vad_errors.DataError,
    vad_errors.OutputError,
}


def test_every_error_has_its_meaning() -> None:
    for kind in ALL:
        bare = type(kind.__name__, (kind,), {"__init__": lambda self: None})
        found = problem_type(bare())
        assert (found is INTERNAL) == (kind in OURS), kind
        assert found.close_code in {1001, 1003, 1007, 1008, 1009, 1011, 1012, 1013}, kind


def test_one_slug_means_one_thing() -> None:
    by_slug: dict[str, Any] = {}
    for kind in PROBLEMS.values():
        assert by_slug.setdefault(kind.slug, kind) == kind


def test_what_passes_says_when_to_try_again() -> None:
    for kind in PROBLEMS.values():
        # What clients try again, whichever way they come, and nothing else.
        again = kind.status in (429, 503)
        assert bool(kind.retry_after) == again, kind.slug
        assert again or kind.close_code not in (1012, 1013), kind.slug


def check(response: Any, status: int, slug: str | None) -> Problem:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    found = Problem.model_validate(response.json(), extra="forbid")
    assert found.status == status
    assert found.request_id == response.headers["X-Request-ID"]
    assert found.type == ("about:blank" if slug is None else f"urn:problem-type:convad:{slug}")
    return found


def test_unknown_route(client: TestClient) -> None:
    found = check(client.get("/v1/nothing"), 404, None)
    assert found.instance == "/v1/nothing"


def test_wrong_method(client: TestClient) -> None:
    response = client.get("/v1/vad")
    check(response, 405, None)
    assert response.headers["Allow"] == "POST"


def test_bad_field(client: TestClient) -> None:
    response = client.post("/v1/vad?threshold=high&nonsense=1", content=b"x")
    found = check(response, 422, "invalid-parameter")
    assert {error.param for error in found.errors or ()} == {"threshold", "nonsense"}


def test_the_unforeseen_tells_nothing_but_logs_all(app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret path")

    with TestClient(app) as client, capture_logs() as logs:
        response = client.get("/broken")
    found = check(response, 500, "internal")
    assert "secret" not in response.text
    [failure] = [record for record in logs if record["event"] == "request_failed"]
    assert "a secret path" in str(failure["exc_info"])
    assert found.request_id


def test_validation_by_fastapi_is_a_problem_too(app: FastAPI) -> None:
    @app.get("/typed")
    async def typed(number: int) -> int:
        return number

    with TestClient(app) as client:
        found = check(client.get("/typed?number=one"), 422, "invalid-parameter")
    assert [error.param for error in found.errors or ()] == ["number"]


def test_rejections_are_counted_by_reason(app: FastAPI, client: TestClient) -> None:
    client.post("/v1/vad?threshold=7", content=b"x")
    registry = app.state.service.metrics.registry
    assert (
        registry.get_sample_value("convad_rejections_total", {"reason": "invalid-parameter"}) == 1
    )
