"""`python -m service`: as `vad serve`, with the environment's settings."""

from __future__ import annotations

import sys

from service import serve
from vad import VadError

if __name__ == "__main__":
    try:
        serve()
    except VadError as error:
        sys.exit(str(error))
