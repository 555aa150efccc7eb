"""Jobs: from a URL or a bucket to a signed callback, whatever happens on the way."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service import Settings, create_app, serve
from service.errors import KeyJobsTaken, TooManyJobs, UnknownJob, UrlRefused
from service.http.schemas import JobModel
from service.jobs import callbacks, runner, sources
from service.jobs.outside import Outside, is_public
from service.jobs.runner import CALLBACKS, FETCHES, SHARES
from service.jobs.store import CRASHES, JobStore
from service.jobs.turns import Turns
from vad.errors import ParameterError

from .conftest import PATIENCE_S, SPEECH_WAV, EnergyDetector, check_problem, until

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef" * 2).decode()


class Host:
    """A server of files, and of callbacks, on loopback.

    Attributes:
        gets: paths that were asked for.
        posts: headers and bodies that were sent.
        statuses: for the next posts; then 200.
        held: requests for /slow wait for it, in the middle of their body.
        redirects: where paths lead.
    """

    def __init__(self) -> None:
        self.gets: list[str] = []
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.held = threading.Event()
        self.redirects: dict[str, str] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.gets.append(self.path)
                if self.path in host.redirects:
                    self.send_response(302)
                    if location := host.redirects[self.path]:
                        self.send_header("Location", location)
                    self.end_headers()
                elif self.path.startswith("/status/"):
                    self.send_response(int(self.path.rpartition("/")[2]))
                    self.end_headers()
                else:
                    self._send(SPEECH_WAV)

            def _send(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                half = len(body) // 2
                self.wfile.write(body[:half])
                if self.path == "/slow":
                    host.held.wait(PATIENCE_S)
                if self.path != "/torn":
                    self.wfile.write(body[half:])

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                host.posts.append(({k.lower(): v for k, v in self.headers.items()}, body))
                if self.path == "/hangs":
                    host.held.wait(PATIENCE_S)
                self.send_response(host.statuses.pop(0) if host.statuses else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port
        self.url = f"http://localhost:{self.port}"

    def close(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, host: Host) -> dict[str, Any]:
    return {
        "jobs_dir": tmp_path / "jobs",
        "job_hosts": "files.example.org,*.wild.example.org",
        "job_private_hosts": f"localhost:{host.port}",
        "job_secret": SECRET,
    }


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(callbacks, "WAITS_S", (0.0, 0.0))


def post(client: TestClient, url: str, **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"source": {"url": url}, **more})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["status"] == "queued"
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    return str(job["id"])


def ended(client: Any, id: str, told: bool = False) -> dict[str, Any]:
    """A job once it has ended, and its callback too."""
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(client.get(f"/v1/jobs/{id}").json())
        JobModel.model_validate_json(json.dumps(found))
        callback = found["callback"] or {}
        is_told = not told or callback["status"] in ("delivered", "failed")
        return found["status"] in ("succeeded", "failed") and is_told

    until(over)
    return found


def test_a_job_is_answered_as_the_file_is(client: TestClient, host: Host) -> None:
    query = {"channels": "separate", "include": ["analytics", "probabilities"], "threshold": 0.6}
    job = ended(client, post(client, f"{host.url}/a.wav?b=c", **query))
    assert job["status"] == "succeeded", job
    file = client.post("/v1/vad", content=SPEECH_WAV, params=query).json()
    for found in (job["result"], file):
        del found["id"], found["timing"]
    assert job["result"] == file
    assert host.gets == ["/a.wav?b=c"]
    assert job["started"] >= job["created"]


def verifier() -> Callable[[dict[str, str], bytes, str], bool]:
    """The lines of docs/jobs.md, as they stand."""
    page = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?def verified.*?)^```", page, re.MULTILINE | re.DOTALL)
    function = block[block.index("def verified") :].split("\n\n")[0]
    assert len(function.strip().splitlines()) <= 10
    space: dict[str, Any] = {}
    exec(block, space)
    found: Callable[[dict[str, str], bytes, str], bool] = space["verified"]
    return found


def test_the_callback_is_signed_as_the_page_verifies_it(client: TestClient, host: Host) -> None:
    id = post(client, f"{host.url}/a.wav", callback_url=f"{host.url}/done?x=1")
    job = ended(client, id, told=True)
    assert (job["callback"]["status"], job["callback"]["tries"]) == ("delivered", 1)
    [(headers, body)] = host.posts
    told = json.loads(body)
    assert (told["id"], told["status"], headers["webhook-id"]) == (id, "succeeded", id)
    assert told["result"] == job["result"]
    verified = verifier()
    assert verified(headers, body, SECRET)
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}
    assert not verified(headers, body, other)
    assert not verified(headers, body + b" ", SECRET)
    assert not verified(old, body, SECRET)
    assert not verified({**headers, "webhook-id": "job_2"}, body, SECRET)


def test_a_callback_is_tried_again_until_somebody_has_it(client: TestClient, host: Host) -> None:
    host.statuses = [500, 302]
    id = post(client, f"{host.url}/a.wav", callback_url=f"{host.url}/done")
    assert ended(client, id, told=True)["callback"]["tries"] == 3
    bodies = {body for _, body in host.posts}
    assert len(host.posts) == 3
    assert {headers["webhook-id"] for headers, _ in host.posts} == {id}
    assert {json.loads(body)["result"]["id"] for body in bodies} != set()


@pytest.mark.parametrize(("statuses", "tries"), [([410], 1), ([500] * 3, 3)])
def test_a_callback_is_given_up(
    client: TestClient, host: Host, statuses: list[int], tries: int
) -> None:
    host.statuses = statuses
    id = post(client, f"{host.url}/a.wav", callback_url=f"{host.url}/done")
    callback = ended(client, id, told=True)["callback"]
    assert (callback["status"], callback["tries"]) == ("failed", tries)


def test_a_callback_that_hangs_keeps_nobody_else(
    client: TestClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = post(client, f"{host.url}/a.wav", callback_url=f"{host.url}/hangs")
    until(lambda: len(host.posts) == 1)
    other = post(client, f"{host.url}/a.wav", callback_url=f"{host.url}/done")
    assert ended(client, other, told=True)["callback"]["status"] == "delivered"
    assert ended(client, hanging)["callback"]["status"] == "due"


# Several clients, each with a key.

ONE, OTHER = ({"Authorization": f"Bearer {name}"} for name in ("key-one", "key-other"))


@pytest.fixture
def keyed(settings: dict[str, Any]) -> None:
    settings["api_keys"] = "key-one,key-other"


def post_as(client: TestClient, key: dict[str, str], url: str, **more: Any) -> str:
    answer = client.post("/v1/jobs", json={"source": {"url": url}, **more}, headers=key)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@pytest.mark.usefixtures("keyed")
def test_slow_sources_of_one_client_keep_up_nobody_else(client: TestClient, host: Host) -> None:
    slow = [post_as(client, ONE, f"{host.url}/slow") for _ in range(3 * FETCHES)]
    client.headers.update(OTHER)
    quick = [post(client, f"{host.url}/a.wav") for _ in range(3)]
    for id in quick:
        assert ended(client, id)["status"] == "succeeded"
    # They have a share, and the rest waits.
    assert host.gets.count("/slow") == FETCHES // SHARES
    assert client.get(f"/v1/jobs/{slow[0]}").json()["status"] == "running"
    assert client.get(f"/v1/jobs/{slow[-1]}").json()["status"] == "queued"
    host.held.set()
    for id in slow:
        assert ended(client, id)["status"] == "succeeded"


@pytest.mark.usefixtures("keyed")
def test_callbacks_of_one_client_that_hang_keep_up_nobody_else(
    client: TestClient, host: Host
) -> None:
    hangs = f"{host.url}/hangs"
    ids = [post_as(client, ONE, f"{host.url}/a", callback_url=hangs) for _ in range(2 * CALLBACKS)]
    until(lambda: len(host.posts) == CALLBACKS // SHARES)
    client.headers.update(OTHER)
    quick = [post(client, f"{host.url}/a", callback_url=f"{host.url}/done") for _ in range(3)]
    for id in quick:
        assert ended(client, id, told=True)["callback"]["status"] == "delivered"
    assert len(host.posts) == CALLBACKS // SHARES + len(quick)
    host.held.set()
    for id in ids:
        assert ended(client, id, told=True)["callback"]["status"] == "delivered"


def test_turns_are_the_clients() -> None:
    """A second client's work comes next, however much of the first one's waits."""
    began: list[str] = []

    async def work(turns: Turns, name: str, end: asyncio.Event) -> None:
        async with turns.of(name[0]):
            began.append(name)
            await end.wait()

    async def all_of_them() -> None:
        turns, ends = Turns(2), {}
        tasks = {}
        for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
            ends[name] = asyncio.Event()
            tasks[name] = asyncio.create_task(work(turns, name, ends[name]))
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert began == ["a1", "a2"]
        tasks["a3"].cancel()  # who waits may go, and who has a place
        tasks["a1"].cancel()
        await asyncio.wait([tasks["a1"], tasks["a3"]])
        for name in ("b1", "c1", "b2", "a2", "a4"):
            ends[name].set()
            await tasks[name]
        assert began == ["a1", "a2", "b1", "c1", "b2", "a4"]

    asyncio.run(asyncio.wait_for(all_of_them(), PATIENCE_S))


def test_a_failure_is_told_too(client: TestClient, host: Host) -> None:
    id = post(client, f"{host.url}/status/404", callback_url=f"{host.url}/done")
    job = ended(client, id, told=True)
    assert job["status"] == "failed"
    assert job["problem"]["type"].endswith(":host-unavailable")
    assert "404" in job["problem"]["detail"]
    assert json.loads(host.posts[0][1])["problem"] == job["problem"]
    assert host.gets == ["/status/404"]


def test_what_may_pass_is_tried_again(client: TestClient, host: Host) -> None:
    for path in ("/status/503", "/torn"):
        host.gets.clear()
        job = ended(client, post(client, f"{host.url}{path}"))
        assert job["problem"]["type"].endswith(":host-unavailable")
        assert host.gets == [path] * 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "source"),
        ({"source": "http://x"}, "source"),
        ({"source": {}}, "source.url"),
        ({"source": {"url": "http://files.example.org/", "threshold": 0.6}}, "source.threshold"),
        ({"source": {"url": "file:///etc/passwd"}}, "source.url"),
        ({"source": {"url": "/etc/passwd"}}, "source.url"),
        ({"source": {"url": "ftp://files.example.org/a"}}, "source.url"),
        ({"source": {"url": "http://files.example.org:8080/a"}}, "source.url"),
        ({"source": {"url": "http://files.example.org:99999/a"}}, "source.url"),
        ({"source": {"url": "http://files.example.org@evil.example/a"}}, "source.url"),
        ({"source": {"url": "http://a:b@files.example.org/a"}}, "source.url"),
        ({"source": {"url": "http://files.example.org.evil.example/"}}, "source.url"),
        ({"source": {"url": "http://xwild.example.org/"}}, "source.url"),
        ({"source": {"url": "http://evil.example\\@files.example.org/"}}, "source.url"),
        ({"source": {"url": "http://files.example.org/ \r\nX: y"}}, "source.url"),
        ({"source": {"url": "http://127.0.0.1/"}}, "source.url"),
        ({"source": {"url": "http://[::1]/"}}, "source.url"),
        ({"source": {"url": "http://localhost/"}}, "source.url"),
        ({"source": {"url": "http://" + "a" * 5000}}, "source.url"),
        ({"source": {"url": "s3://calls/a.wav"}}, "source.url"),
        ({"source": {"url": "s3://["}}, "source.url"),
        ({"source": {"url": "http://files.example.org/"}, "thresh": 1}, "thresh"),
        ({"source": {"url": "http://files.example.org/"}, "threshold": 7}, "threshold"),
        ({"source": {"url": "http://files.example.org/"}, "model": "x"}, "model"),
        ({"source": {"url": "http://files.example.org/"}, "response_format": "srt"},)
        + ("response_format",),
        ({"source": {"url": "http://files.example.org/"}, "callback_url": "http://10.0.0.1/"},)
        + ("callback_url",),
    ],
)
def test_what_is_wrong_is_told_at_once(client: TestClient, body: Any, param: str) -> None:
    found = check_problem(client.post("/v1/jobs", json=body), 422, "invalid-parameter")
    assert [error.param for error in found.errors or ()] == [param]
    assert "SourceField" not in found.detail


@pytest.mark.parametrize("text", ["", "[]", "{", "1"])
def test_what_is_no_request(client: TestClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/jobs", content=text, headers=headers)
    check_problem(answer, 400, "malformed-body")
    check_problem(client.post("/v1/jobs", content=text), 415, "unsupported-media")
    large = client.post("/v1/jobs", content=" " * 2**17, headers=headers)
    check_problem(large, 413, "body-too-large")
    check_problem(client.post("/v1/jobs?threshold=1", json={}), 422, "invalid-parameter")


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "http://evil.example/",
        "gopher://localhost/",
        "/round",
        "http://[",
    ],
)
def test_redirects_lead_nowhere_else(client: TestClient, host: Host, location: str) -> None:
    host.redirects = {"/round": location}
    job = ended(client, post(client, f"{host.url}/round"))
    assert job["problem"]["type"].endswith(":url-refused")
    assert len(host.gets) <= 6


def test_a_redirect_to_nowhere_says_so(client: TestClient, host: Host) -> None:
    host.redirects = {"/round": ""}
    problem = ended(client, post(client, f"{host.url}/round"))["problem"]
    assert problem["type"].endswith(":host-unavailable")
    assert problem["detail"] == "localhost redirects (status 302) to no Location"
    assert host.gets == ["/round"]


def test_redirects_are_followed_where_they_may_lead(client: TestClient, host: Host) -> None:
    host.redirects = {"/1": "/2", "/2": f"{host.url}/a.wav"}
    assert ended(client, post(client, f"{host.url}/1"))["status"] == "succeeded"


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names have these addresses from now on; which were asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1", "fe80::1%1", "::ffff:10.0.0.1"],
)
def test_a_names_answer_may_not_be_private(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    outside = Outside(["files.example.org"], [])
    answering(monkeypatch, "93.184.216.34", address)
    with pytest.raises(UrlRefused, match="private"):
        asyncio.run(outside.resolve("files.example.org", 80))


def test_a_job_whose_host_turns_out_to_be_private_fails(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, "127.0.0.1")
    job = ended(client, post(client, "http://files.example.org/a.wav"))
    assert job["problem"]["type"].endswith(":url-refused")
    assert asked == ["files.example.org"]


def test_the_address_that_was_looked_at_is_connected_to(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is asked for once: a second answer could be another."""
    outside = Outside([], [f"rebound.example.org:{host.port}"])
    asked = answering(monkeypatch, "127.0.0.1")

    async def ask() -> int:
        target = outside.target(f"http://rebound.example.org:{host.port}/a")
        async with outside.request("GET", target, []) as response:
            return response.status

    assert asyncio.run(ask()) == 200
    assert asked == ["rebound.example.org"]


def test_proxies_of_the_environment_are_not_asked(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    outside = Outside([], [f"localhost:{host.port}"])

    async def ask() -> int:
        async with outside.request("GET", outside.target(f"{host.url}/a"), []) as response:
            return response.status

    assert asyncio.run(ask()) == 200


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("0.0.0.0", False),
        ("100.64.0.1", False),
        ("192.168.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("ff0e::1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("64:ff9b::7f00:1", False),  # NAT64 of it
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),  # Teredo
        ("::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_names_of_hosts() -> None:
    outside = Outside(["*.example.org", "one.example", "[2606:4700::1111]:8080"], ["box:9000"])
    for url in (
        "https://a.example.org/x",
        "https://A.EXAMPLE.ORG./x",
        "http://one.example",
        "http://box:9000",
        "http://[2606:4700::1111]:8080/",
    ):
        outside.target(url)
    for url in ("https://example.org/", "http://box/", "http://one.example:8080/"):
        with pytest.raises(UrlRefused):
            outside.target(url)
    assert Outside(["*"], []).target("https://anything.example:443/?a#b").path == "/?a"
    with pytest.raises(UrlRefused, match="private"):
        Outside(["*"], []).target("http://127.0.0.1/")


# Buckets.


@pytest.fixture
def bucketed(settings: dict[str, Any]) -> None:
    settings["job_buckets"] = "calls"


@pytest.mark.usefixtures("bucketed")
def test_a_recording_in_a_bucket(bucket: Any, client: TestClient) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'convad[batch]'")
    bucket.upload_fileobj(__import__("io").BytesIO(SPEECH_WAV), "2026/x.wav")
    job = ended(client, post(client, "s3://calls/2026/x.wav"))
    assert job["status"] == "succeeded", job
    assert job["result"]["duration"] == 4.5
    job = ended(client, post(client, "s3://calls/none.wav"))
    assert job["problem"]["type"].endswith(":host-unavailable")
    wrong = {"source": {"url": "s3://other/x.wav"}}
    check_problem(client.post("/v1/jobs", json=wrong), 422, "invalid-parameter")


# What is kept.


def test_without_a_folder_there_are_no_jobs() -> None:
    with TestClient(create_app(Settings(), EnergyDetector())) as client:
        body = {"source": {"url": "http://files.example.org/"}}
        check_problem(client.post("/v1/jobs", json=body), 404, "jobs-off")
        check_problem(client.get("/v1/jobs/job_1"), 404, "jobs-off")


def test_without_a_secret_there_are_no_callbacks(settings: dict[str, Any], host: Host) -> None:
    del settings["job_secret"]
    with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
        body = {"source": {"url": f"{host.url}/a"}, "callback_url": f"{host.url}/done"}
        found = check_problem(client.post("/v1/jobs", json=body), 422, "invalid-parameter")
        assert "VAD_JOB_SECRET" in found.detail


def test_a_job_that_is_deleted_stops_and_tells_nobody(client: TestClient, host: Host) -> None:
    id = post(client, f"{host.url}/slow", callback_url=f"{host.url}/done")
    until(lambda: bool(host.gets))
    assert client.get(f"/v1/jobs/{id}").json()["status"] == "running"
    assert client.delete(f"/v1/jobs/{id}").status_code == 204
    check_problem(client.get(f"/v1/jobs/{id}"), 404, "job-not-found")
    check_problem(client.delete(f"/v1/jobs/{id}"), 404, "job-not-found")
    other = post(client, f"{host.url}/a", callback_url=f"{host.url}/done")
    ended(client, other, told=True)
    assert [json.loads(body)["id"] for _, body in host.posts] == [other]


@pytest.mark.parametrize("extra", [{"max_body_bytes": 1000}])
def test_a_recording_has_its_limit(
    settings: dict[str, Any], host: Host, extra: dict[str, Any]
) -> None:
    with TestClient(create_app(Settings(**settings, **extra), EnergyDetector())) as client:
        job = ended(client, post(client, f"{host.url}/a"))
    assert job["problem"]["type"].endswith(":body-too-large")


def test_a_fetch_has_its_time(settings: dict[str, Any], host: Host) -> None:
    with TestClient(create_app(Settings(**settings, job_fetch_s=0.2), EnergyDetector())) as client:
        job = ended(client, post(client, f"{host.url}/slow"))
    assert "0.2 s" in job["problem"]["detail"]


def test_all_tries_of_a_fetch_have_one_time(
    settings: dict[str, Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WAITS_S", (0.0, PATIENCE_S))
    with TestClient(create_app(Settings(**settings, job_fetch_s=0.5), EnergyDetector())) as client:
        job = ended(client, post(client, f"{host.url}/status/503"))
    assert "0.5 s" in job["problem"]["detail"]
    assert len(host.gets) == 2


def test_a_disk_that_is_full_of_a_recording_is_told(
    client: TestClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sources.Sources, "fetch", full)
    job = ended(client, post(client, f"{host.url}/a.wav"))
    assert job["problem"]["type"].endswith(":storage-full")


def test_the_methods_of_a_job_are_told(client: TestClient) -> None:
    assert client.patch("/v1/jobs/job_1").headers["Allow"] == "DELETE, GET"
    assert client.patch("/v1/jobs").headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/slow", "/a.wav"])
def test_an_orderly_restart_loses_no_job(settings: dict[str, Any], host: Host, path: str) -> None:
    with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
        ids = [post(client, f"{host.url}{path}", callback_url=f"{host.url}/done") for _ in range(5)]
    host.held.set()
    with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
        for id in ids:
            job = ended(client, id, told=True)
            assert (job["status"], job["callback"]["tries"]) == ("succeeded", 1)
    assert sorted(json.loads(body)["id"] for _, body in host.posts) == sorted(ids)


def started(settings: dict[str, Any], port: int, log: Path) -> subprocess.Popen[bytes]:
    environment = {f"VAD_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "vad.cli", "serve", "--port", str(port), "--device", "cpu"],
            env={**os.environ, **environment, "VAD_MODEL": "convad-tiny"},
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_outlives_a_kill_and_is_told_once(
    settings: dict[str, Any], host: Host, tmp_path: Path, workers: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings["workers"] = workers
    base, log = f"http://127.0.0.1:{port}", tmp_path / "log"

    def ready() -> bool:
        try:
            return httpx.get(f"{base}/healthz/ready").is_success
        except httpx.TransportError:
            assert running.poll() is None, log.read_text()
            return False

    running = started(settings, port, log)
    try:
        until(ready)
        body = {"source": {"url": f"{host.url}/slow"}, "callback_url": f"{host.url}/done"}
        id = httpx.post(f"{base}/v1/jobs", json=body).json()["id"]
        until(lambda: bool(host.gets))
        assert httpx.get(f"{base}/v1/jobs/{id}").json()["status"] == "running"
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert host.posts == []
        if workers > 1:  # the orphans see that their parent is gone, and end
            until(lambda: not _answers(port))
        running = started(settings, port, log)
        until(ready)
        host.held.set()
        with httpx.Client(base_url=base) as client:
            job = ended(client, id, told=True)
        assert job["status"] == "succeeded"
        assert job["callback"] == {"url": f"{host.url}/done", "status": "delivered", "tries": 1}
        time.sleep(0.5)  # in which a second callback would come
        assert [json.loads(body)["id"] for _, body in host.posts] == [id]
    finally:
        running.terminate()
        assert running.wait(PATIENCE_S) == 0


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The store alone.

REQUEST = {"source": {"url": "http://files.example.org/"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path, 20, 2**30)
    yield made
    made.close()


def test_the_number_of_jobs_has_its_limit(store: JobStore) -> None:
    for _ in range(18):
        store.add(REQUEST, None, "one")
    with pytest.raises(KeyJobsTaken):
        store.add(REQUEST, None, "one")
    ids = [store.add(REQUEST, None, "other").id for _ in range(2)]
    with pytest.raises(TooManyJobs):
        store.add(REQUEST, None, "third")
    store.delete(ids[0])
    store.add(REQUEST, None, "third")


def test_jobs_are_claimed_in_order_and_once(store: JobStore, tmp_path: Path) -> None:
    other = JobStore(tmp_path, 20, 2**30)  # of another process
    ids = [store.add(REQUEST, None, "one").id for _ in range(6)]
    claimed = [each.claim() for each in (store, other) * 4]
    assert [job and job.id for job in claimed] == [*ids, None, None]
    other.close()


def test_a_job_that_kills_its_server_is_given_up(store: JobStore) -> None:
    id = store.add(REQUEST, "http://files.example.org/done", "one").id
    for _ in range(CRASHES):
        assert store.get(id).status == "queued"
        assert store.claim() is not None
        store.work(id)
        assert store.recover() == 1
    job = store.get(id)
    assert (job.status, job.callback_status) == ("failed", "due")
    assert store.claim() is None
    assert [each.id for each in store.due(9, [])] == [id]
    assert store.due(9, [id]) == []


def test_the_one_that_crashes_fails_and_none_beside_it(store: JobStore) -> None:
    """Of four jobs in the same crash each is tried alone, which shows whose fault it was."""
    ids = [store.add(REQUEST, None, client).id for client in "abcd"]
    guilty = ids[2]
    for job in (store.claim(), store.claim(), store.claim()):
        assert job is not None
        assert not job.suspected
        store.work(job.id)
    fetched = store.claim()
    assert fetched is not None
    assert store.recover() == 4
    later = store.add(REQUEST, None, "e").id
    order, crashes = [], 0
    while job := store.claim():
        order.append(job.id)
        assert job.suspected == (job.id in ids[:3])
        store.work(job.id)
        if job.id == guilty:
            crashes += 1
            store.recover()
        else:
            store.finish(job.id, "{}", None)
    assert {id: store.get(id).status for id in ids} == {
        id: "failed" if id == guilty else "succeeded" for id in ids
    }
    assert crashes == CRASHES
    # What was only being fetched is not suspected, and new jobs wait for those who are.
    assert order == [ids[0], ids[1], *[guilty] * CRASHES, fetched.id, later]


def test_what_crashes_while_it_is_fetched_is_given_up_too(store: JobStore) -> None:
    guilty, other = (store.add(REQUEST, None, client).id for client in "ab")
    while store.claim():
        pass
    store.recover()
    crashes = 0
    while job := store.claim():
        if job.id == other:
            store.work(job.id)
            store.finish(job.id, "{}", None)
        else:
            crashes += 1
            store.recover()
    assert (store.get(guilty).status, store.get(other).status) == ("failed", "succeeded")
    assert crashes == CRASHES


def test_what_is_suspected_is_alone(settings: dict[str, Any], host: Host) -> None:
    store = JobStore(settings["jobs_dir"], 20, 2**30)
    slow = {"source": {"url": f"{host.url}/slow"}}
    ids = [store.add(slow, None, client).id for client in "abc"]
    for _ in range(2):
        job = store.claim()
        assert job is not None
        store.work(job.id)
    store.close()  # as by a kill
    with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
        until(lambda: bool(host.gets))
        found = [client.get(f"/v1/jobs/{id}").json()["status"] for id in ids]
        assert found == ["running", "queued", "queued"]
        host.held.set()
        for id in ids:
            assert ended(client, id)["status"] == "succeeded"


def test_what_was_cut_off_is_found_though_the_store_was_locked_at_first(
    settings: dict[str, Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BUSY_S", 0.05)
    monkeypatch.setattr(runner, "POLL_S", 0.05)
    store = JobStore(settings["jobs_dir"], 20, 2**30)
    id = store.add({"source": {"url": f"{host.url}/a"}}, None, "one").id
    store.claim()
    store.close()  # as by a kill
    app = create_app(Settings(**settings), EnergyDetector())
    other = sqlite3.connect(
        settings["jobs_dir"] / "jobs.sqlite3", isolation_level=None, check_same_thread=False
    )
    taken = JobStore.recover
    tried: list[bool] = []

    def recover(self: JobStore) -> int:
        tried.append(True)
        if len(tried) == 1:
            other.execute("BEGIN IMMEDIATE")
        if len(tried) == 20:
            other.execute("ROLLBACK")
        return taken(self)

    monkeypatch.setattr(JobStore, "recover", recover)
    with TestClient(app) as client:
        assert ended(client, id)["status"] == "succeeded"
    assert len(tried) >= 20
    other.close()


def test_an_orderly_end_blames_nobody(
    settings: dict[str, Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was being done as the server stopped, a claim too that nobody had seen yet."""
    for _ in range(CRASHES + 1):
        with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
            id = post(client, f"{host.url}/slow")
    store = JobStore(settings["jobs_dir"], 20, 2**30)
    assert store.get(id).status == "queued"
    assert store.recover() == 0
    assert not any(job.suspected for job in iter(lambda: store.claim({}, 9), None))
    store.close()


def test_clients_have_turns(store: JobStore) -> None:
    many = [store.add(REQUEST, "http://x", "one").id for _ in range(9)]
    few = [store.add(REQUEST, "http://x", "other").id for _ in range(2)]
    order: list[str] = []
    busy: dict[str, int] = {}
    while job := store.claim(busy, 4):
        order.append(job.id)
        busy[job.client] = busy.get(job.client, 0) + 1
    assert order == [many[0], few[0], many[1], few[1], many[2], many[3]]
    for id in order:
        store.finish(id, "{}", None)
    due = store.due(9, [many[0]], {"one": 1}, 3)
    assert [job.id for job in due] == [few[0], many[1], few[1], many[2]]
    assert [job.id for job in store.due(2, [], {}, 3)] == [many[0], few[0]]


def test_what_ended_long_ago_is_forgotten_once_it_was_told(store: JobStore) -> None:
    ids = [store.add(REQUEST, callback, "one").id for callback in (None, "http://x", None)]
    for id in ids[:2]:
        assert store.claim()
        store.finish(id, "{}", None)
    store.expire(3600)
    assert store.get(ids[0]).result == "{}"
    store.expire(-1)
    with pytest.raises(UnknownJob):
        store.get(ids[0])
    store.told(ids[1], delivered=True)
    store.expire(-1)
    with pytest.raises(UnknownJob):
        store.get(ids[1])
    assert store.get(ids[2]).status == "queued"


def test_a_full_store_keeps_no_result_but_says_so(tmp_path: Path) -> None:
    store = JobStore(tmp_path, 20, 2**20)
    first, second = (store.add(REQUEST, None, "one").id for _ in range(2))
    for id in (first, second):
        assert store.claim()
        store.finish(id, "1" * 600_000, None)
    assert store.get(first).status == "succeeded"
    problem = store.get(second).problem
    assert problem is not None
    assert problem["status"] == 507
    store.close()


def test_a_disk_that_was_full_for_a_while_costs_no_job(
    client: TestClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = JobStore.finish
    why: list[Exception] = [sqlite3.OperationalError("database or disk is full")] * 2

    def failing(self: JobStore, *result: Any) -> None:
        if why:
            raise why.pop()
        finish(self, *result)

    monkeypatch.setattr(JobStore, "finish", failing)
    assert ended(client, post(client, f"{host.url}/a.wav"))["status"] == "succeeded"
    monkeypatch.setattr(JobStore, "add", failing)
    why.append(OSError(28, "No space left on device", "/private/jobs"))
    body = {"source": {"url": f"{host.url}/a.wav"}}
    found = check_problem(client.post("/v1/jobs", json=body), 507, "storage-full")
    assert found.detail == "jobs can't be kept: No space left on device"


def test_while_somebody_has_the_store_it_can_be_read_and_nothing_is_lost(
    settings: dict[str, Any], client: TestClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BUSY_S", 0.1)
    monkeypatch.setattr(runner, "POLL_S", 0.05)
    id = post(client, f"{host.url}/slow", callback_url=f"{host.url}/done")
    until(lambda: bool(host.gets))
    other = sqlite3.connect(settings["jobs_dir"] / "jobs.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client.post("/v1/jobs", json={"source": {"url": f"{host.url}/a"}})
    check_problem(answer, 503, "jobs-busy")
    assert answer.headers["Retry-After"] == "1"
    check_problem(client.delete(f"/v1/jobs/{id}"), 503, "jobs-busy")
    host.held.set()
    assert client.get(f"/v1/jobs/{id}").json()["status"] == "running"
    other.execute("ROLLBACK")
    assert ended(client, id, told=True)["callback"]["tries"] == 1
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()
    assert len(host.posts) == 1


def spoilt(folder: Path, how: str) -> Path:
    """A folder that can't be used."""
    if how == "it is a file":
        folder.touch()
    elif how == "it lies in a file":
        folder.touch()
        return folder / "jobs"
    else:
        folder.mkdir()
        if how == "no database":
            (folder / "jobs.sqlite3").write_text("something else, of some length" * 100)
        elif how == "another database":
            with sqlite3.connect(folder / "jobs.sqlite3") as db:
                db.execute("CREATE TABLE jobs (id TEXT, status TEXT)")
            db.close()
        else:
            (folder / "runner.lock").mkdir()
    return folder


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("it is a file", "File exists"),
        ("it lies in a file", "Not a directory"),
        ("no database", "file is not a database"),
        ("another database", "no such column"),
        ("a folder in its lock's place", "Is a directory"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_can_t_be_used_is_told_before_anything_starts(
    tmp_path: Path, how: str, why: str, workers: int
) -> None:
    folder = spoilt(tmp_path / "x", how)
    with pytest.raises(ParameterError, match=f"VAD_JOBS_DIR: jobs can't be kept in .*{why}"):
        serve(jobs_dir=folder, port=0, workers=workers)


def test_only_the_service_may_read_its_jobs(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = JobStore(tmp_path, 20, 2**20)
    store.add(REQUEST, None, "one")
    assert [oct(path.stat().st_mode)[-3:] for path in tmp_path.iterdir()] == ["600"] * 3
    store.close()


def test_a_finish_of_what_was_deleted_is_nothing(store: JobStore) -> None:
    id = store.add(REQUEST, "http://x", "one").id
    store.claim()
    store.delete(id)
    store.finish(id, "{}", None)
    store.put_back(id)
    assert store.due(9, []) == []


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_!!!", "whsec_" + "A" * 20])
def test_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        Settings(job_secret=secret)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["http://a", "a:99999", "a b", "a:0"])
def test_a_host_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="job_hosts"):
        Settings(job_hosts=name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["jobs_dir", "shared_dir"])
def test_an_empty_folder_is_none_and_not_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"VAD_{name.upper()}", "")
    assert getattr(Settings(), name) is None
