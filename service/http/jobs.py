"""`/v1/jobs`: recordings that lie elsewhere, worked through in the background."""

from __future__ import annotations

from hashlib import sha256

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import FieldError, InvalidFields
from service.fields import JobFields, json_object, parse_json
from service.files.body import receive_json
from service.http.openapi import JOB_REQUEST, PROBLEM_RESPONSES
from service.http.schemas import JobModel
from service.jobs.runner import Jobs, text_of
from service.security import address
from service.state import Service

router = APIRouter(responses=PROBLEM_RESPONSES)
MAX_BYTES = 2**16  # of a request


@router.post("/v1/jobs", status_code=202, response_model=JobModel, openapi_extra=JOB_REQUEST)
async def add(request: Request) -> Response:
    """Has a recording worked through that lies elsewhere.

    Answers at once; the job survives a restart of the server. Ask for it by its id, or give a
    `callback_url`, which is told of its end with a signature.
    """
    service: Service = request.app.state.service
    service.check_ready()
    jobs = _jobs(service)
    if request.query_params:
        given = list(request.query_params)[:10]
        raise InvalidFields(*(FieldError(name[:64], "goes into the body") for name in given))
    async with receive_json(request, service.settings, MAX_BYTES) as body:
        text = body.read()
    fields = parse_json(JobFields, json_object(text))
    jobs.check(fields)
    job = await jobs.add(fields, _client(request))
    where = f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"
    return _told(text_of(job), 202, {"Location": where})


@router.get("/v1/jobs/{id}", response_model=JobModel)
async def get(id: str, request: Request) -> Response:
    """A job, with its result once it has succeeded, or the problem that it failed with."""
    return _told(text_of(await _jobs(request.app.state.service).get(id)))


@router.delete("/v1/jobs/{id}", status_code=204)
async def delete(id: str, request: Request) -> Response:
    """Forgets a job and its result. One that is under way stops; its callback is not called."""
    await _jobs(request.app.state.service).delete(id)
    return Response(status_code=204)


def _jobs(service: Service) -> Jobs:
    jobs = service.jobs
    assert jobs.store is not None  # raises JobsOff
    return jobs


def _client(request: Request) -> str:
    """Whose job it is, for the share of one client: not who may see it, which its id says."""
    key = getattr(request.state, "key", None)
    told = f"key {key}" if key is not None else f"address {address(request)}"
    return sha256(told.encode()).hexdigest()[:16]


def _told(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, "application/json")
