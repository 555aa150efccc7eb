# From docs/clients.md; run in the repository's root, against `vad serve`.

import asyncio
import json
import wave

import websockets

URL = "ws://127.0.0.1:8000/v1/vad/stream"


async def main(recording: wave.Wave_read) -> None:
    async with websockets.connect(f"{URL}?sample_rate={recording.getframerate()}") as socket:

        async def send() -> None:
            while block := recording.readframes(1600):  # 100 ms
                await socket.send(block)
            await socket.send(json.dumps({"type": "end"}))

        sending = asyncio.create_task(send())
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "speech_stopped":
                print("speech from", event["audio_start_ms"], "to", event["audio_end_ms"], "ms")
        await sending


with wave.open("tests/data/speech.wav") as file:
    asyncio.run(main(file))
