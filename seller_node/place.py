"""The state directory of one node: its lock, and who holds it."""

import contextlib
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

    `node.json` says who holds it: {"pid", "machine", "account", "server", "offered", "does"}. The lock goes
    with its process, so that a node that crashed holds nothing; but `node.json` stays, and tells the next one
    which machine it was: `is_own`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.is_own = False  # the machine was offered from here, and its node did not end in order
        self._lock = -1
        self._about: dict[str, Any] = {}

    def hold(self, about: dict[str, Any]) -> None:
        """Take the place, and write who we are. Raises PlaceTakenError."""
        self._about = about
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take()
            before = self._read() or {}
            self.is_own = {**about, "offered": True}.items() <= before.items()
            self._write()
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise PlaceTakenError(
                f"{self.directory}: a seller_node runs with this state already; stop it, or give --state"
            ) from None
        except OSError as error:
            raise PlaceTakenError(
                f"{self.directory}: {error.strerror}; give --state a directory to write in"
            ) from error

    def check(self) -> None:
        """That it could be written to. Raises PlaceTakenError; makes nothing."""
        nearest = self.directory
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            why = "not writable" if nearest.is_dir() else "no directory"
            raise PlaceTakenError(f"{nearest}: {why}; give --state a directory to write in")

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

    def tell(self, does: str) -> None:
        """What the node does now, for `status`. One that cannot be written is not worth an end."""
        if self._about.get("does") != does:
            self._about["does"] = does
            with contextlib.suppress(OSError):
                self._write()

    def offered(self) -> None:
        """From now on the machine is ours to take up again, should we crash. Raises PlaceTakenError."""
        self.is_own = True
        try:
            self._write()
        except OSError as error:
            raise PlaceTakenError(f"{self.directory}: {error.strerror}") from error

    def release(self) -> None:
        """Let it go, at an end in order."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                (self.directory / "node.json").unlink()
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
        return self._read()  # None: it is just beginning

    def _write(self) -> None:
        draft = self.directory / "node.json.new"
        draft.write_bytes(dumps({"pid": os.getpid(), **self._about, "offered": self.is_own}) + b"\n")
        draft.replace(self.directory / "node.json")

    def _read(self) -> dict[str, Any] | None:
        try:
            about = loads((self.directory / "node.json").read_bytes())
        except (OSError, ValueError):
            return None
        return about if isinstance(about, dict) else None
