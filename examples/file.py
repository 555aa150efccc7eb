# From docs/clients.md; run in the repository's root, against `vad serve`.

from vad.client import Client

with Client("http://127.0.0.1:8000") as client:
    found = client.detect("tests/data/speech.mp3", threshold=0.6)
    for segment in found.speech:
        print(f"speech from {segment.start:.2f} to {segment.end:.2f} s")
    print(found.to("srt"))  # any of the service's formats, without asking again

    for segment in client.iter_segments("tests/data/speech.wav"):
        print(segment.label, segment.end)  # as they become final
