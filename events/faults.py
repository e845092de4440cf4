"""Faults on purpose: a process that kills itself at a named point, or at a numbered step, to prove recovery.

`COREHOUR_FAULTS` names a directory. Where it holds a file with a point's name, the next process to reach
that point removes the file and dies by SIGKILL; it does not die again when it is started again. Where it
holds `<process>.steps` with a number N, the next such process dies just before the Nth time that one of its
tasks goes on: so at any await of any of its coroutines. What it was about to do is a line in
`<process>.died`. With N = 0 it lives, and says in `<process>.counted` how many steps it made.
Without the variable a point costs one comparison, and a step nothing.
"""

import asyncio
import atexit
import gc
import inspect
import json
import os
import signal
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, TypeVar

_DIRECTORY = os.environ.get("COREHOUR_FAULTS", "")
FRAMES = ("cr_frame", "gi_frame", "ag_frame")
AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
T = TypeVar("T")


def point(name: str) -> None:
    """Die here if that was asked for."""
    if _DIRECTORY:
        try:
            (Path(_DIRECTORY) / name).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def steps(process: str, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """The work of a process's event loop, its steps counted if that was asked for."""
    if not _DIRECTORY:
        return work
    file = Path(_DIRECTORY) / f"{process}.steps"
    try:
        last = int(file.read_text())
    except FileNotFoundError:
        return work
    file.unlink()
    return _counted(_Steps(process, last), work)


async def _counted(count: "_Steps", work: Coroutine[Any, Any, T]) -> T:
    """Do the work in a task of its own, and count its steps and those of all the tasks that it makes."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(count.task)
    return await loop.create_task(work)


class _Steps:
    """Counts the steps of a process, and ends it at the last one."""

    def __init__(self, process: str, last: int) -> None:
        self._place, self._last, self._made = Path(_DIRECTORY) / process, last, 0
        atexit.register(lambda: self._place.with_suffix(".counted").write_text(str(self._made)))

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> "asyncio.Future[Any]":
        """A task (as a loop's task factory) whose steps are counted."""
        return asyncio.Task(_Counted(work, self), loop=loop, **more)

    def step(self, work: Any) -> None:
        """One more step, which goes on with `work`; the last one is not done."""
        self._made += 1
        if self._made == self._last:
            line = json.dumps({"step": self._made, "at": _awaits(work)})
            with self._place.with_suffix(".died").open("a") as file:
                file.write(f"{line}\n")
            os.kill(os.getpid(), signal.SIGKILL)


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that counts how often it goes on."""

    def __init__(self, work: Coroutine[Any, Any, Any], count: _Steps) -> None:
        self._work, self._count = work, count

    def send(self, value: Any) -> Any:
        """Go on."""
        self._count.step(self._work)
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an error, as when the task is cancelled."""
        self._count.step(self._work)
        return self._work.throw(*error)

    def close(self) -> None:
        """Give up."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


def _awaits(work: Any) -> list[str]:
    """Where a coroutine is suspended: file and line of each await, the outermost first."""
    lines = []
    while work is not None:
        frame = next((found for name in FRAMES if (found := getattr(work, name, None))), None)
        if frame is None:
            break
        file = "/".join(Path(frame.f_code.co_filename).parts[-2:])
        lines.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        work = next((found for name in AWAITED if (found := getattr(work, name, None))), None)
        if type(work).__name__ == "async_generator_asend":  # it says not whose it is
            work = next(filter(inspect.isasyncgen, gc.get_referents(work)), None)
    return lines
