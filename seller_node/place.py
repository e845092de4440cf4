"""The state directory of one node: its lock, and who holds it."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

from events.wire import dumps, loads

TRIES = 4
DEFAULT = Path("~/.local/state/corehour/seller_node")


class PlaceTakenError(Exception):
    """Another node runs with this state directory, or it cannot be used; the text says what to do."""


class Place:
    """A state directory, held by one node at a time.

    `node.json` says who holds it: {"pid", "machine", "account", "server"}. The lock goes with its process,
    so that a node that crashed holds nothing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = -1

    def hold(self, about: dict[str, Any]) -> None:
        """Take the place, and write who we are. Raises PlaceTakenError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take()
            draft = self.directory / "node.json.new"
            draft.write_bytes(dumps({"pid": os.getpid(), **about}) + b"\n")
            draft.replace(self.directory / "node.json")
        except BlockingIOError:
            raise PlaceTakenError(
                f"{self.directory}: a seller_node runs with this state already; stop it, or give --state"
            ) from None
        except OSError as error:
            raise PlaceTakenError(
                f"{self.directory}: {error.strerror}; give --state a directory to write in"
            ) from error

    def _take(self) -> None:
        """Lock, past a `status` that just looks who holds it."""
        for attempt in range(TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt == TRIES - 1:
                    raise
            time.sleep(0.05)

    def release(self) -> None:
        """Let it go."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def holder(self) -> dict[str, Any] | None:
        """Who holds it now, or None."""
        try:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return None
        finally:
            os.close(lock)
        try:
            about: dict[str, Any] = loads((self.directory / "node.json").read_bytes())
        except (OSError, ValueError):
            return None  # it is just beginning
        return about
