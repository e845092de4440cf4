"""A store that is not forced to the disk, for a market that survives the death of processes alone.

A process that dies loses nothing of what it wrote: the operating system has it. When the machine dies the
file may be no store any more, and need not look so. Therefore a mark beside it names the boot of the machine
in which it is written, and who finds the mark of another boot deletes the store: it is rebuilt from the log.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def settled(path: Path, forced: bool, boot: Path = BOOT) -> Iterator[None]:
    """While the store at `path` is written; `forced` says whether SQLite forces it to the disk.

    Enter it before the store is opened, leave it after it is closed. Raises OSError.
    """
    mark, now = mark_of(path), boot.read_text().strip()
    if mark.exists():
        if mark.read_text().strip() != now:
            _delete(path)
        else:
            _force(path)
        mark.unlink()
    if forced:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(now)
    _force(mark)
    yield
    _force(path)  # a process that died before leaves the mark
    mark.unlink()


def mark_of(path: Path) -> Path:
    """The file that says in which boot the store at `path` was written."""
    return path.with_name(f"{path.name}.unforced")


def _delete(path: Path) -> None:
    """The store, and SQLite's own files beside it."""
    for suffix in ("-shm", "-wal", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _force(path: Path) -> None:
    """Everything that was written to the file, its name too, is on the disk."""
    for place in (path, path.with_name(f"{path.name}-wal"), path.parent):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
