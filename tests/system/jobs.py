"""A buyer with work without end: job after job by `buyer run`, started again whenever it was killed."""

import asyncio
import json
import random
import sys
from pathlib import Path

from tests.system.conftest import walked

UNITS = 16
MOST_FAILURES = 20  # attempts in all that found no market: it is killed all the time


class Jobs:
    """`process` is the attempt that runs now; `done` counts jobs, `failures` attempts that gave up."""

    def __init__(self, directory: Path, program: Path, words: list[str], dice: random.Random) -> None:
        self._directory, self._program, self._words, self._dice = directory, program, words, dice
        self.process: asyncio.subprocess.Process | None = None
        self.enough = asyncio.Event()
        self.done = self.attempts = 0
        self.failures: list[str] = []

    async def live(self) -> None:
        """Jobs until `enough`; each ends with every output right."""
        try:
            while not self.enough.is_set():
                await self._job(self._directory / f"job-{self.done}")
                self.done += 1
        finally:
            if self.process and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    def outputs(self) -> int:
        """Units that ended in the job that runs now: what says that an attempt does work."""
        journal = self._directory / f"job-{self.done}/out/.buyer/journal.jsonl"
        return journal.read_text().count('"unit"') if journal.exists() else 0

    async def _job(self, place: Path) -> None:
        (place / "in").mkdir(parents=True)
        expected = {}
        for number in range(UNITS):
            x, n = self._dice.randrange(2**64), self._dice.randrange(20_000_000, 300_000_000)
            (place / f"in/{number}").write_text(f"{x} {n}\n")
            expected[str(number)] = f"{walked(x, n)}\n"
        ended = False
        while not ended:
            ended = await self._attempt(place)
            await asyncio.sleep(0.1)
        results = {path.name: path.read_text() for path in (place / "out").iterdir() if path.is_file()}
        assert results == expected

    async def _attempt(self, place: Path) -> bool:
        """Whether the job came to its end."""
        self.attempts += 1
        with (place / "said").open("wb") as said, (place / "errors").open("ab") as errors:
            self.process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "buyer", "run", *self._words, "--max-price", "0.05", "--cpus", "3"),
                *("--input", f"{place}/in/*", "--output", str(place / "out"), "--resume", "--json"),
                *("--", str(self._program), str(place)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=errors,
            )
            status = await process.wait()
        if status == -9:
            return False
        text = (place / "said").read_text()
        result = json.loads(text)
        if "error" in result:
            self.failures.append(result["error"])
            assert len(self.failures) <= MOST_FAILURES, self.failures
            return False
        assert status == 0 and result["ok"], text
        return True
