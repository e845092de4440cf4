"""One run: a program from START to EXIT, its streams between the jail and the link."""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from events.terminal import one_line
from events.wire import dumps, loads
from links.frames import ERRORS, EXIT, MOST_PAYLOAD, OUTPUT, REFUSED, STARTED, Frame
from links.link import Link, LinkClosedError
from seccomp import Exit, InputClosedError, JailError, Limits, Program, Runtime
from seller_node.bandwidth import Bucket

MOST_PROGRAM = 64 * 1024 * 1024  # bytes of all programs of one link
MOST_ARGUMENTS = 256
MOST_INPUT = 1024 * 1024  # bytes that wait for the program to read them
EACH_FRAME = 180  # bytes that a frame counts on the line besides its own: subject, headers
PIECE = 64  # bytes that a piece of input counts besides its own
DYING_S = 2.0  # until a killed program is gone
TELLING_S = 5.0  # until what it wrote before has reached its buyer

log = logging.getLogger("seller_node")


@dataclass
class Jails:
    """Where programs run: the runtimes that work here by tag, and what each program may use.

    `limits` has its memory and priority. `up` and `down` are what all links together may carry, to buyers and
    from them. `thawed` is clear while the market is frozen (R22). `ran` is told of every program's end.
    """

    runtimes: Mapping[str, Runtime]
    limits: Limits
    up: Bucket = field(default_factory=lambda: Bucket(0))
    down: Bucket = field(default_factory=lambda: Bucket(0))
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    ran: Callable[[Exit], None] = lambda _: None

    def most_program(self) -> int:
        """Bytes of all programs of one link: they and their copies in the jail take memory of the node."""
        return min(MOST_PROGRAM, (self.limits.memory_mb << 20) // 8)


class BadStartError(Exception):
    """A START that cannot be served; the text names the member."""


@dataclass(frozen=True)
class Start:
    """What START says."""

    runtime: str
    arguments: list[str]
    sha256: str
    size: int


def read_start(payload: bytes) -> Start:
    """The START in a frame. Raises BadStartError."""
    try:
        wire = loads(payload)
    except ValueError:
        raise BadStartError("START: not a JSON object") from None
    if not isinstance(wire, dict):
        raise BadStartError("START: not a JSON object")
    runtime, arguments = wire.get("runtime"), wire.get("arguments")
    digest, size = wire.get("sha256"), wire.get("size")
    if not isinstance(runtime, str) or len(runtime) > 40:
        raise BadStartError("START: runtime must be a tag, as native/x86_64-linux")
    if (
        not isinstance(arguments, list)
        or len(arguments) > MOST_ARGUMENTS
        or not all(isinstance(argument, str) and "\0" not in argument for argument in arguments)
    ):
        raise BadStartError(f"START: arguments must be at most {MOST_ARGUMENTS} texts without zero bytes")
    if not isinstance(digest, str) or len(digest) != 64:
        raise BadStartError("START: sha256 must be the program's SHA-256 in hexadecimal")
    if type(size) is not int or size < 1:
        raise BadStartError("START: size must be the program's bytes, 1 at least")
    return Start(runtime, arguments, digest.lower(), size)


class Run:
    """One run. Over its link it takes the program and input, and gives output, errors and exit.

    `cpu` is the one that the contract has. `started` is called when the program runs. `over` is set once
    EXIT or REFUSED was sent.
    """

    def __init__(
        self, link: Link, number: int, start: Start, jails: Jails, cpu: int, started: Callable[[], None]
    ) -> None:
        self.number, self.start, self.over = number, start, False
        self._link, self._jails, self._cpu, self._started = link, jails, cpu, started
        self._loaded = bytearray()
        self._starting: asyncio.Task[None] | None = None
        self._program: Program | None = None
        self._killed = False
        self._task: asyncio.Task[None] | None = None
        self._input: deque[bytes | None] = deque()  # None: its end
        self._waiting = 0  # bytes in it
        self._news, self._room = asyncio.Event(), asyncio.Event()

    @property
    def is_loading(self) -> bool:
        """Whether bytes of the program are still to come."""
        return self._task is None and not self.over

    def load(self, data: bytes) -> bytes | None:
        """The program's next bytes; returns it when it is whole. Raises BadStartError if it is another."""
        assert self.is_loading
        if not data:
            raise BadStartError("PROGRAM: no bytes in it")
        self._loaded += data
        if len(self._loaded) > self.start.size:
            raise BadStartError(f"program: more than the {self.start.size} bytes that START said")
        if len(self._loaded) < self.start.size:
            return None
        program = bytes(self._loaded)
        self._loaded.clear()
        if hashlib.sha256(program).hexdigest() != self.start.sha256:
            raise BadStartError("program: its SHA-256 is not the one that START said")
        return program

    def begin(self, program: bytes) -> None:
        """Run it."""
        assert self.is_loading
        self._task = asyncio.create_task(self._go(program), name=f"run {self.number}")

    async def write(self, data: bytes | None) -> None:
        """Input for the program, or its end (None); waits while 1 MiB waits already."""
        while self._waiting >= MOST_INPUT and not self.over:
            self._room.clear()
            await self._room.wait()
        if not self.over:
            self._input.append(data)
            self._waiting += len(data or b"") + PIECE
            self._news.set()

    async def refuse(self, why: str) -> None:
        """It will not run. Raises LinkClosedError."""
        assert self._program is None
        self._end()
        await self._link.send(Frame(REFUSED, self.number, dumps({"why": one_line(why)})))

    def kill(self) -> None:
        """End the program; EXIT follows, or REFUSED if it did not run yet."""
        self._killed = True
        if self._program:
            self._program.kill()
        elif self._starting:
            self._starting.cancel()

    def freeze(self) -> None:
        """Stop the program (R22). One that is being started is started anew afterwards: a module would go on
        to be compiled."""
        if self._program:
            self._program.freeze()
        elif self._starting:
            self._starting.cancel()

    def resume(self) -> None:
        """Let it go on."""
        if self._program:
            self._program.resume()

    async def told(self) -> None:
        """Wait until all that there was to say of it was said: who does not listen begins nothing more."""
        if self._task:
            await asyncio.wait({self._task})

    def quit(self) -> bool:
        """SIGQUIT to the program, if it runs; whether it does (R15)."""
        if self._program is None or self.over:
            return False
        self._program.quit()
        return True

    async def finish(self, seconds: float) -> None:
        """SIGQUIT, and after `seconds` SIGKILL; what it wrote and how it ended is told, for 5 s at most."""
        if self._task is None or self._program is None:
            return
        if seconds and self._jails.thawed.is_set() and self.quit():
            await asyncio.wait({self._task}, timeout=seconds)
        self.kill()
        await asyncio.wait({self._task}, timeout=TELLING_S)

    async def abandon(self) -> None:
        """End it at once and say nothing: nobody listens any more."""
        self._end()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _go(self, program: bytes) -> None:
        try:
            runtime = self._jails.runtimes.get(self.start.runtime)
            if runtime is None:
                offered = ", ".join(self._jails.runtimes)
                await self.refuse(f"runtime: {self.start.runtime!r} is not offered here; there is {offered}")
                return
            try:
                running = await self._start_program(runtime, program)
            except (JailError, OSError, ValueError) as error:
                await self.refuse(str(error) or repr(error))
                return
            del program
            if running is None:
                await self.refuse("killed before it ran")
            else:
                await self._attend(running)
        except LinkClosedError as error:
            log.debug("run %d: %s", self.number, error)
        except Exception:
            log.exception("run %d ended by a fault of this node", self.number)
            self._link.abort("a fault of the seller's node")
        finally:
            if self._program:
                self._jails.ran(await _end_program(self._program))
            self._end()

    async def _start_program(self, runtime: Runtime, program: bytes) -> Program | None:
        """The program, running; None if it was killed before. Raises what `Runtime.start` does."""
        while self._program is None and not self._killed:
            self._starting = asyncio.create_task(self._start_thawed(runtime, program))
            try:
                await asyncio.wait({self._starting})
            finally:
                self._starting.cancel()
                await asyncio.gather(self._starting, return_exceptions=True)
            if not self._starting.cancelled():
                self._starting.result()
        return self._program

    async def _start_thawed(self, runtime: Runtime, program: bytes) -> None:
        """Start it, after a freeze where there is one."""
        await self._jails.thawed.wait()
        limits = replace(self._jails.limits, cpus=(self._cpu,))
        self._program = await runtime.start(program, self.start.arguments, limits)

    async def _attend(self, program: Program) -> None:
        """From STARTED to EXIT."""
        if not self._jails.thawed.is_set():
            program.freeze()
        if self._killed:
            program.kill()
        self._started()  # before the buyer is told, who need not listen
        await self._link.send(Frame(STARTED, self.number))
        pumps = [
            asyncio.create_task(self._pump(OUTPUT, program.read_stdout)),
            asyncio.create_task(self._pump(ERRORS, program.read_stderr)),
        ]
        feeding = asyncio.create_task(self._feed(program))
        try:
            end = await program.wait()
            await asyncio.gather(*pumps)
        finally:
            for task in (*pumps, feeding):
                task.cancel()
            await asyncio.gather(*pumps, feeding, return_exceptions=True)
        self._end()
        await self._link.send(Frame(EXIT, self.number, dumps(exit_wire(end))))

    async def _pump(self, kind: int, read: Callable[[int], Awaitable[bytes]]) -> None:
        """Output to the buyer, as fast as he and the line take it: the link's window holds the program."""
        while data := await read(MOST_PAYLOAD):
            await self._jails.up.take(len(data) + EACH_FRAME)
            await self._link.send(Frame(kind, self.number, data))

    async def _feed(self, program: Program) -> None:
        """Input to the program, as fast as it reads; what it does not want any more is dropped."""
        wanted = True
        while True:
            while not self._input:
                self._news.clear()
                await self._news.wait()
            data = self._input.popleft()
            try:
                if data is None:
                    await program.close_stdin()
                elif wanted:
                    await program.write(data)
            except InputClosedError:
                wanted = False
            self._waiting -= len(data or b"") + PIECE
            self._room.set()

    def _end(self) -> None:
        self.over = True
        self._input.clear()
        self._loaded.clear()
        self._room.set()


async def _end_program(program: Program) -> Exit:
    """Kill a program, and wait until it is gone: the next one shall have the CPU for itself."""
    try:
        program.kill()
        async with asyncio.timeout(DYING_S):
            await program.wait()
    except TimeoutError:
        log.warning("a killed program was not gone after %g s", DYING_S)
    finally:
        program.close()
    return await program.wait()


def exit_wire(end: Exit) -> dict[str, object]:
    """An EXIT as JSON."""
    return {
        "status": end.status,
        "signal": end.signal,
        "cpu_us": end.cpu_us,
        "memory_kb": end.memory_kb,
        "bytes_in": end.bytes_in,
        "bytes_out": end.bytes_out,
        "why": one_line(end.why),
    }
