"""The application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service import files, logs, ops, problems, streams
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
        lifespan=lifespan,
        redirect_slashes=False,  # a redirected upload would have to be sent again
    )
    app.state.service = service
    app.add_middleware(logs.RequestContext, metrics=service.metrics)
    problems.install(app)
    for module in (files, streams, ops):
        app.include_router(module.router)
    return app
