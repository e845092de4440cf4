"""Copies of the process: they see what is, say what went wrong, and die when nobody waits for them."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from events.together import end
from exchange.forked import Forked


def test_it_sees_the_memory_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "seen"

    async def run() -> None:
        held = [1, 2, 3]

        def write() -> None:
            time.sleep(0.1)
            path.write_text(str(held))

        copy = Forked(write)
        held.append(4)
        assert await copy.ended() == ""

    asyncio.run(run())
    assert path.read_text() == "[1, 2, 3]"


def test_what_went_wrong_is_said() -> None:
    def fail() -> None:
        raise ValueError("the disk is full")

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def run() -> None:
        assert await Forked(fail).ended() == "the disk is full"
        assert await Forked(die).ended() == "killed by SIGKILL"

    asyncio.run(run())


def test_cancelled_it_is_killed_and_a_signal_for_it_is_not_ours() -> None:
    async def run() -> None:
        copy = Forked(lambda: time.sleep(1000))
        waiting = asyncio.create_task(copy.ended())
        await asyncio.sleep(0.05)
        await end(waiting)
        with pytest.raises(ProcessLookupError):
            os.kill(copy.pid, 0)
        heard: list[int] = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.append, 1)
        copy = Forked(lambda: time.sleep(1000))
        await asyncio.sleep(0.1)
        os.kill(copy.pid, signal.SIGTERM)
        assert await copy.ended() == "killed by SIGTERM"
        await asyncio.sleep(0.05)
        assert heard == []

    asyncio.run(run())
