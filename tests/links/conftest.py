import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.server import executable


class Server:
    """A plain nats-server on loopback, that a test may stop and start again on its port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = -1
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        for old in self.directory.glob("*.ports"):
            old.unlink()
        self.process = subprocess.Popen(
            [
                executable(),
                *("-a", "127.0.0.1", "-p", str(self.port)),
                *("--ports_file_dir", self.directory),
            ],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            for file in self.directory.glob("*.ports"):
                try:
                    self.port = int(json.loads(file.read_text())["nats"][0].rpartition(":")[2])
                except ValueError:
                    continue  # half written
                return
            time.sleep(0.01)
        raise AssertionError("nats-server did not start")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()
