"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from service import logs, problems, tracing
from service.http import detect, jobs, ops, timestamps
from service.http.openapi import DESCRIPTION
from service.live import route as live
from service.page import assets, docs, guides, routes
from service.realtime import route as realtime
from service.security import Gate, authorise, take_place
from service.settings import Settings
from service.state import Service
from vad import Detector, __version__


def create_app(settings: Settings | None = None, detector: Detector | None = None) -> FastAPI:
    """The ASGI application. It loads its model when its lifespan starts.

    Args:
        settings: None reads them from the environment.
        detector: a loaded one, instead of the one that the settings name; torch's number of
            threads is then its owner's business.
    """
    service = Service(settings or Settings(), detector)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(service.settings)
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="convad",
        version=__version__,
        summary="Where people speak: in files and in live audio.",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # page.docs has its own
        redoc_url=None,
        redirect_slashes=False,  # a redirected upload would have to be sent again
    )
    app.state.service = service
    app.add_middleware(Gate, settings=service.settings)
    app.add_middleware(logs.RequestContext, service=service)
    if service.tracing is not None:
        app.add_middleware(tracing.Requests, tracing=service.tracing)
    problems.install(app)
    _allow_origins(app, service.settings)
    # Health, version, documents and the page tell nothing that a client without a key may not
    # know; the rest does work or shows how much work there is.
    guarded = [Depends(authorise)] if service.keys else []
    for module in (detect, timestamps, routes):
        app.include_router(module.router, dependencies=[*guarded, Depends(take_place)])
    app.include_router(jobs.router, dependencies=[*guarded, Depends(take_place)])
    app.include_router(ops.guarded, dependencies=guarded)
    for open_module in (live, realtime, ops, assets, docs, guides):
        app.include_router(open_module.router)
    app.include_router(live.fallback)
    return app


def _allow_origins(app: FastAPI, settings: Settings) -> None:
    """Lets the allowed pages read answers; outermost, so that they can read failures too."""
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", logs.HEADER],
            expose_headers=[logs.HEADER, "Retry-After", "WWW-Authenticate"],
        )
