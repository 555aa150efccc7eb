# From docs/clients.md; run in the repository's root, against `vad serve`.

import asyncio
import base64
import wave

from openai import AsyncOpenAI


async def main(recording: wave.Wave_read) -> None:
    client = AsyncOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="any, unless one is wanted")
    async with client.realtime.connect(model="convad-base") as connection:
        detection = {"type": "server_vad", "silence_duration_ms": 300}
        form = {"type": "audio/pcm", "rate": 24000}
        audio = {"input": {"format": form, "turn_detection": detection}}
        await connection.session.update(session={"type": "realtime", "audio": audio})
        # The samples are of 16 kHz: heard as 24 kHz they run faster, which is still speech. As
        # from a microphone silence follows, or the end of the turn would never be heard.
        samples = recording.readframes(recording.getnframes()) + bytes(2 * 24000)
        for start in range(0, len(samples), 9600):  # 200 ms
            block = base64.b64encode(samples[start : start + 9600]).decode()
            await connection.input_audio_buffer.append(audio=block)
        async for event in connection:
            print(event.type)
            if event.type == "input_audio_buffer.speech_stopped":
                break
    await client.close()


with wave.open("tests/data/speech.wav") as file:
    asyncio.run(main(file))
