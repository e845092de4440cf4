"""Tasks that work beside each other and end together, whatever a library does with a cancel.

The NATS library forgets a cancel that comes while it waits for its flusher, which has a full queue under
load; and `asyncio.wait_for` of Python 3.11, by which it waits for replies, forgets one that comes in the same
turn of the loop as the reply. A task that is cancelled once may so go on for ever, and who waits for its end
with it. Here a cancel that had no effect is said again.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

AGAIN_S = 0.5  # a task that has not ended so long after a cancel is cancelled again
MOST_AGAIN = 8  # so often; then the process ends: one that hangs is worse than none, for another starts


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until each has ended; what they raise is theirs to tell.

    Where one cannot be ended, this ends the process, with status 1.
    """
    waiting = {task for task in tasks if not task.done()}
    for _ in range(MOST_AGAIN):
        if not waiting:
            return
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_S)
    if waiting:
        print(f"error: this does not end, the process does: {waiting}", file=sys.stderr, flush=True)
        os._exit(1)


async def together(*works: Coroutine[Any, Any, object]) -> None:
    """Run until one of them ends or fails, or we are cancelled; the others are ended before this returns.

    Raises what the first to fail raised.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*tasks)
    for task in tasks:
        if task in done:
            task.result()


async def until_told(work: Coroutine[Any, Any, object]) -> int:
    """Run until it ends by itself, raising what it raises, or until SIGTERM or SIGINT has ended it.

    Returns the signal's number, 0 where there was none.
    """
    told, numbers = asyncio.Event(), [0]

    def tell(number: int) -> None:
        numbers.append(number)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell, number)
    await together(work, told.wait())
    return numbers[-1]
