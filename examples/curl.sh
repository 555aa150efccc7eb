#!/usr/bin/env bash
# From docs/clients.md; run in the repository's root, against `vad serve`.
set -euo pipefail
curl -sS -F file=@tests/data/speech.mp3 'http://127.0.0.1:8000/v1/vad?threshold=0.6'
curl -sS -F file=@tests/data/speech.m4a -F file=@tests/data/speech.opus \
     'http://127.0.0.1:8000/v1/vad?response_format=rttm'
curl -sS --data-binary @tests/data/speech.mp3 -H 'Content-Type: audio/mpeg' \
     -H 'Accept: application/x-ndjson' http://127.0.0.1:8000/v1/vad
tail -c +59 tests/data/speech-8k-mulaw.wav | curl -sS --data-binary @- \
     -H 'Content-Type: application/octet-stream' \
     'http://127.0.0.1:8000/v1/vad?encoding=mulaw&sample_rate=8000'
