"""A real nats-server that a test may stop, kill and start again on its own log."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.server import executable


class Server:
    """nats-server with JetStream on files, on loopback, without accounts; as durable as a market's."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, -1
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        for old in self.directory.glob("*.ports"):
            old.unlink()
        config = self.directory / "nats.conf"
        store = json.dumps(str(self.directory / "store"))
        config.write_text(
            f"host: 127.0.0.1\nport: {self.port}\nports_file_dir: {json.dumps(str(self.directory))}\n"
            f"jetstream: {{ store_dir: {store}, sync_interval: always }}\n"
        )
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([executable(), "--config", str(config)], stdout=log, stderr=log)
        self.port = self._port()

    def _port(self) -> int:
        assert self.process is not None
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            for file in self.directory.glob("*.ports"):
                text = file.read_text()
                if text.endswith("}"):
                    return int(json.loads(text)["nats"][0].rpartition(":")[2])
            time.sleep(0.01)
        raise AssertionError("nats-server did not start:\n" + (self.directory / "log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As by SIGKILL: what it had not stored is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()
