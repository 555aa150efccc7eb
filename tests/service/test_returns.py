from __future__ import annotations

import asyncio
import threading

from service.returns import Returns


def test_calls_from_threads_run_in_the_loop_in_order_and_wake_it_once() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        returns, told, woken = Returns(loop), list[int](), list[object]()
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *a: woken.append(a) or wake(*a)  # type: ignore

        def many() -> None:
            for i in range(5):
                returns.call(lambda i=i: told.append(i))  # type: ignore[misc]

        thread = threading.Thread(target=many)
        thread.start()
        thread.join()
        await asyncio.sleep(0.01)
        assert told == [0, 1, 2, 3, 4]
        assert len(woken) == 1
        returns.call(many)  # what comes from a call goes the same way
        await asyncio.sleep(0.01)
        assert len(told) == 10

    asyncio.run(run())


def test_after_the_loops_end_nobody_is_told() -> None:
    loop = asyncio.new_event_loop()
    returns = Returns(loop)
    loop.close()
    returns.call(lambda: None)
