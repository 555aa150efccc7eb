from __future__ import annotations

from service.live.ledger import Ledger
from vad.events import SpeechDiscarded, SpeechStarted, SpeechStopped


def test_what_is_open_ends_with_the_audio_or_was_nothing() -> None:
    ledger = Ledger()
    ledger.enter([SpeechStarted(i, at, at, 0.9) for i, at in enumerate((100, 700, 800))])
    assert ledger.settle(700, "error") == [
        SpeechStopped(0, 100, 700, 0.9, "error"),
        SpeechDiscarded(1, 700, 700, "error"),
        SpeechDiscarded(2, 800, 800, "error"),
    ]
    assert (ledger.segments, ledger.speech_ms) == (1, 600)
    assert ledger.settle(700, "error") == []
