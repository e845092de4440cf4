"""One unit of work over a link: program and input go out, output and the exit come back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from buyer.job import CHUNK, Ended, Unit
from buyer.results import Results
from events.terminal import one_line
from events.wire import dumps, loads, sha256
from links.frames import ERRORS, EXIT, INPUT, INPUT_END, OUTPUT, PROGRAM, REFUSED, START, STARTED, Frame
from links.link import Link, LinkClosedError


class FaultError(Exception):
    """The seller did not behave: silence, or frames that make no sense. The text says what (R26)."""


class LostError(Exception):
    """The link is gone; nobody's fault by itself."""


class RefusedRunError(Exception):
    """The seller did not start the program; the text is his reason."""


@dataclass
class Program:
    """What each run starts."""

    data: bytes
    runtime: str
    arguments: list[str]
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        self.hash = sha256(self.data)

    def start(self) -> bytes:
        """The payload of START."""
        return dumps(
            {
                "runtime": self.runtime,
                "arguments": self.arguments,
                "sha256": self.hash,
                "size": len(self.data),
            }
        )


class Session:
    """Runs on one link, one after the other. `patience` waits for an awaitable as long as the market waits
    for a seller, and raises FaultError; `arrived` is called when the program has reached him (R16).

    After a refusal (`refused`) it is unknown whether the seller kept the program: dial anew.
    """

    def __init__(
        self,
        link: Link,
        program: Program,
        patience: Callable[[Awaitable[Any], str], Awaitable[None]],
        arrived: Callable[[], None],
    ) -> None:
        self.link, self.program = link, program
        self._patience, self._arrived = patience, arrived
        self._run = 0
        self._program_sent = False
        self.refused = False

    async def run(self, unit: Unit, results: Results) -> Ended:
        """Run a unit; its output goes to `results` as it comes.

        Raises LostError, FaultError, RefusedRunError; TooMuchError from the results; OSError from them or
        the input.
        """
        self._run += 1
        started = asyncio.Event()
        sender = asyncio.create_task(self._send(unit, started), name=f"send {unit.name}")
        receiver = asyncio.create_task(self._receive(results, started), name=f"receive {unit.name}")
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and sender.exception() is not None and not receiver.done():
                sender.result()
            return await receiver
        except LinkClosedError as error:
            raise LostError(str(error)) from error
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _send(self, unit: Unit, started: asyncio.Event) -> None:
        link, run = self.link, self._run
        await link.send(Frame(START, run, self.program.start()))
        if not self._program_sent:
            for start in range(0, len(self.program.data), CHUNK):
                await link.send_bytes(PROGRAM, run, self.program.data[start : start + CHUNK])
                await self._patience(link.drained(), "the program was not taken")
            self._program_sent = True
        await self._patience(link.drained(), "the start was not acknowledged")
        self._arrived()
        await asyncio.gather(
            self._patience(started.wait(), "the program was not started"), self._send_input(unit)
        )

    async def _send_input(self, unit: Unit) -> None:
        if isinstance(unit.input, bytes):
            await self.link.send_bytes(INPUT, self._run, unit.input)
        else:
            with unit.input.open("rb") as file:
                while chunk := file.read(CHUNK):
                    await self.link.send_bytes(INPUT, self._run, chunk)
        await self.link.send(Frame(INPUT_END, self._run))

    async def _receive(self, results: Results, started: asyncio.Event) -> Ended:
        while (frame := await self.link.receive()) is not None:
            if frame.run < self._run:
                continue  # of a run before this one, on its way when that was given up
            if frame.run > self._run or (frame.kind in (OUTPUT, ERRORS, EXIT) and not started.is_set()):
                raise FaultError("a frame of a run that was never started")
            if frame.kind == STARTED:
                started.set()
                self._arrived()
            elif frame.kind == OUTPUT:
                results.write_output(frame.payload)
            elif frame.kind == ERRORS:
                results.write_errors(frame.payload)
            elif frame.kind == EXIT:
                return exit_of(frame.payload, self.link.contract)
            elif frame.kind == REFUSED:
                self.refused = True
                raise RefusedRunError(why_of(frame.payload))
            else:
                raise FaultError(f"a frame of kind {frame.kind}, which sellers do not send")
        raise LostError(self.link.closed or "the link was closed")


def exit_of(payload: bytes, contract: int) -> Ended:
    """What an EXIT says. Raises FaultError where it is garbled."""
    try:
        wire = loads(payload)
        status, signal = wire["status"], wire["signal"]
        if status is None and signal is None:
            raise FaultError(f"the jail failed: {_why(wire)}")
        whole = {"status": status or 0, "signal": signal or 0, "cpu": wire["cpu_us"], "kb": wire["memory_kb"]}
        if any(type(value) is not int or value < 0 for value in whole.values()):
            raise FaultError("an exit that makes no sense")
        why = _why(wire) if signal else ""
    except (ValueError, KeyError, TypeError) as error:
        raise FaultError("an exit that cannot be read") from error
    return Ended(whole["status"], whole["signal"], why, contract, whole["cpu"], whole["kb"])


def why_of(payload: bytes) -> str:
    """The reason in a REFUSED. Raises FaultError where it is garbled."""
    with suppress(ValueError, KeyError, TypeError):
        return _why(loads(payload))
    raise FaultError("a refusal that cannot be read")


def _why(wire: Any) -> str:
    """A seller's reason, fit for a terminal. Raises KeyError, TypeError where it is no text."""
    why = wire["why"]
    if not isinstance(why, str):
        raise TypeError("a reason is a text")
    return one_line(why) or "no reason was given"
