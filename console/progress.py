"""Progress of long work, with an estimate of the time left: on standard error, and only to a person."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import Progress

from console import tables

SHOWN_S = 0.1  # between two moves of the bar


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; it is told what is done and what there is in all. It is gone at the end."""
    with Progress(console=tables.progress_console(), transient=True) as shown:
        task = shown.add_task(what, total=None)
        due = 0.0

        def tell(done: int, whole: int) -> None:
            nonlocal due
            now = time.monotonic()
            if now >= due or done >= whole:
                due = now + SHOWN_S
                shown.update(task, completed=done, total=whole)

        yield tell
