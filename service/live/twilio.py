"""Twilio's Media Streams: https://www.twilio.com/docs/voice/media-streams/websocket-messages.

    connected ──▶ start ──▶ media (base64 of µ-law at 8 kHz, of each track), dtmf, mark ──▶ stop

When the caller begins to speak Twilio is told to `clear` what it has yet to play. What was heard
is told in the names of marks, which it echoes: `speech_started:inbound:0:480`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np

from service.errors import MalformedMessage, NotAllowed, UnsupportedFrame, UnsupportedMedia
from service.fields import SEGMENTATION_NAMES, load_json
from service.live.messages import ServerMessage
from service.live.telephone import TelephoneConnection, TelephoneSession
from vad.events import SpeechDiscarded, SpeechStarted, SpeechStopped

RATE = 8000
TRACKS = ("inbound", "outbound")
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1}
SILENCE = b"\xff"  # in µ-law
HEAD = 64  # characters in which a message with audio says so, or else takes the long way
GAP_MS = 40  # two messages: by how much a track may be late before it has a gap
AHEAD_MS = 1000  # by how much its times may be ahead of the clock


class TwilioSession(TelephoneSession):
    """One Media Stream.

    What waits of two tracks has the number of its track before each byte, so that it may be cut
    and joined anywhere. Where a track's times go on without it, such as before the other side
    answers, it is silent: so the tracks keep step.
    """

    system = "Twilio"
    key_place = '<Parameter name="token" value="KEY" /> in <Stream>'
    takes_audio = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sid = ""
        self._tracks: tuple[str, ...] = ()
        self._samples: dict[str, int] = {}
        self._rest = b""

    def greet(self, text: str | None) -> None:
        if text is None:
            raise UnsupportedFrame("Twilio sends no binary frames")
        event = self._event(text)
        if event["event"] == "connected":
            return
        if event["event"] != "start":
            raise NotAllowed(f"{event['event'][:64]} came before start")
        start = _object(event, "start")
        form = _object(start, "mediaFormat") if "mediaFormat" in start else {}
        if told := {n: form[n] for n in FORMAT if n in form and form[n] != FORMAT[n]}:
            raise UnsupportedMedia(f"Twilio's audio is {FORMAT}, not {told!r:.200}")
        tracks = start.get("tracks", ["inbound"])
        if not isinstance(tracks, list) or tracks not in _SETS:
            raise MalformedMessage(f"tracks must be one or both of {', '.join(TRACKS)}")
        self._tracks = tuple(track for track in TRACKS if track in tracks)
        self._samples = dict.fromkeys(self._tracks, 0)
        self._sid = str(start.get("streamSid") or event.get("streamSid") or "")
        given = _object(start, "customParameters") if "customParameters" in start else {}
        token = given.get("token")
        self.token = token if isinstance(token, str) else None
        # The rest are the application's own.
        self.parameters = tuple((n, str(given[n])) for n in _KNOWN if n in given)
        self.audio = ("mulaw", RATE, len(self._tracks))
        self.greeted = True

    def audio_in(self, text: str) -> bytes | None:
        if '"media"' not in text[:HEAD] or len(text) > self._limits.max_message_bytes:
            return None
        try:
            return self._media(self._event(text))
        except MalformedMessage:
            return None

    def receive_bytes(self, data: bytes) -> list[ServerMessage]:
        return self.fail(UnsupportedFrame("Twilio sends no binary frames"))

    def _command(self, text: str) -> list[ServerMessage]:
        if len(text.encode(errors="replace")) > self._limits.max_message_bytes:
            raise self._too_large()
        event = self._event(text)
        if event["event"] == "media":
            return self.take(self._detector.engine.push_many(self.feed(self._media(event))))
        if event["event"] == "stop":
            return self._end()
        if event["event"] in ("connected", "start"):
            raise MalformedMessage(f"{event['event']} came again")
        return []  # dtmf, mark, and what later versions may send

    def _event(self, text: str) -> dict[str, Any]:
        try:
            event = load_json(text)
        except ValueError as exc:
            raise MalformedMessage(f"Twilio's messages are JSON: {exc}") from None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise MalformedMessage('a message must be a JSON object with an "event"')
        if self._sid and event.get("streamSid", self._sid) != self._sid:
            raise MalformedMessage("the message is of another stream")
        return event

    def _media(self, event: dict[str, Any]) -> bytes:
        """Its audio, behind what its track has missed."""
        if event["event"] != "media":
            raise MalformedMessage("this is no media")
        media = _object(event, "media")
        track = media.get("track", self._tracks[0])
        if track not in self._tracks:
            raise MalformedMessage(f"start has named no track {track!r:.64}")
        try:
            audio = base64.b64decode(media.get("payload"), validate=True)  # type: ignore[arg-type]
        except (TypeError, ValueError, binascii.Error):
            raise MalformedMessage("media.payload must be base64") from None
        audio = SILENCE * self._missed(track, media.get("timestamp")) + audio
        self._samples[track] += len(audio)
        if len(self._tracks) == 1:
            return audio
        pairs = np.empty((len(audio), 2), np.uint8)
        pairs[:, 0] = self._tracks.index(track)
        pairs[:, 1] = np.frombuffer(audio, np.uint8)
        return pairs.tobytes()

    def _missed(self, track: str, timestamp: object) -> int:
        """Samples between a track's last audio and a time in ms, as far as the call has come."""
        if not isinstance(timestamp, str | int) or not str(timestamp)[:15].isdecimal():
            return 0
        has_ms = 1000 * self._samples[track] // RATE
        clock_ms = int(1000 * (self._clock() - self._opened_at)) + AHEAD_MS
        # A relayed recording comes faster than the clock; its tracks keep step all the same.
        latest_ms = max(clock_ms, 1000 * max(self._samples.values()) // RATE)
        gap_ms = min(int(str(timestamp)[:15]), latest_ms) - has_ms
        return gap_ms * RATE // 1000 if gap_ms > GAP_MS else 0

    def _begin(self) -> None:
        super()._begin()
        if len(self._tracks) > 1:
            self._split = self._by_track

    @property
    def _width(self) -> int:
        return 2 * len(self._tracks) if len(self._tracks) > 1 else 1

    def _by_track(self, data: bytes) -> list[bytes]:
        joined = self._rest + data
        whole = len(joined) - len(joined) % 2
        self._rest = joined[whole:]
        pairs = np.frombuffer(joined[:whole], np.uint8).reshape(-1, 2)
        return [pairs[pairs[:, 0] == i, 1].tobytes() for i in range(len(self._tracks))]

    def commands(self, message: ServerMessage) -> list[str]:
        if not isinstance(message, SpeechStarted | SpeechStopped | SpeechDiscarded):
            return []
        track = self._tracks[message.channel or 0]
        told = [message.type, track, str(message.segment_id), str(message.audio_start_ms)]
        if not isinstance(message, SpeechStarted):
            told.append(str(message.audio_end_ms))
        mark = self._text("mark", mark={"name": ":".join(told)})
        interrupts = isinstance(message, SpeechStarted) and track == "inbound"
        return [self._text("clear"), mark] if interrupts else [mark]

    def _text(self, event: str, **more: Any) -> str:
        return json.dumps({"event": event, "streamSid": self._sid, **more})


_SETS = ([TRACKS[0]], [TRACKS[1]], [*TRACKS], [*TRACKS[::-1]])
_KNOWN = (*sorted(SEGMENTATION_NAMES), "events")


def _object(event: dict[str, Any], name: str) -> dict[str, Any]:
    found = event.get(name)
    if not isinstance(found, dict):
        raise MalformedMessage(f"{name} must be an object")
    return found


class TwilioConnection(TelephoneConnection):
    """A connection of Twilio's."""

    session = TwilioSession
