from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from service import Settings, serve
from vad import ModelNotFound, ParameterError


def test_environment_names_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAD_PORT", "9001")
    monkeypatch.setenv("VAD_LOG_FORMAT", "json")
    settings = Settings()
    assert (settings.host, settings.port, settings.log_format) == ("127.0.0.1", 9001, "json")


def test_defaults_let_a_two_hour_upload_through() -> None:
    settings = Settings()
    assert settings.max_audio_s >= 2 * 3600
    assert settings.max_body_bytes >= 2 * 3600 * 48_000 * 2 * 3  # 24-bit stereo at 48 kHz


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 65_536), ("max_streams", 0), ("shutdown_grace_s", -1), ("log_format", "xml")],
)
def test_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("allowed_origins", "https://a.example, http://b:81", ("https://a.example", "http://b:81")),
        ("allowed_origins", "*", ("*",)),
        ("trusted_proxies", "10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
        ("trusted_proxies", "", ()),
        ("api_keys", "sixsix, seven77", (SecretStr("sixsix"), SecretStr("seven77"))),
        ("root_path", "/vad", "/vad"),
    ],
)
def test_lists_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: Any
) -> None:
    monkeypatch.setenv(f"VAD_{name.upper()}", text)
    assert getattr(Settings(), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_origins", "https://a.example/page"),
        ("allowed_origins", "a.example"),
        ("trusted_proxies", "proxy.example"),
        ("root_path", "vad"),
        ("root_path", "/vad/"),
        ("workers", 0),
        ("api_keys", ","),
        ("api_keys", "five5"),
        ("allowed_hosts", "https://a.example"),
    ],
)
def test_what_can_mean_nothing_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_every_setting_is_described() -> None:
    undescribed = [n for n, field in Settings.model_fields.items() if not field.description]
    assert not undescribed


def test_serve_names_a_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAD_PORT", "many")
    with pytest.raises(ParameterError, match="VAD_PORT"):
        serve()


def test_serve_tells_of_a_missing_model() -> None:
    with pytest.raises(ModelNotFound, match="no-such-model"):
        serve(model="no-such-model")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_told_with_the_way_out(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        asked = ["--port", port, "--workers", workers, "--model", "convad-tiny", "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", "vad.cli", "serve", *asked],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert f"another program listens on 127.0.0.1:{port}; --port" in done.stderr


def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("first-key\nsecond-key, third-key\n\n")
    keys = Settings(api_keys=("zeroth-key",), api_keys_file=file).api_keys  # type: ignore[arg-type]
    told = [key.get_secret_value() for key in keys]
    assert told == ["zeroth-key", "first-key", "second-key", "third-key"]
    file.write_text("\n")
    with pytest.raises(ValidationError, match="holds no key"):
        Settings(api_keys_file=file)
    with pytest.raises(ParameterError, match="VAD_API_KEYS_FILE"):
        serve(api_keys_file=tmp_path / "none")
