"""Twilio and Asterisk, by scripted clients that send what their documents say."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import WebSocketTestSession
from structlog.testing import capture_logs

from service import Settings, create_app
from service.errors import StreamError, UnsupportedMedia
from service.live.asterisk import AsteriskSession
from service.live.twilio import TwilioSession
from vad import Detector
from vad.events import SpeechStopped

from .conftest import LIMITS, EnergyDetector, pattern, pcm

TWILIO, ASTERISK = "/v1/vad/stream/twilio", "/v1/vad/stream?protocol=asterisk"
SID = "MZ18ad3ab5a668481ce02b83e7395059f0"
LOUD, QUIET = b"\x80", b"\xff"  # of µ-law
# Half a second of silence, a second loud, a second of silence; in ms.
SPOKEN = [(500, QUIET), (1000, LOUD), (1000, QUIET)]
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
STOP = {"event": "stop", "sequenceNumber": "9", "streamSid": SID, "stop": {"callSid": "CA1"}}


def start(*tracks: str, **custom: str) -> dict[str, Any]:
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    about = {
        "streamSid": SID,
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": tracks or ["inbound"],
        "mediaFormat": form,
        "customParameters": custom,
    }
    return {"event": "start", "sequenceNumber": "1", "start": about, "streamSid": SID}


def media(audio: bytes, track: str = "inbound", **more: str) -> dict[str, Any]:
    payload = base64.b64encode(audio).decode()
    about = {"track": track, "chunk": "1", "timestamp": "5", "payload": payload, **more}
    return {"event": "media", "sequenceNumber": "3", "media": about, "streamSid": SID}


def frames(spans: list[tuple[int, bytes]], track: str = "inbound") -> list[dict[str, Any]]:
    """Messages of 20 ms, with their times."""
    audio = b"".join(level * (8 * ms) for ms, level in spans)
    return [
        media(audio[at : at + 160], track, timestamp=str(at // 8))
        for at in range(0, len(audio), 160)
    ]


def rest(socket: WebSocketTestSession) -> tuple[list[str], int, str]:
    """What is still told, and code and reason of the close."""
    told = []
    while (message := socket.receive())["type"] == "websocket.send":
        told.append(message["text"])
    return told, message["code"], message.get("reason") or ""


def talk(client: TestClient, url: str, *messages: Any) -> tuple[list[str], int, str]:
    with client.websocket_connect(url) as socket:
        for message in messages:
            if isinstance(message, bytes):
                socket.send_bytes(message)
            else:
                text = message if isinstance(message, str) else json.dumps(message)
                socket.send_text(text)
        return rest(socket)


def test_a_call_of_twilios(client: TestClient) -> None:
    script = [CONNECTED, start(speech_pad_ms="0", firstName="Jo"), *frames(SPOKEN)]
    dtmf = {"event": "dtmf", "streamSid": SID, "dtmf": {"track": "inbound_track", "digit": "1"}}
    echo = {"event": "mark", "streamSid": SID, "mark": {"name": "x"}}
    told, code, reason = talk(client, TWILIO, *script, dtmf, echo, {"event": "new"}, STOP)
    assert [json.loads(text) for text in told] == [
        {"event": "clear", "streamSid": SID},
        {"event": "mark", "streamSid": SID, "mark": {"name": "speech_started:inbound:0:500"}},
        {"event": "mark", "streamSid": SID, "mark": {"name": "speech_stopped:inbound:0:500:1500"}},
    ]
    assert (code, reason) == (1000, "")


def test_both_tracks_of_a_call(client: TestClient) -> None:
    one = frames([(500, QUIET), (700, LOUD), (1500, QUIET)], "inbound")
    other = frames([(1500, QUIET), (700, LOUD), (500, QUIET)], "outbound")
    script = [message for pair in zip(one, other, strict=True) for message in pair]
    begin = start("inbound", "outbound", speech_pad_ms="0")
    told, code, _ = talk(client, TWILIO, CONNECTED, begin, *script, STOP)
    events = [json.loads(text) for text in told]
    assert [e["event"] for e in events] == ["clear", "mark", "mark", "mark", "mark"]
    assert [e["mark"]["name"] for e in events[1:]] == [
        "speech_started:inbound:0:500",
        "speech_stopped:inbound:0:500:1200",
        "speech_started:outbound:0:1500",
        "speech_stopped:outbound:0:1500:2200",
    ]
    assert code == 1000


def test_a_track_that_never_comes_is_no_fault(client: TestClient) -> None:
    begin = start("inbound", "outbound", speech_pad_ms="0")
    told, code, _ = talk(client, TWILIO, CONNECTED, begin, *frames(SPOKEN, "outbound"), STOP)
    assert [json.loads(text)["mark"]["name"] for text in told] == [
        "speech_started:outbound:0:500",
        "speech_stopped:outbound:0:500:1500",
    ]
    assert code == 1000


def test_who_relays_may_have_the_streams_own_messages(client: TestClient) -> None:
    url = f"{TWILIO}?events=true&speech_pad_ms=0"
    told, _, _ = talk(client, url, CONNECTED, start(), *frames(SPOKEN), STOP)
    own = [json.loads(text) for text in told if '"type"' in text]
    assert [message["type"] for message in own] == [
        "session.created",
        "speech_started",
        "speech_stopped",
        "session.closed",
    ]
    assert own[0]["params"]["encoding"] == "mulaw"
    assert own[2]["audio_end_ms"] == 1500


def twilio(**settings: Any) -> TwilioSession:
    made = TwilioSession(EnergyDetector(), LIMITS, "sess_1", **settings)
    made.greet(json.dumps(start("inbound", "outbound", speech_pad_ms="0")))
    made.open([])
    return made


def test_a_late_track_keeps_its_time() -> None:
    """The other side answers after 3 s; a time that is ahead of the clock is not believed."""
    now = 0.0
    made = twilio(clock=lambda: now)
    now = 3.0
    heard = [*frames([(20, QUIET)]), *frames([(20, QUIET)], "outbound")]
    late = [media(LOUD * 8000, "outbound", timestamp="3000"), media(b"", timestamp="999999999")]
    out: list[Any] = []
    for message in [*heard, *late]:
        audio = made.audio_in(json.dumps(message))
        assert audio is not None
        out += made.take(made._detector.engine.push_many(made.feed(audio)))
    out += made.receive_text(json.dumps(STOP))
    [stop] = [m for m in out if isinstance(m, SpeechStopped)]
    assert (stop.channel, stop.audio_start_ms, stop.audio_end_ms) == (1, 3000, 4000)
    assert made.audio_ms == 4000  # 3 s by the clock, and a second


def test_tracks_of_a_relayed_recording_keep_step() -> None:
    """All of it comes at once; the other side answers after 3 s."""
    made = twilio(clock=lambda: 0.0)
    call = [*frames([(3000, QUIET)]), media(LOUD * 8000, "outbound", timestamp="3000")]
    for message in [*call, media(LOUD, timestamp="999999999")]:
        audio = made.audio_in(json.dumps(message))
        assert audio is not None
        made.take(made._detector.engine.push_many(made.feed(audio)))
    assert made._samples == {"inbound": 8 * 4000 + 1, "outbound": 8 * 4000}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=20), st.integers(1, 33))
def test_however_what_waits_is_cut_each_track_gets_its_own(
    sizes: list[tuple[bool, int]], cut: int
) -> None:
    made = twilio()
    made.feed(b"")
    expected, waiting = [b"", b""], b""
    for i, (outbound, size) in enumerate(sizes):
        audio = bytes([i]) * size
        text = json.dumps(media(audio, "outbound" if outbound else "inbound"))
        waiting += made.audio_in(text) or b""
        expected[outbound] += audio
    found = [b"", b""]
    for at in range(0, len(waiting), cut):
        parts = made._split(waiting[at : at + cut])
        found = [a + b for a, b in zip(found, parts, strict=True)]
    assert found == expected


BAD_BASE64 = {**media(b""), "media": {"track": "inbound", "payload": "not base64!"}}


@pytest.mark.parametrize(
    ("messages", "code", "why"),
    [
        (["no JSON"], 1007, "JSON"),
        (["[]"], 1007, "event"),
        ([{"event": 1}], 1007, "event"),
        (['{"event":"\\ud800"}'], 1008, "came before start"),
        ([media(QUIET)], 1008, "media came before start"),
        ([CONNECTED, STOP], 1008, "stop came before start"),
        ([b"\0"], 1003, "binary"),
        ([CONNECTED, {"event": "start"}], 1007, "start must be an object"),
        ([start("inbound", "video")], 1007, "tracks"),
        ([start(threshold="7")], 1008, "threshold"),
        ([start(), start()], 1007, "came again"),
        ([start(), b"\0"], 1003, "binary"),
        ([start(), "{"], 1007, "JSON"),
        ([start(), BAD_BASE64], 1007, "base64"),
        ([start(), {**media(b""), "media": {"payload": None}}], 1007, "base64"),
        ([start(), {**media(b""), "media": "x"}], 1007, "media must be an object"),
        ([start(), media(QUIET, "outbound")], 1007, "no track"),
        ([start(), {**media(QUIET), "streamSid": "MZ2"}], 1007, "another stream"),
    ],
)
def test_what_twilio_would_never_send(
    client: TestClient, messages: list[Any], code: int, why: str
) -> None:
    told, closed, reason = talk(client, TWILIO, *messages)
    assert (told, closed) == ([], code)
    assert why in reason
    assert len(reason.encode()) <= 123


def test_a_format_may_say_more(client: TestClient) -> None:
    begin = start(speech_pad_ms="0")
    begin["start"]["mediaFormat"]["bitDepth"] = 8
    told, code, _ = talk(client, TWILIO, CONNECTED, begin, *frames(SPOKEN), STOP)
    assert (len(told), code) == (3, 1000)
    for form in ({}, {"encoding": "audio/x-mulaw"}):
        begin["start"]["mediaFormat"] = form
        assert talk(client, TWILIO, CONNECTED, begin, *frames(SPOKEN), STOP)[1] == 1000
    begin["start"]["mediaFormat"] = "audio/x-mulaw"
    _, code, reason = talk(client, TWILIO, begin)
    assert (code, reason) == (1007, "mediaFormat must be an object")


def test_other_formats_are_refused(client: TestClient) -> None:
    begin = start()
    begin["start"]["mediaFormat"]["encoding"] = "audio/l16"
    _, code, reason = talk(client, TWILIO, begin)
    assert (code, "audio/x-mulaw" in reason) == (1008, True)


@pytest.mark.parametrize("field", ["encoding=alaw", "sample_rate=8000", "channels=2", "events=1"])
def test_what_the_system_tells_is_not_the_urls(client: TestClient, field: str) -> None:
    _, code, reason = talk(client, f"{TWILIO}?{field}", start())
    assert (code, field.partition("=")[0] in reason) == (1008, True)


def test_an_open_segment_ends_when_twilio_hangs_up(client: TestClient) -> None:
    with capture_logs() as logs, client.websocket_connect(TWILIO) as socket:
        for message in [CONNECTED, start(), media(LOUD * 4000)]:
            socket.send_json(message)
        assert socket.receive_json()["event"] == "clear"
        socket.close()
    ends = [log for log in logs if log["event"] == "speech_stopped"]
    assert [log["reason"] for log in ends] == ["disconnect"]


KEYS = {"api_keys": "secret-key"}


@pytest.mark.parametrize("settings", [KEYS])
def test_twilios_key_is_a_parameter(client: TestClient) -> None:
    assert talk(client, TWILIO, start(token="secret-key"), STOP)[1] == 1000
    for begin in (start(), start(token="other-key")):
        _, code, reason = talk(client, TWILIO, begin)
        assert (code, "key" in reason) == (1008, True)
    # Where it belongs: Twilio sends no headers of its users'.
    assert '<Parameter name="token"' in talk(client, TWILIO, start())[2]


@pytest.mark.parametrize("settings", [KEYS])
@pytest.mark.parametrize("url", [TWILIO, ASTERISK])
def test_a_relay_may_send_the_key_as_others_do(client: TestClient, url: str) -> None:
    begin = json.dumps(start()) if url == TWILIO else PLAIN.format("ulaw")
    for key, expected in (("secret-key", 1007), ("other-key", 1008)):
        headers = {"Authorization": f"Bearer {key}"}
        with client.websocket_connect(url, headers=headers) as socket:
            socket.send_text(begin)
            socket.send_text("?")  # ends what was let in
            assert rest(socket)[1] == expected


@pytest.mark.parametrize("settings", [{"auth_timeout_s": 0.05}])
def test_a_start_that_never_comes(client: TestClient) -> None:
    with client.websocket_connect(TWILIO) as socket:
        socket.send_json(CONNECTED)
        assert rest(socket)[1:] == (1008, "no message for 0.05 s")


# Asterisk.

PLAIN = (
    "MEDIA_START connection_id:media1 channel:WebSocket/media1/0x5140001a0040 "
    "channel_id:1761245643.1 format:{} optimal_frame_size:160 ptime:20"
)
AS_JSON = {
    "event": "MEDIA_START",
    "connection_id": "media1",
    "channel": "WebSocket/media1/0x5140001a0040",
    "format": "slin16",
    "optimal_frame_size": 640,
    "ptime": 20,
    "channel_variables": {"DIALEDPEERNUMBER": "media1/c(slin16)"},
}


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize("url", [ASTERISK, f"{ASTERISK}&speech_pad_ms=0"])
def test_a_call_of_asterisks(client: TestClient, url: str, as_json: bool) -> None:
    sound = pcm(pattern((0.5, 0), (0.7, 0.9), (0.5, 0), (0.7, 0.9), (0.5, 0)))
    pieces = [sound[i : i + 640] for i in range(0, len(sound), 640)]
    pieces[10:10] = [pieces[10][:1], pieces.pop(10)[1:]]  # half a sample
    events = [{"event": "MEDIA_XOFF"}] if as_json else ["MEDIA_XOFF channel_id:1", "STATUS a:b"]
    with client.websocket_connect(url, subprotocols=["media"]) as socket:
        assert socket.accepted_subprotocol == "media"
        socket.send_text(json.dumps(AS_JSON) if as_json else PLAIN.format("slin16"))
        for event in events:
            socket.send_text(json.dumps(event) if as_json else str(event))
        for piece in pieces:
            socket.send_bytes(piece)
        flush = '{"command": "FLUSH_MEDIA"}' if as_json else "FLUSH_MEDIA"
        assert [socket.receive_text() for _ in range(2)] == [flush] * 2


@pytest.mark.parametrize(
    ("name", "encoding", "rate"),
    [("ulaw", "mulaw", 8000), ("alaw", "alaw", 8000), ("slin", "pcm_s16le", 8000)]
    + [("slin44", "pcm_s16le", 44_100), ("slin192", "pcm_s16le", 192_000)],
)
def test_formats_of_asterisks(name: str, encoding: str, rate: int) -> None:
    made = AsteriskSession(EnergyDetector(), LIMITS, "sess_1")
    made.greet(PLAIN.format(name))
    [created] = made.open([("protocol", "asterisk")])
    params = created.params  # type: ignore[union-attr]
    assert (params["encoding"], params["sample_rate"]) == (encoding, rate)


@pytest.mark.parametrize(
    ("messages", "code", "why"),
    [
        ([b"\0" * 640], 1008, "audio came before MEDIA_START"),
        (["STATUS"], 1008, "STATUS came before"),
        ([""], 1007, "events"),
        (["{}"], 1007, "events"),
        (["{"], 1007, "JSON"),
        (["media_start format:ulaw"], 1007, "events"),
        (["MEDIA_START"], 1008, "format"),
        (['{"event":"MEDIA_START","format":["ulaw"]}'], 1008, "format"),
        ([PLAIN.format("opus")], 1008, "opus"),
        ([PLAIN.format("ulaw"), PLAIN.format("ulaw")], 1007, "again"),
        ([PLAIN.format("ulaw"), "?"], 1007, "events"),
    ],
)
def test_what_asterisk_would_never_send(
    client: TestClient, messages: list[Any], code: int, why: str
) -> None:
    told, closed, reason = talk(client, ASTERISK, *messages)
    assert (told, closed) == ([], code)
    assert why in reason


@pytest.mark.parametrize("settings", [KEYS])
def test_asterisks_key_is_its_password(client: TestClient) -> None:
    def code(user: str) -> int:
        told = base64.b64encode(user.encode()).decode()
        headers = {"Authorization": f"Basic {told}"}
        with client.websocket_connect(ASTERISK, headers=headers) as socket:
            socket.send_text(PLAIN.format("ulaw"))
            socket.send_text("?")  # ends what was let in
            return rest(socket)[1]

    assert code("asterisk:secret-key") == 1007
    assert code("asterisk:other-key") == 1008
    assert code("asterisk") == 1008
    with client.websocket_connect(ASTERISK) as socket:
        socket.send_text(PLAIN.format("ulaw"))
        _, ended, reason = rest(socket)
    assert (ended, "websocket_client.conf" in reason) == (1008, True)


def test_a_dialect_that_is_none(client: TestClient) -> None:
    told, code, _ = talk(client, "/v1/vad/stream?protocol=sip")
    assert json.loads(told[0])["param"] == "protocol"
    assert "twilio" in told[0]
    assert code == 1008


@given(st.text(max_size=40))
def test_no_text_escapes_as_another_error(text: str) -> None:
    for kind in (TwilioSession, AsteriskSession):
        made = kind(EnergyDetector(), LIMITS, "sess_1")
        with suppress(StreamError, UnsupportedMedia):
            made.greet(text)


def test_a_recording_over_the_telephone_is_heard_as_the_file(
    real_detector: Detector, data_dir: Path
) -> None:
    """The same segments by Twilio, Asterisk and file, of the same µ-law bytes."""
    audio = (data_dir / "speech-8k-mulaw.wav").read_bytes()[58:]
    with TestClient(create_app(Settings(), real_detector)) as client:
        query = {"encoding": "mulaw", "sample_rate": "8000"}
        file = client.post("/v1/vad", content=audio, params=query).json()
        expected = [
            (round(1000 * s["start"]), round(1000 * s["end"]))
            for s in file["segments"]
            if s["label"] == "speech"
        ]
        pieces = [audio[i : i + 160] for i in range(0, len(audio), 160)]
        script = [media(p, timestamp=str(20 * i)) for i, p in enumerate(pieces)]
        told, _, _ = talk(client, TWILIO, CONNECTED, start(), *script, STOP)
        names = [json.loads(t).get("mark", {}).get("name", "").split(":") for t in told]
        assert [(int(n[3]), int(n[4])) for n in names if n[0] == "speech_stopped"] == expected
        starts = sum(n[0] == "speech_started" for n in names)
        with client.websocket_connect(ASTERISK) as socket:
            socket.send_text(PLAIN.format("ulaw"))
            for piece in pieces:
                socket.send_bytes(piece)
            assert [socket.receive_text() for _ in range(starts)] == ["FLUSH_MEDIA"] * starts
    assert np.all(np.diff(np.ravel(expected)) > 0)
