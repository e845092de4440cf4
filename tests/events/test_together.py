"""Tasks that end together, though cancels are swallowed on the way."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from events import together as t
from events.together import end, together, until_told


async def deaf(times: int) -> None:
    """Swallows so many cancels, as the NATS library does while its flusher's queue is full."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if times == 0:
                raise
            times -= 1


def test_a_cancel_that_was_swallowed_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t, "AGAIN_S", 0.01)

    async def run() -> None:
        task = asyncio.create_task(deaf(3))
        await asyncio.sleep(0)
        await end(task)
        assert task.cancelled()

    asyncio.run(run())


def test_the_librarys_waiting_swallows_a_cancel_that_comes_with_the_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If this fails, Python has mended `wait_for`, and one reason for `end` is gone."""
    monkeypatch.setattr(t, "AGAIN_S", 0.01)

    async def run() -> None:
        reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns = 0

        async def follow() -> None:
            nonlocal turns
            await asyncio.wait_for(reply, 5)
            turns += 1
            await asyncio.Event().wait()

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        reply.set_result(None)
        await end(task)
        assert (turns, task.cancelled()) == (1 if sys.version_info < (3, 12) else 0, True)

    asyncio.run(run())


def test_the_first_to_fail_ends_the_others_and_is_told() -> None:
    ended = []

    async def stays() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stays")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    async def run() -> None:
        with pytest.raises(ValueError, match="first"):
            await together(stays(), fails(), stays())
        assert ended == ["stays", "stays"]
        await together(stays(), asyncio.sleep(0))  # one that ends well ends them too
        assert len(ended) == 3
        task = asyncio.create_task(together(stays()))
        await asyncio.sleep(0.01)
        await end(task)
        assert len(ended) == 4 and task.cancelled()

    asyncio.run(run())


def test_a_signal_ends_it_without_an_error() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    async def run() -> None:
        assert await until_told(work()) == signal.SIGTERM
        assert await until_told(asyncio.sleep(0)) == 0

    asyncio.run(run())


def test_what_cannot_be_ended_ends_the_process() -> None:
    code = (
        "import asyncio\nfrom events import together as t\nfrom tests.events.test_together import deaf\n"
        "t.AGAIN_S = 0.01\n"
        "async def run():\n    await t.together(deaf(10**9), asyncio.sleep(0))\n"
        "asyncio.run(run())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this does not end, the process does")
