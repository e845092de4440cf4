"""Child processes that are kept running, and that end with us, however we end."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # where our rooms are imported from
TETHER = Path(__file__).with_name("tether.py")
LOG_LIMIT = 8 * 1024 * 1024  # a larger log is put aside when its child starts again
QUICK_S = 2.0  # a child that lived shorter did not really start
MOST_QUICK = 10  # so many such in a row, and it is given up
MOST_SAME = 3  # so many such in a row that end with the same words, and nothing will change
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 5.0
TERM_S = 5.0  # from SIGTERM to SIGKILL


class ChildFailedError(Exception):
    """A child does not stay up; the text says which, and its last words."""


class Child:
    """One program, started again when it dies, with growing delay. `starts` counts its starts.

    Its output goes to `log`; `also` is a log that it writes by itself.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        say: Callable[[str], None],
        also: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._logs = [log] if also is None else [also, log]
        self._command, self._say = list(command), say
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process that runs now; 0 if none does."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    def last_words(self) -> str:
        """The last line of its logs, "" where there is none."""
        for log in self._logs:
            with contextlib.suppress(OSError), log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                lines = file.read().decode("utf-8", "replace").split("\n")
                if any(line.strip() for line in lines):
                    return next(line.strip() for line in reversed(lines) if line.strip())
        return ""

    async def keep(self) -> None:
        """Run it until `stop`.

        Raises ChildFailedError after MOST_QUICK quick deaths in a row, or MOST_SAME with the same last words.
        """
        quick = same = 0
        words = ""
        while not self._stopping:
            began = time.monotonic()
            status = await self._run()
            if self._stopping:
                return
            quick = quick + 1 if time.monotonic() - began < QUICK_S else 0
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
            before, words = words, self.last_words() if status > 0 else ""  # killed: these are old words
            same = (same + 1 if words == before else 1) if quick and words else 0
            if quick >= MOST_QUICK or same >= MOST_SAME:
                raise ChildFailedError(
                    f"{self.name} {how}, {quick} times in a row: {words or 'it said nothing'} "
                    f"(see {self.log})"
                )
            delay = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** max(0, quick - 1))
            self._say(f"{self.name} {how}{words and f' ({words})'}; starting it again in {delay:g} s")
            await asyncio.sleep(delay)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL where that is not heard."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(TERM_S):
                await _ended(process)
        except TimeoutError:
            self._say(f"{self.name} does not end; killing it")
            process.kill()
            await _ended(process)

    async def _run(self) -> int:
        """One life; returns its status (minus a signal's number), and leaves no process behind."""
        self._process = process = self._spawn()
        self.starts += 1
        try:
            return await _ended(process)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise

    def _spawn(self) -> "subprocess.Popen[bytes]":
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end the children in their order
                env=environment(),
            )


def environment() -> dict[str, str]:
    """Ours, so that a child imports the same rooms from wherever it is started."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def module(name: str, *arguments: str) -> list[str]:
    """The command of one of our services; -P: what lies in the working directory is not imported."""
    return [sys.executable, "-P", "-m", name, *arguments]


async def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; returns its status."""
    if process.returncode is None:
        descriptor = os.pidfd_open(process.pid)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()
