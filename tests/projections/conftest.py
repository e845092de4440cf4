import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Server:
    """A plain nats-server with JetStream on a free port, that a test may stop and start again there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = "nats://127.0.0.1:-1"

    def start(self) -> None:
        for old in self._directory.glob("*.ports"):
            old.unlink()
        self._process = subprocess.Popen(
            [
                Path(sys.executable).parent / "nats-server",
                *("-a", "127.0.0.1", "-p", self.url.rpartition(":")[2]),
                *("-js", "-sd", self._directory / "nats"),
                *("--ports_file_dir", self._directory),
            ],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while self._process.poll() is None and time.monotonic() < deadline:
            for file in self._directory.glob("*.ports"):
                try:
                    self.url = str(json.loads(file.read_text())["nats"][0])
                except ValueError:
                    continue  # half written
                return
            time.sleep(0.01)
        raise AssertionError("nats-server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()
