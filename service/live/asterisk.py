"""Asterisk's chan_websocket: https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket.

    MEDIA_START ──▶ binary frames of audio, text frames of events ──▶ the end of the connection

Events and commands are words and `key:value`, or JSON: what MEDIA_START is, commands are too.
When somebody begins to speak, Asterisk is told to FLUSH_MEDIA, what it has yet to play.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from service.errors import MalformedMessage, NotAllowed, UnsupportedMedia
from service.fields import load_json
from service.live.messages import ServerMessage
from service.live.telephone import TelephoneConnection, TelephoneSession
from vad.events import SpeechStarted

SUBPROTOCOL = "media"
# Asterisk's names of formats that are plain samples. Its signed linear has the machine's order.
FORMATS = {
    "ulaw": ("mulaw", 8000),
    "alaw": ("alaw", 8000),
    "slin": ("pcm_s16le", 8000),
    **{f"slin{khz}": ("pcm_s16le", 1000 * khz) for khz in (12, 16, 24, 32, 48, 96, 192)},
    "slin44": ("pcm_s16le", 44_100),
}
_EVENT = re.compile(r"[A-Z][A-Z_]*")


class AsteriskSession(TelephoneSession):
    """One WebSocket channel."""

    system = "Asterisk"
    key_place = "password = KEY in websocket_client.conf"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._speaks_json = False

    def greet(self, text: str | None) -> None:
        if text is None:
            raise NotAllowed("audio came before MEDIA_START")
        event = self._event(text)
        if event["event"] != "MEDIA_START":
            raise NotAllowed(f"{event['event'][:64]} came before MEDIA_START")
        if not isinstance(name := event.get("format"), str) or name not in FORMATS:
            known = ", ".join(FORMATS)
            raise UnsupportedMedia(f"format {name!r:.64} can't be heard: dial with one of {known}")
        self.audio = (*FORMATS[name], 1)
        self._speaks_json = text.lstrip().startswith("{")
        self.greeted = True

    def _command(self, text: str) -> list[ServerMessage]:
        if len(text.encode(errors="replace")) > self._limits.max_message_bytes:
            raise self._too_large()
        if self._event(text)["event"] == "MEDIA_START":
            raise MalformedMessage("MEDIA_START came again")
        return []  # MEDIA_XOFF, STATUS, DTMF_END, and what later versions may send

    @staticmethod
    def _event(text: str) -> dict[str, Any]:
        if text.lstrip().startswith("{"):
            try:
                event: dict[str, Any] = load_json(text)
            except ValueError as exc:
                raise MalformedMessage(f"an event that is no JSON: {exc}") from None
        else:
            first, *pairs = text[:4096].split() or [""]
            event = dict(pair.partition(":")[::2] for pair in pairs) | {"event": first}
        name = event.get("event")
        if not isinstance(name, str) or not _EVENT.fullmatch(name):
            raise MalformedMessage("a text frame must hold one of Asterisk's events")
        return event

    def commands(self, message: ServerMessage) -> list[str]:
        if not isinstance(message, SpeechStarted):
            return []
        command = "FLUSH_MEDIA"
        return [json.dumps({"command": command}) if self._speaks_json else command]


class AsteriskConnection(TelephoneConnection):
    """A connection of Asterisk's."""

    session = AsteriskSession

    def _subprotocol(self) -> str | None:
        offered = self._websocket.scope.get("subprotocols", ())
        return SUBPROTOCOL if SUBPROTOCOL in offered else None

    def _token(self) -> str | None:
        """The password in websocket_client.conf, which Asterisk sends as `Basic`."""
        scheme, _, told = self._websocket.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            return base64.b64decode(told.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
