"""One link of a contract: the buyer's frames, and his runs, one after the other."""

import asyncio
import logging
from collections.abc import Callable

from links.frames import INPUT, INPUT_END, KILL, PROGRAM, START, Frame
from links.link import Link, LinkClosedError
from seller_node.bandwidth import Ahead
from seller_node.run import EACH_FRAME, BadStartError, Jails, Run, Start, read_start

EACH_PROGRAM = 64 * 1024  # bytes that a program counts besides its own: small ones take memory too

log = logging.getLogger("seller_node")


class Session:
    """Serves one link until it ends, and then nothing of it runs any more.

    The programs that came over the link are kept, so that the buyer sends each once; all together they
    are bounded. A buyer who breaks the order of frames loses his link.
    """

    def __init__(self, link: Link, jails: Jails, cpu: int, ahead: Ahead, started: Callable[[], None]) -> None:
        self.link = link
        self._jails, self._cpu, self._ahead, self._started = jails, cpu, ahead, started
        self._run: Run | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last = 0
        self._programs: dict[str, bytes] = {}
        self._room = jails.most_program()  # bytes for more of them

    async def serve(self) -> None:
        """Until the link is closed or replaced."""
        self._reading = asyncio.create_task(self._read(), name=f"session {self.link.contract}")
        try:
            await self.link.ended()
        finally:
            await self.end_runs()

    def quit(self) -> bool:
        """SIGQUIT to what runs; whether there is something."""
        return self._run is not None and self._run.quit()

    async def finish(self, seconds: float) -> None:
        """Listen no more, and end what runs: SIGQUIT, so many seconds, SIGKILL; how it ended is told."""
        await self._stop_reading()
        if self._run:
            await self._run.finish(seconds)

    async def end_runs(self) -> None:
        """Listen no more, and end what runs, at once."""
        await self._stop_reading()
        if self._run:
            await self._run.abandon()
        self._programs.clear()

    async def _stop_reading(self) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def freeze(self) -> None:
        """Stop what runs (R22)."""
        if self._run:
            self._run.freeze()

    def resume(self) -> None:
        """Let it go on."""
        if self._run:
            self._run.resume()

    async def _read(self) -> None:
        try:
            while frame := await self.link.receive():
                await self._carry(frame)
                await self._take(frame)
        except LinkClosedError as error:
            log.debug("contract %d: %s", self.link.contract, error)
        except BadStartError as error:
            log.debug("contract %d: %s", self.link.contract, error)
            self.link.abort(str(error))
        except Exception:
            log.exception("contract %d: the link ended by a fault of this node", self.link.contract)
            self.link.abort("a fault of the seller's node")

    async def _carry(self, frame: Frame) -> None:
        """Wait until the line has carried a frame. A program goes before the frames of others, or the market
        would count it lost before it has started."""
        size = len(frame.payload) + EACH_FRAME
        if frame.kind in (START, PROGRAM) and size <= self._ahead.left:
            self._ahead.left -= size
            self._jails.down.owe(size)
        else:
            await self._jails.down.take(size)

    async def _take(self, frame: Frame) -> None:
        """One frame. Raises BadStartError where it breaks the order, LinkClosedError."""
        if frame.kind == START:
            await self._start(frame)
            return
        run = self._run
        if run is None or frame.run != run.number or run.over:
            if frame.kind not in (PROGRAM, INPUT, INPUT_END, KILL) or frame.run > self._last:
                raise BadStartError(f"frame {frame.kind} of run {frame.run}: no such run")
            return  # of a run that is over: the buyer did not know yet
        if frame.kind == PROGRAM:
            if not run.is_loading:
                raise BadStartError(f"PROGRAM of run {run.number}: it is there already")
            await self._load(run, frame.payload)
        elif frame.kind == KILL:
            if run.is_loading:
                await run.refuse("killed before all of the program was there")
            else:
                run.kill()
        elif frame.kind == INPUT:
            await run.write(frame.payload)
        elif frame.kind == INPUT_END:
            await run.write(None)
        else:
            raise BadStartError(f"frame {frame.kind}: a buyer does not say that")

    async def _start(self, frame: Frame) -> None:
        if self._run and not self._run.over:
            raise BadStartError(f"START of run {frame.run}: run {self._run.number} still goes on")
        if frame.run <= self._last:
            raise BadStartError(f"START of run {frame.run}: run numbers rise, the last was {self._last}")
        self._last = frame.run
        if self._run:
            await self._run.told()
        try:
            start = read_start(frame.payload)
        except BadStartError as error:
            self._run = self._make_run(Start("", [], "", 0))
            await self._run.refuse(str(error))
            return
        run = self._run = self._make_run(start)
        program = self._programs.get(start.sha256)
        if program is not None and len(program) == start.size:
            run.begin(program)
        elif program is not None:
            await run.refuse(f"program: the one with this SHA-256 has {len(program)} bytes, not {start.size}")
        elif start.size + EACH_PROGRAM > self._room:
            room = max(0, self._room - EACH_PROGRAM)
            await run.refuse(
                f"program: {start.size} bytes; this link has room for {room} more "
                f"({self._jails.most_program()} in all): dial anew, or send a smaller one"
            )

    async def _load(self, run: Run, data: bytes) -> None:
        try:
            program = run.load(data)
        except BadStartError as error:
            await run.refuse(str(error))
            return
        if program is not None:
            self._programs[run.start.sha256] = program
            self._room -= len(program) + EACH_PROGRAM
            run.begin(program)

    def _make_run(self, start: Start) -> Run:
        return Run(self.link, self._last, start, self._jails, self._cpu, self._started)
