"""A job's journal: what is done, so that a client that died goes on where it was.

JSON lines in `<output>/.buyer/journal.jsonl`, each synced to the disk before anything relies on it:
`{"job": identity}` first, then `{"asking": [session, number]}` before a bid is placed, `{"bid": order}`
after, `{"crash": unit, "why"}`, and `{"unit": name, "status", ...}` for each unit that ended.
"""

import contextlib
import fcntl
import os
from dataclasses import asdict
from typing import Any

from buyer.job import HIDDEN, BadJobError, Ended, Job
from events.wire import dumps, loads


class Journal:
    """The journal of one job, open for writing and locked; close it.

    `ended` are the units that are done, `crashes` counts runs that crashed by unit, `bids` are the orders
    that the job placed, `asking` the bid's request (session, number) whose answer was not heard.
    """

    def __init__(self, job: Job) -> None:
        """Open or begin the journal of `job`. Raises BadJobError. Reads all inputs."""
        self.ended: dict[str, Ended] = {}
        self.crashes: dict[str, int] = {}
        self.bids: list[int] = []
        self.asking: tuple[int, int] | None = None
        identity = job.identity()
        self.partial = job.output / HIDDEN / "partial"
        self.path = job.output / HIDDEN / "journal.jsonl"
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadJobError(f"--output: {error.filename}: {error.strerror}") from error
        try:
            self._begin(job, identity)
        except BaseException:
            os.close(self._fd)
            raise

    def _begin(self, job: Job, identity: dict[str, Any]) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadJobError(
                f"--output: another `buyer run` is at work in {job.output}; give each its own directory"
            ) from None
        old = self._read()
        if not job.resume and old is not None and len(self.ended) < old["units"]:
            raise BadJobError(
                f"--output: {job.output} holds an unfinished job, {len(self.ended)} of {old['units']} units: "
                f"--resume goes on with it; remove {self.path.parent} to begin anew"
            )
        if job.resume and old is not None:
            self._check(old, identity)
            return
        self.ended, self.crashes, self.bids, self.asking = {}, {}, [], None
        os.ftruncate(self._fd, 0)
        self._write({"job": identity})
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _check(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        for what, option in (
            ("program", "the program"),
            ("runtime", "--runtime"),
            ("arguments", "the arguments"),
            ("inputs", "--input: the inputs"),
        ):
            if old[what] != new[what]:
                raise BadJobError(
                    f"--resume: {option} changed since this job began; "
                    f"run it as it was, or remove {self.path.parent} to begin anew"
                )

    def _read(self) -> dict[str, Any] | None:
        """Take in what is there; a last line that was torn by a crash is cut off. The job, or None."""
        with open(os.dup(self._fd), "rb") as file:
            data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        job: dict[str, Any] | None = None
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                job = self._take(loads(line), job)
            except (ValueError, KeyError, TypeError) as error:
                raise BadJobError(
                    f"--output: {self.path} line {number} is not a journal's; "
                    f"remove {self.path.parent} to begin anew"
                ) from error
        return job

    def _take(self, line: Any, job: dict[str, Any] | None) -> dict[str, Any] | None:
        match line:
            case {"job": identity}:
                return {
                    name: identity[name] for name in ("program", "runtime", "arguments", "inputs", "units")
                }
            case {"asking": [int(session), int(number)]}:
                self.asking = (session, number)
            case {"bid": int(order)}:
                self.asking = None
                if order not in self.bids:
                    self.bids.append(order)
            case {"crash": str(name)}:
                self.crashes[name] = self.crashes.get(name, 0) + 1
            case {"unit": str(name)}:
                ended = Ended(**{key: line[key] for key in line if key != "unit"})
                if any(
                    type(getattr(ended, key)) is not (str if key == "why" else int)
                    for key in line
                    if key != "unit"
                ):
                    raise ValueError(line)
                self.ended[name] = ended
            case _:
                raise ValueError(line)
        return job

    def _write(self, line: dict[str, Any]) -> None:
        os.lseek(self._fd, 0, os.SEEK_END)
        data = dumps(line) + b"\n"
        written = os.write(self._fd, data)
        if written != len(data):
            raise OSError(28, "the journal could not be written: is the disk full?", str(self.path))
        os.fsync(self._fd)

    def note_asking(self, session: int, number: int) -> None:
        """A bid is about to be asked for."""
        self.asking = (session, number)
        self._write({"asking": [session, number]})

    def note_bid(self, order: int) -> None:
        """A bid was placed; 0 where it was refused."""
        self.asking = None
        if order and order not in self.bids:
            self.bids.append(order)
            self._write({"bid": order})

    def note_crash(self, name: str, why: str) -> None:
        """A run of the unit crashed."""
        self.crashes[name] = self.crashes.get(name, 0) + 1
        self._write({"crash": name, "why": why})

    def note_end(self, name: str, ended: Ended) -> None:
        """The unit is done, and its results are in place."""
        self.ended[name] = ended
        self._write({"unit": name, **asdict(ended)})

    def close(self) -> None:
        """Unlock. What is unfinished is removed."""
        for path in self.partial.iterdir():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.partial.rmdir()
        os.close(self._fd)
