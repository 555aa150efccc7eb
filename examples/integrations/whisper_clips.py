# faster-whisper hears what convad calls speech: in clips that are given, or by its own filter.
#
#     python examples/integrations/whisper_clips.py tests/data/speech.wav tiny.en

import sys

from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from vad import Detector
from vad.integrations.faster_whisper import clips, install

path, name = sys.argv[1:]
audio, detector = decode_audio(path), Detector.load()
whisper = WhisperModel(name)

batched = BatchedInferencePipeline(whisper)
segments, _ = batched.transcribe(audio, clip_timestamps=clips(audio, detector))
for each in segments:
    print(f"clips {each.start:.2f} {each.end:.2f} {each.text}")

install(detector)  # `vad_filter` is convad's from here on
asked = {"min_silence_duration_ms": 300, "speech_pad_ms": 30}
segments, info = whisper.transcribe(audio, vad_filter=True, vad_parameters=asked)
print(f"filter {info.duration_after_vad:.2f} {info.duration:.2f}")
for each in segments:
    print(f"{each.start:.2f} {each.end:.2f} {each.text}")
