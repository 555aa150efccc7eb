# whisperX with convad as its VAD, so that nothing has to be loaded from a hub for that.
#
#     python examples/integrations/whisperx_vad.py tests/data/speech.wav tiny.en

import sys

import whisperx

from vad.integrations.whisperx import Vad

path, name = sys.argv[1:]
model = whisperx.load_model(
    name, "cpu", compute_type="int8", language="en", vad_model=Vad(vad_onset=0.5, chunk_size=10)
)
found = model.transcribe(whisperx.load_audio(path), chunk_size=10)
for each in found["segments"]:
    print(f"{each['start']:.2f} {each['end']:.2f} {each['text']}")
