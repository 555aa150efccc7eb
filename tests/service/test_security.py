from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.testclient import WebSocketTestSession
from structlog.testing import capture_logs

from service import Settings, create_app, server
from service.errors import OriginNotAllowed, Unauthorised
from service.security import Keyring, check_origin, warn_if_open

from .conftest import LOUD_PCM, SPEECH_WAV, EnergyDetector, check_problem, rest

ROUTE = "/v1/vad/stream"
KEYS = {"api_keys": "alpha-key, beta-ключ"}
ALPHA = {"Authorization": "Bearer alpha-key"}
BETA = {"Authorization": "Bearer beta-ключ".encode()}
with_keys = pytest.mark.parametrize("settings", [KEYS])


def connection(**headers: str) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw})


def told(socket: WebSocketTestSession) -> tuple[dict[str, Any], int]:
    [error], code = rest(socket)
    assert (error["type"], error["fatal"]) == ("error", True)
    return error, code


@with_keys
@pytest.mark.parametrize("route", ["/v1/vad", "/v1/audio/speech/timestamps"])
def test_work_needs_a_key(client: TestClient, route: str) -> None:
    files = {"file": SPEECH_WAV}
    for headers in (ALPHA, BETA, {"Authorization": "bEaReR  alpha-key "}):
        assert client.post(route, files=files, headers=headers).status_code == 200
    refused = client.post(route, files=files)
    check_problem(refused, 401, "unauthorised")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="convad"'


@with_keys
@pytest.mark.parametrize(
    "given", ["Bearer alpha-keY", "Bearer alpha-key2", "Bearer alpha", "Bearer é", "Bearer \u2603"]
)
def test_a_wrong_key_is_refused(client: TestClient, given: str) -> None:
    refused = client.post("/v1/vad", content=SPEECH_WAV, headers={"Authorization": given.encode()})
    problem = check_problem(refused, 401, "unauthorised")
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert "alpha" not in problem.detail


@with_keys
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Basic alpha-key", "alpha-key"])
def test_what_is_no_key_is_asked_for_one(client: TestClient, given: str) -> None:
    refused = client.get("/v1/models", headers={"Authorization": given})
    check_problem(refused, 401, "unauthorised")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="convad"'


@with_keys
def test_a_body_without_a_key_is_not_waited_for(client: TestClient) -> None:
    def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    check_problem(client.post("/v1/vad", content=never()), 401, "unauthorised")


@with_keys
def test_what_is_open_and_what_is_not(client: TestClient) -> None:
    for path in ("/healthz/live", "/healthz/ready", "/version", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    for path in ("/v1/models", "/metrics"):
        check_problem(client.get(path), 401, "unauthorised")
        assert client.get(path, headers=ALPHA).status_code == 200


def test_the_document_tells_whether_keys_are_needed(client: TestClient) -> None:
    def secured(client: TestClient) -> set[str]:
        paths = client.get("/openapi.json").json()["paths"]
        return {path for path, item in paths.items() for op in item.values() if "security" in op}

    assert secured(client) == set()
    with TestClient(create_app(Settings(**KEYS), EnergyDetector())) as other:
        assert secured(other) == {
            "/v1/vad", "/v1/audio/speech/timestamps", "/v1/models", "/metrics",
            "/v1/jobs", "/v1/jobs/{id}",
        }  # fmt: skip


@with_keys
def test_a_stream_with_the_header(client: TestClient) -> None:
    with client.websocket_connect(ROUTE, headers=ALPHA) as socket:
        assert socket.receive_json()["type"] == "session.created"
    with client.websocket_connect(ROUTE, headers={"Authorization": "Bearer no"}) as socket:
        error, code = told(socket)
    assert (error["code"], code) == ("unauthorised", 1008)


@with_keys
def test_a_stream_with_its_key_in_the_first_message(client: TestClient) -> None:
    with client.websocket_connect(f"{ROUTE}?threshold=0.6") as socket:
        socket.send_json({"type": "auth", "token": "beta-ключ"})
        created = socket.receive_json()
        assert (created["type"], created["params"]["threshold"]) == ("session.created", 0.6)
        socket.send_json({"type": "auth", "token": "beta-ключ"})
        error = socket.receive_json()
        assert (error["code"], error["fatal"]) == ("not-allowed", False)
        socket.send_json({"type": "end"})
        assert rest(socket)[1] == 1000


@with_keys
@pytest.mark.parametrize(
    "message",
    [
        {"type": "auth", "token": "alpha"},
        {"type": "auth", "token": "\ud800"},
        {"type": "end"},
        b"audio",
    ],
)
def test_a_stream_without_a_right_key_is_closed(client: TestClient, message: Any) -> None:
    with client.websocket_connect(ROUTE) as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(json.dumps(message))
        error, code = told(socket)
    assert (error["code"], code) == ("unauthorised", 1008)
    assert "alpha" not in error["message"]


@with_keys
@pytest.mark.parametrize(
    "message", [{"type": "auth"}, {"type": "auth", "token": 1}, {"type": "auth", "key": "a"}]
)
def test_a_malformed_auth_is_told_what_it_needs(client: TestClient, message: Any) -> None:
    with client.websocket_connect(ROUTE) as socket:
        socket.send_json(message)
        error, code = told(socket)
    assert (error["code"], error["param"], code) == ("invalid-parameter", "token", 1008)


@pytest.mark.parametrize("settings", [KEYS | {"auth_timeout_s": 0.05}])
def test_a_key_that_does_not_come_is_not_waited_for(client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as socket:
        error, code = told(socket)
    assert (error["code"], code) == ("stream-idle", 1008)


@pytest.mark.parametrize("settings", [{"allowed_origins": "https://app.example, http://b:81"}])
@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("https://app.example", True),
        ("HTTPS://APP.EXAMPLE", True),
        ("http://b:81", True),
        ("http://testserver", True),  # the page that this server serves
        ("https://app.example.evil", False),
        ("http://b", False),
        ("null", False),
        (None, True),  # no browser
    ],
)
def test_origins_of_streams(client: TestClient, origin: str | None, welcome: bool) -> None:
    headers = {} if origin is None else {"Origin": origin}
    with client.websocket_connect(ROUTE, headers=headers) as socket:
        if welcome:
            assert socket.receive_json()["type"] == "session.created"
        else:
            error, code = told(socket)
            assert (error["code"], code) == ("origin-not-allowed", 1008)


def test_any_origin_may_be_allowed() -> None:
    check_origin(connection(Origin="https://x"), ["*"])
    with pytest.raises(OriginNotAllowed):
        check_origin(connection(Origin="https://x", Host="y"), [])


@pytest.mark.parametrize("settings", [{"allowed_origins": "https://app.example"}])
def test_only_allowed_pages_may_read_answers(client: TestClient) -> None:
    for path, status in (("/version", 200), ("/nowhere", 404)):
        answer = client.get(path, headers={"Origin": "https://app.example"})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        other = client.get(path, headers={"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://app.example"}
    preflight = client.options(
        "/v1/vad", headers=asked | {"Access-Control-Request-Headers": "authorization"}
    )
    assert preflight.status_code == 200


def test_no_page_may_read_answers_unless_told(client: TestClient) -> None:
    answer = client.get("/version", headers={"Origin": "https://app.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_keyring_finds_each_of_its_keys() -> None:
    keys = Keyring([SecretStr("a"), SecretStr("b" * 1000)])
    assert (keys.find("a"), keys.find("b" * 1000), len(keys)) == (0, 1, 2)
    for wrong in ("", "A", "b" * 999):
        with pytest.raises(Unauthorised):
            keys.find(wrong)
    assert Keyring().check(connection()) is None


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "example.org"}, True),
        ({"host": "0.0.0.0", **KEYS}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
    ],
)
def test_a_server_open_to_all_is_warned_of(given: dict[str, Any], warned: bool) -> None:
    with capture_logs() as logs:
        warn_if_open(Settings(**given))
    assert [record["event"] for record in logs] == ["open_to_all"] * warned


def test_serving_warns_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[bool] = []
    monkeypatch.setattr(server, "load", lambda settings: EnergyDetector())
    monkeypatch.setattr(server.Server, "run", lambda self: ran.append(True))
    monkeypatch.setattr(server.logs, "configure", lambda settings: None)
    monkeypatch.setattr(server.logs, "configure_stdlib", lambda settings: None)
    with capture_logs() as logs:
        server.serve(host="0.0.0.0")
    assert ran
    assert [record["event"] for record in logs] == ["open_to_all"]


def test_unauthorised_streams_take_no_place() -> None:
    settings = Settings(**KEYS, max_streams=1)
    with (
        TestClient(create_app(settings, EnergyDetector())) as client,
        client.websocket_connect(ROUTE),
        client.websocket_connect(ROUTE, headers=ALPHA) as own,
    ):
        assert own.receive_json()["type"] == "session.created"
        own.send_bytes(LOUD_PCM)
        assert own.receive_json()["type"] == "speech_started"


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://h", "h:443", []),
        ("https://h:443", "h", []),
        ("http://h", "h:80", []),
        ("http://[::1]", "[::1]:80", []),
        ("https://app", "h", ["https://app:443"]),
        ("https://app:443", "h", ["https://app"]),
    ],
)
def test_default_ports_make_no_difference(origin: str, host: str, allowed: list[str]) -> None:
    check_origin(connection(Origin=origin, Host=host), allowed)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://h", "h:80"),
        ("http://h", "h:443"),
        ("https://h:444", "h"),
        ("null", "h"),
        ("https://h:x", "h"),
        ("https://h", "h:x"),
        ("https://", ""),
    ],
)
def test_other_ports_do(origin: str, host: str) -> None:
    with pytest.raises(OriginNotAllowed):
        check_origin(connection(Origin=origin, Host=host), [])


@pytest.mark.parametrize(
    ("host", "settings", "served"),
    [
        ("localhost:8000", {}, True),
        ("127.0.0.1:8000", {}, True),
        ("[::1]:8000", {}, True),
        ("app.localhost", {}, True),
        ("192.168.0.7", {}, True),  # an address: nobody was misled
        ("evil.example", {}, False),
        ("127.0.0.1.evil.example", {}, False),
        ("localhost.evil.example:8000", {}, False),
        ("evil.example", {"host": "0.0.0.0"}, True),
        ("vad.example", {"host": "0.0.0.0", "allowed_hosts": "vad.example"}, True),
        ("a.vad.example:443", {"allowed_hosts": "*.vad.example"}, True),
        ("evil.example", {"host": "0.0.0.0", "allowed_hosts": "vad.example"}, False),
        ("evil.example", {"allowed_hosts": "*"}, True),
        ("", {}, True),
    ],
)
def test_only_names_of_the_server_are_served(
    host: str, settings: dict[str, Any], served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAD_ALLOWED_HOSTS")
    app = create_app(Settings(**settings), EnergyDetector())
    with TestClient(app) as client:
        answer = client.get("/metrics", headers={"Host": host})
        if served:
            assert answer.status_code == 200
        else:
            assert "VAD_ALLOWED_HOSTS" in check_problem(answer, 421, "host-not-allowed").detail
        with client.websocket_connect(ROUTE, headers={"Host": host}) as socket:
            first = socket.receive_json()
        assert first["type"] == ("session.created" if served else "error")


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"Origin": "http://testserver"}, 200),
        ("POST", {"Origin": "http://other", "Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", {"Origin": "https://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": "http://["}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 200),  # a link leads here
        ("GET", {"Origin": "https://evil.example"}, 403),
        ("HEAD", {}, 200),
    ],
)
def test_pages_from_elsewhere_are_refused_over_http(
    client: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    path = "/v1/vad" if method == "POST" else "/v1/models"
    content = SPEECH_WAV if method == "POST" else None
    answer = client.request(method, path, headers=headers, content=content)
    assert answer.status_code == status
    if status == 403:
        check_problem(answer, 403, "origin-not-allowed")


@pytest.mark.parametrize("path", ["/version", "/v1/models", "/metrics", "/openapi.json", "/docs"])
def test_what_can_be_got_can_be_asked_for_its_head(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_other_processes_of_the_user_can_not_read_the_keys_of_the_environment() -> None:
    program = (
        "import ctypes; from service.security import hide_environment as hide; hide();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.strip() == b"0"
