"""Tells of a job's end, signed as Standard Webhooks 1.0 has it: https://www.standardwebhooks.com.

webhook-id: job_…                          the same in every try
webhook-timestamp: 1764384000              of this try
webhook-signature: v1,<base64 of HMAC-SHA256 of "id.timestamp.body">
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time

from service.errors import HostUnavailable, UrlRefused
from service.jobs.outside import Outside

# Seconds until the next try, after each that failed: a day and a half in all.
WAITS_S = (5.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 64_800.0)
PATIENCE_S = 15.0  # for an answer
GONE = 410  # nobody wants it any more


def signed(id: str, body: bytes, key: bytes, timestamp: int) -> list[tuple[bytes, bytes]]:
    """The headers that say who a message is from."""
    content = b".".join((id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())
    return [
        (b"webhook-id", id.encode()),
        (b"webhook-timestamp", str(timestamp).encode()),
        (b"webhook-signature", b"v1," + signature),
    ]


async def deliver(outside: Outside, url: str, id: str, body: bytes, key: bytes) -> str:
    """One try.

    Returns:
        What came of it: delivered, gone, failed, or refused where the URL may not be asked for.
    """
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    headers += signed(id, body, key, int(time.time()))
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            outside.request("POST", outside.target(url), headers, body) as response,
        ):
            if 200 <= response.status < 300:
                return "delivered"
            return "gone" if response.status == GONE else "failed"
    except UrlRefused:
        return "refused"
    except (HostUnavailable, TimeoutError):
        return "failed"
