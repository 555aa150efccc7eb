"""Everything that an operator may set; each limit is named and defaulted here only."""

from __future__ import annotations

import base64
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vad.config import DEFAULT_MODEL

HOUR = 3600.0


def _split(value: object) -> object:
    """Comma-separated, as an environment variable has it."""
    if not isinstance(value, str):
        return value
    return [part for item in value.split(",") if (part := item.strip())]


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if value != "*" and value != f"{parts.scheme}://{parts.netloc}".lower():
        raise ValueError(f"{value!r} is no origin: write https://example.org, or *")
    return value


def _network(value: str) -> str:
    if value != "*":
        ip_network(value, strict=False)
    return value


def _root_path(value: str) -> str:
    if value and (not value.startswith("/") or value.endswith("/")):
        raise ValueError("must start with a slash and not end with one")
    return value


def _keys(value: object) -> object:
    found = _split(value)
    if isinstance(value, str) and value and not found:
        raise ValueError("holds no key: leave it out where all may come in")
    return found


def _key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(f"a key must have {SHORTEST_KEY} characters or more")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"\*|(\*\.)?[\w.-]+|\[[\da-fA-F:.]+\]", value):
        raise ValueError(f"{value!r} is no name: write example.org, *.example.org or *")
    return value.lower()


def _place(value: str) -> str:
    """A host as in `Host`, with a port or without."""
    name, _, port = value.rpartition(":") if re.search(r":\d+$", value) else (value, "", "")
    if port and not 0 < int(port) < 65_536:
        raise ValueError(f"{value!r} has no such port")
    return _host(name) + (f":{port}" if port else "")


def _folder(value: object) -> object:
    """Empty, as compose.yaml's `${VAD_JOBS_DIR:-}` leaves it, is not set; not the current one."""
    return None if value == "" else value


def _signing(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        signing_key(value.get_secret_value())
    return value


def signing_key(secret: str) -> bytes:
    """The bytes of a secret as Standard Webhooks writes it.

    Raises:
        ValueError: it is none.
    """
    head, _, rest = secret.partition("whsec_")
    try:
        key = b"" if head else base64.b64decode(rest, validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64")
    return key


SHORTEST_KEY = 6
Keys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_key)], ...], NoDecode, BeforeValidator(_keys)
]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_split)
]
HostPorts = Annotated[
    tuple[Annotated[str, AfterValidator(_place)], ...], NoDecode, BeforeValidator(_split)
]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_split)
]
Folder = Annotated[Path | None, BeforeValidator(_folder)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Settings, each also an environment variable: `port` is `VAD_PORT`.

    The defaults let two hours of 24-bit stereo at 48 kHz through.

    Raises:
        pydantic.ValidationError: a value is of the wrong type or out of range.
    """

    # Values stay out of error messages: a key may be among them.
    model_config = SettingsConfigDict(env_prefix="VAD_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65_535, description="0 lets the system choose")
    workers: int = Field(default=1, ge=1, description="processes, each with its own model")
    log_format: Literal["json", "console"] = Field(
        default="console", description="of the records on standard output"
    )

    api_keys: Keys = Field(
        default=(), description="any of them lets a client in; comma-separated; none: all may"
    )
    api_keys_file: Path | None = Field(
        default=None, description="a file with further keys, such as a secret of Docker's"
    )
    allowed_hosts: Hosts = Field(
        default=(),
        description="names in Host, *.example.org among them; comma-separated; none: localhost "
        "where only this machine can reach it, else all; * is all; addresses always are",
    )
    allowed_origins: Origins = Field(
        default=(),
        description="of browsers' pages from elsewhere (CORS, WebSocket); comma-separated, or *",
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="addresses whose X-Forwarded-For and -Proto count; comma-separated, or *",
    )
    root_path: Annotated[str, AfterValidator(_root_path)] = Field(
        default="", description="path under which a proxy serves this, such as /vad"
    )
    shared_dir: Folder = Field(
        default=None,
        description="where several processes keep their common counts; `workers` makes its own",
    )

    model: str = Field(default=DEFAULT_MODEL, description="name or path of the weights")
    models: Names | None = Field(
        default=None,
        description="further ones that files and streams may name, loaded when first asked for; "
        "comma-separated; not set: those that are shipped",
    )
    device: str = Field(default="auto", description="cpu, cuda, cuda:0, … or auto")
    file_workers: int = Field(
        default=8, ge=1, description="files under way at the same time, which take turns"
    )
    max_waiting_files: int = Field(
        default=32, ge=0, description="requests beyond these that wait; then 503"
    )

    max_body_bytes: int = Field(default=2**31, ge=1, description="of one HTTP request")
    max_json_bytes: int = Field(
        default=2**26, ge=1, description="of one in JSON, where a second of audio takes some 200 KB"
    )
    max_audio_s: float = Field(default=4 * HOUR, gt=0, description="decoded seconds of one file")
    max_files: int = Field(default=32, ge=1, description="files of one request")
    max_channels: int = Field(default=64, ge=1, description="channels of one file")
    max_decoded_bytes: int = Field(
        default=2**34, ge=1, description="of one file: four a sample and channel"
    )
    max_probabilities: int = Field(
        default=3_000_000, ge=1, description="in one answer: 100 a second of audio and channel"
    )
    max_decode_s: float = Field(default=600, gt=0, description="spent on decoding one file")
    max_decode_memory_bytes: int = Field(
        default=2**30, ge=2**27, description="of the process that decodes one file"
    )
    max_live_bodies: int = Field(
        default=4,
        ge=0,
        description="analysed while they arrive (ndjson); further ones are stored first",
    )
    body_idle_s: float = Field(default=30, gt=0, description="longest pause while a body arrives")
    min_body_bytes_per_s: float = Field(
        default=100, ge=0, description="that a body must bring on average, after such a pause"
    )
    max_body_s: float = Field(default=8 * HOUR, gt=0, description="for a body to arrive")

    head_timeout_s: float = Field(
        default=10, gt=0, description="for a connection's next request, from its first byte"
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="of one process; fewer where it may open fewer files; idle ones give way",
    )
    max_requests: int = Field(
        default=64, ge=1, description="with audio, at the same time, of all processes"
    )
    max_requests_per_key: int | None = Field(
        default=None, ge=1, description="of these, by one key; None: all"
    )
    max_requests_per_address: int | None = Field(
        default=None, ge=1, description="of these, without keys; None: nine tenths of all"
    )

    max_streams: int = Field(
        default=100, ge=1, description="open at the same time, in all processes"
    )
    max_streams_per_key: int | None = Field(
        default=None, ge=1, description="of these, by one key; None: all"
    )
    max_streams_per_address: int | None = Field(
        default=None, ge=1, description="of these, without keys; None: nine tenths of all"
    )
    auth_timeout_s: float = Field(
        default=10, gt=0, description="for a stream to send its key in a message"
    )
    stream_idle_s: float = Field(default=60, gt=0, description="longest time without a message")
    stream_stall_s: float = Field(
        default=30,
        gt=0,
        description="longest time in which a full queue, or a client's reading, makes no progress",
    )
    max_stream_s: float = Field(
        default=8 * HOUR, gt=0, description="seconds of audio of one stream"
    )
    max_stream_open_s: float = Field(
        default=24 * HOUR, gt=0, description="by the clock, of one stream, however little it says"
    )
    max_stream_lead_s: float = Field(
        default=4 * HOUR, gt=0, description="of a stream's audio over the clock"
    )
    max_controls_per_s: float = Field(
        default=100, gt=0, description="messages and pings of one stream beside audio, on average"
    )
    max_message_bytes: int = Field(default=2**20, ge=1, description="of one WebSocket message")
    max_append_bytes: int = Field(
        default=15 * 2**20,
        ge=1,
        description="audio of one `input_audio_buffer.append`, whose message may be larger",
    )
    max_queue_bytes: int = Field(
        default=2**20, ge=1, description="that wait in one stream before reading stops"
    )

    jobs_dir: Folder = Field(
        default=None,
        description="a folder on this machine's disk that keeps jobs across restarts; not set: "
        "there are no jobs",
    )
    job_hosts: HostPorts = Field(
        default=(),
        description="that jobs' URLs and callbacks may name: example.org, *.example.org, *, on "
        "ports 80 and 443, or example.org:8443; comma-separated; none: none",
    )
    job_private_hosts: HostPorts = Field(
        default=(),
        description="the same, that may lie at private addresses, such as localhost:9000",
    )
    job_buckets: Names = Field(
        default=(), description="of S3, that jobs may read from; comma-separated; none: none"
    )
    job_secret: Annotated[SecretStr | None, AfterValidator(_signing)] = Field(
        default=None,
        description="whsec_ and base64, with which callbacks are signed; without it there are none",
    )
    job_workers: int = Field(default=2, ge=1, description="jobs worked through at the same time")
    job_fetch_s: float = Field(
        default=600, gt=0, description="for a recording to be fetched, all tries together"
    )
    job_keep_s: float = Field(default=24 * HOUR, gt=0, description="of a job after its end")
    max_jobs: int = Field(
        default=10_000, ge=1, description="that are kept, ended ones too; nine tenths by one client"
    )
    max_jobs_bytes: int = Field(default=2**30, ge=2**20, description="of the file that keeps them")

    shutdown_grace_s: float = Field(default=10, ge=0, description="from SIGTERM to exit")

    @model_validator(mode="after")
    def _add_keys_of_file(self) -> Settings:
        if self.api_keys_file is None:
            return self
        try:
            lines = self.api_keys_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as exc:
            raise ValueError(f"VAD_API_KEYS_FILE can't be read: {exc}") from None
        found = [_key(SecretStr(key)) for line in lines for key in line.split(",") if key.strip()]
        if not found:
            raise ValueError("VAD_API_KEYS_FILE holds no key")
        keys = tuple(SecretStr(key.get_secret_value().strip()) for key in found)
        object.__setattr__(self, "api_keys", (*self.api_keys, *keys))  # frozen for all others
        return self

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
