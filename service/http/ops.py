"""Routes for those who run the service: health, version, models, metrics."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from service import metrics
from service.http.openapi import PROBLEM_RESPONSES
from service.http.schemas import Health, ModelInfo, Models, Version
from service.state import Service
from vad import __version__

router = APIRouter(responses=PROBLEM_RESPONSES)
guarded = APIRouter(responses=PROBLEM_RESPONSES)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.get("/healthz/live")
async def live(request: Request) -> Health:
    """The process answers."""
    return Health(status=_service(request).phase.value)


@router.get("/healthz/ready")
async def ready(request: Request) -> Health:
    """New work is welcome: the model is loaded and warm, and the server isn't draining."""
    service = _service(request)
    service.check_ready()
    return Health(status=service.phase.value)


@guarded.get("/v1/models")
async def models(request: Request) -> Models:
    """The models that a request may name; the first is the default."""
    models = _service(request).models
    found = [await to_thread.run_sync(models.get, name) for name in models.names]
    return Models(models=[ModelInfo.of(detector) for detector in found])


@router.get("/version")
async def version() -> Version:
    """What is running."""
    return Version(name="convad", version=__version__)


@guarded.get("/metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """Measurements, in Prometheus' text format."""
    return Response(_service(request).metrics.render(), media_type=metrics.MEDIA_TYPE)
