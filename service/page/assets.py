"""`GET /`: the demo page, static files without a build step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

WEB = Path(__file__).parents[1] / "web"
# Named here, since the system's own table may say otherwise, and `nosniff` takes it at its word.
MEDIA_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".mp3": "audio/mpeg",
    ".txt": "text/plain; charset=utf-8",
}
# Nothing from elsewhere, nothing inline. `blob:` is the file that the user chose, being played.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, but asked about each time (ETag, 304): an upgrade must not mix old and new modules.
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=WEB)


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page. It needs no key: it asks for one where the API does."""
    return await answer(files, "index.html", request)


@router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
async def asset(path: str, request: Request) -> Response:
    """What the page is made of."""
    return await answer(files, path, request)


async def answer(files: StaticFiles, path: str, request: Request) -> Response:
    """A static file with its type and the headers of all that browsers are served."""
    media_type = MEDIA_TYPES.get(Path(path).suffix)
    if media_type is None:
        raise HTTPException(404)
    response = await files.get_response(path, request.scope)
    response.headers.update(HEADERS)
    if response.status_code == 200:
        response.headers["Content-Type"] = media_type
    return response
