# From docs/clients.md; run in the repository's root, against `vad serve`.

import wave

from vad.client import Client

with (
    wave.open("tests/data/speech.wav") as recording,
    Client("http://127.0.0.1:8000") as client,
    client.stream(sample_rate=recording.getframerate(), threshold=0.6) as stream,
):
    while block := recording.readframes(1600):
        stream.send(block)
        for event in stream.poll():  # what has arrived meanwhile
            print(event)
    stream.end()
    for event in stream:  # the rest
        print(event)
    print(stream.summary)
