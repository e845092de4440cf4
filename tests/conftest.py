"""What tests of several rooms need: a plain server, and a whole market."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from console.market import Market
from console.server import executable


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[str]:
    """The address of a real nats-server with JetStream and without accounts: anybody may do anything."""
    directory = tmp_path / "plain-server"
    directory.mkdir()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                executable(),
                *("--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(directory)),
                *("--jetstream", "--store_dir", str(directory)),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield _address(process, directory)
    finally:
        process.kill()
        process.wait()


def _address(process: "subprocess.Popen[bytes]", directory: Path) -> str:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        for file in directory.glob("*.ports"):
            text = file.read_text()
            if text.endswith("}"):
                return str(json.loads(text)["nats"][0])
        time.sleep(0.01)
    raise AssertionError("nats-server did not start:\n" + (directory / "log").read_text())


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    """A whole market with an hour of 10 s, run by a thread of its own: a test may use asyncio.run."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="market")
    thread.start()
    running = Market(tmp_path / "market", hour_s=10, lost_after_s=1, say=print)

    def wait_for(work: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            future.result(120)
        except TimeoutError:
            future.cancel()
            raise

    try:
        wait_for(running.start())
        try:
            yield running
        finally:
            wait_for(running.end())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
