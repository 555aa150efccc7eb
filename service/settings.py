"""Everything that an operator may set; each limit is named and defaulted here only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vad.config import DEFAULT_MODEL

HOUR = 3600.0


class Settings(BaseSettings):
    """Settings, each also an environment variable: `port` is `VAD_PORT`.

    The defaults let two hours of 24-bit stereo at 48 kHz through.

    Raises:
        pydantic.ValidationError: a value is of the wrong type or out of range.
    """

    model_config = SettingsConfigDict(env_prefix="VAD_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535, description="0 lets the system choose")
    log_format: Literal["json", "console"] = "console"

    model: str = Field(default=DEFAULT_MODEL, description="name or path of the weights")
    device: str = Field(default="auto", description="cpu, cuda, cuda:0, … or auto")
    torch_threads: int | None = Field(default=None, ge=1, description="None: what torch chooses")
    file_workers: int = Field(
        default=1, ge=1, description="files that are decoded at the same time"
    )

    max_body_bytes: int = Field(default=2**31, ge=1, description="of one HTTP request")
    max_audio_s: float = Field(default=4 * HOUR, gt=0, description="decoded seconds of one file")
    max_files: int = Field(default=32, ge=1, description="files of one request")
    max_channels: int = Field(default=32, ge=1, description="channels of one file")
    body_idle_s: float = Field(default=30, gt=0, description="longest pause while a body arrives")

    max_streams: int = Field(default=100, ge=1, description="open at the same time")
    stream_idle_s: float = Field(default=60, gt=0, description="longest time without a message")
    max_stream_s: float = Field(
        default=8 * HOUR, gt=0, description="seconds of audio of one stream"
    )
    max_message_bytes: int = Field(default=2**20, ge=1, description="of one WebSocket message")

    shutdown_grace_s: float = Field(default=10, ge=0, description="from SIGTERM to exit")
