#!/usr/bin/env bash
# From docs/clients.md; run in the repository's root, against `vad serve`.
set -euo pipefail
ffmpeg -loglevel error -f pulse -i default -ac 1 -ar 16000 -f s16le - |
    websocat --binary --no-close 'ws://127.0.0.1:8000/v1/vad/stream?sample_rate=16000'
