# A pipecat pipeline whose turns convad finds, over a recording in place of a microphone.
#
#     python examples/integrations/pipecat_turns.py tests/data/speech.wav

import asyncio
import sys

import soundfile
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import InputAudioRawFrame, VADUserStartedSpeakingFrame
from pipecat.frames.frames import VADUserStoppedSpeakingFrame as Stopped
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.tests.utils import run_test

from vad.integrations.pipecat import ConvadVADAnalyzer

PIECE_MS = 20
PARAMS = VADParams(confidence=0.5, stop_secs=0.256, min_volume=0)


async def main(path: str) -> None:
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    count = rate * PIECE_MS // 1000
    pieces = [samples[i : i + count, 0].tobytes() for i in range(0, len(samples), count)]
    analyzer = ConvadVADAnalyzer(sample_rate=rate, params=PARAMS)
    heard, _ = await run_test(
        VADProcessor(vad_analyzer=analyzer),
        frames_to_send=[InputAudioRawFrame(piece, rate, 1) for piece in pieces],
    )
    seconds = 0.0
    for frame in heard:
        if isinstance(frame, InputAudioRawFrame):
            seconds += frame.num_frames / rate
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            print(f"start {seconds - frame.start_secs:.2f}")
        elif isinstance(frame, Stopped):
            print(f"stop {seconds - frame.stop_secs:.2f}")


asyncio.run(main(sys.argv[1]))
