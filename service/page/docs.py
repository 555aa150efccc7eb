"""`GET /docs`: the interactive documentation, all of it served from here."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from service.page import assets

# Of Swagger UI, as a package carries it: FastAPI's own page takes them from a CDN.
PARTS = ("swagger-ui-bundle.js", "swagger-ui.css")
# It sets style attributes and has its icons inline.
POLICY = assets.POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "img-src 'self'", "img-src 'self' data:"
)

router = APIRouter(include_in_schema=False)
_parts = StaticFiles(packages=[("fastapi_offline", "static")])


@router.api_route("/docs", methods=["GET", "HEAD"])
async def document(request: Request) -> Response:
    """The page, which needs no key: it asks for one where the API does."""
    response = await assets.answer(assets.files, "docs.html", request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


@router.api_route("/docs/{name}", methods=["GET", "HEAD"])
async def part(name: str, request: Request) -> Response:
    """What it is made of."""
    if name not in PARTS:
        raise HTTPException(404)
    return await assets.answer(_parts, name, request)
