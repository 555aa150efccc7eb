# LiveKit's own VADStream with convad in the place of silero's file, over a recording.
#
#     python examples/integrations/livekit_stream.py tests/data/speech.wav

import asyncio
import sys

import soundfile
from livekit import rtc
from livekit.agents.vad import VADEventType
from livekit.plugins import silero

from vad.integrations.silero import onnx_file

PIECE_MS = 20


async def main(path: str) -> None:
    # What an AgentSession takes: AgentSession(vad=vad, …)
    vad = silero.VAD.load(onnx_file_path=onnx_file(), min_silence_duration=0.256)
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    count = rate * PIECE_MS // 1000
    stream = vad.stream()
    for i in range(0, len(samples), count):
        piece = samples[i : i + count, 0]
        stream.push_frame(rtc.AudioFrame(piece.tobytes(), rate, 1, len(piece)))
    stream.end_input()
    async for event in stream:
        if event.type is VADEventType.START_OF_SPEECH:
            print(f"start {event.timestamp - event.speech_duration:.2f}")
        elif event.type is VADEventType.END_OF_SPEECH:
            print(f"stop {event.timestamp - event.silence_duration:.2f}")
    await stream.aclose()


asyncio.run(main(sys.argv[1]))
