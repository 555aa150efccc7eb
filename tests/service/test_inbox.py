from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.errors import ShuttingDown, StreamStalled
from service.inbox import OVERHEAD, Inbox


def message(size: int) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": bytes(size - OVERHEAD)}


def test_what_fits_does_not_wait_and_one_more_byte_does() -> None:
    async def scenario() -> None:
        inbox = Inbox(300, 60)
        for size in (100, 200):
            await asyncio.wait_for(inbox.put(message(size)), 1)
        blocked = asyncio.create_task(inbox.put(message(OVERHEAD)))
        await asyncio.sleep(0.01)
        assert not blocked.done()
        assert len((await inbox.get())["bytes"]) == 100 - OVERHEAD
        await asyncio.wait_for(blocked, 1)
        sizes = [len((await inbox.get())["bytes"]) + OVERHEAD for _ in range(2)]
        assert sizes == [200, OVERHEAD]

    asyncio.run(scenario())


def test_a_message_beyond_the_bound_waits_alone() -> None:
    async def scenario() -> None:
        inbox = Inbox(100, 60)
        await asyncio.wait_for(inbox.put(message(1000)), 1)
        blocked = asyncio.create_task(inbox.put(message(OVERHEAD)))
        await asyncio.sleep(0.01)
        assert not blocked.done()
        await inbox.get()
        await asyncio.wait_for(blocked, 1)

    asyncio.run(scenario())


def test_empty_messages_count_too() -> None:
    async def scenario() -> None:
        inbox, empty = Inbox(10 * OVERHEAD, 0.01), {"type": "websocket.receive", "text": ""}
        for _ in range(10):
            await inbox.put(empty)
        with pytest.raises(StreamStalled):
            await inbox.put(empty)

    asyncio.run(scenario())


def test_each_progress_begins_the_patience_anew() -> None:
    async def scenario() -> None:
        inbox = Inbox(2 * OVERHEAD, 0.4)
        for _ in range(2):
            await inbox.put(message(OVERHEAD))
        blocked = asyncio.create_task(inbox.put(message(2 * OVERHEAD)))
        await asyncio.sleep(0.25)
        await inbox.get()  # progress, but not yet room
        await asyncio.sleep(0.25)
        assert not blocked.done()
        with pytest.raises(StreamStalled):
            await asyncio.wait_for(blocked, 5)

    asyncio.run(scenario())


def test_an_interruption_comes_before_all_messages() -> None:
    async def scenario() -> None:
        inbox = Inbox(1000, 60)
        waiting = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        inbox.interrupt(ShuttingDown("first"))
        inbox.interrupt(ShuttingDown("second"))
        for _ in range(2):
            with pytest.raises(ShuttingDown, match="first"):
                await waiting
            await inbox.put(message(100))
            waiting = asyncio.create_task(inbox.get())
        waiting.cancel()

    asyncio.run(scenario())


def test_an_offer_does_not_overtake_what_waits_for_room() -> None:
    async def scenario() -> None:
        inbox = Inbox(300, 60)
        assert inbox.take() is None
        assert inbox.offer(message(200))
        assert not inbox.offer(message(101))
        waiting = asyncio.create_task(inbox.put(message(200)))
        await asyncio.sleep(0)
        assert not inbox.offer(message(OVERHEAD))  # there would be room
        assert inbox.take() is not None
        await waiting
        assert inbox.offer(message(OVERHEAD))

    asyncio.run(scenario())
