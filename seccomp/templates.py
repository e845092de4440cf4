"""Templates: one jailed process per wasm module, which compiled it once and copies itself for every run."""

import asyncio
import contextlib
import hashlib
import struct
from collections import Counter, OrderedDict, defaultdict
from dataclasses import replace

from seccomp.launcher import Launcher, encode_arguments, open_program, send_packet
from seccomp.program import JailError, Limits, Program, ZygoteLostError

MOST_TEMPLATES = 16
MOST_MEMORY_KB = 256 << 10  # of all together, as far as it is their own
MOST_COMPILE_CPU_S = 60
MOST_COMPILE_WALL_S = 600.0  # where others have the CPU
MOST_COPY_WALL_S = 60.0  # of a start, when all is compiled
LEAST_COMPILE_MB = 256
_RUN = struct.Struct("=QII128sII")  # struct run_request in _template.h
_MOST_WHY = 500
_MOST_WORDS_S = 5.0  # to say them, at its end
Key = tuple[bytes, int, bool]  # a module, and how nice and idle its runs are: they can never be less


class Template(Program):
    """A template as its node sees it. Its pipes say why a module was refused, its socket takes runs."""

    starting = 0  # runs that are asked for and do not run yet

    @property
    def owner(self) -> tuple[int, ...]:
        """The CPUs of whoever had it compiled."""
        return self._limits.cpus

    @property
    def share(self) -> float:
        """Of what all together may be."""
        return 1 / MOST_TEMPLATES + self.memory_kb / MOST_MEMORY_KB

    async def compiled(self) -> None:
        """Wait until the module is compiled; JailError, one line, if it never will be."""
        try:
            async with asyncio.timeout(MOST_COMPILE_WALL_S):
                await self.started()
            for name in list(self._fds):  # a template that is ready has nothing to say
                self._close_fd(name)
        except TimeoutError:
            raise JailError(f"module: compiling took more than {MOST_COMPILE_WALL_S:g} s") from None
        except ZygoteLostError:
            raise
        except JailError as error:
            raise JailError(await self._explain(str(error))) from None

    async def start_run(self, arguments: bytes, count: int, limits: Limits) -> Program:
        """Start the module once. ZygoteLostError if the template is gone."""
        cpus = sum(1 << cpu for cpu in limits.cpus).to_bytes(128, "little")
        pinned, memory = bool(limits.cpus), limits.memory_mb << 20
        packet = _RUN.pack(memory, limits.cpu_s or 0, pinned, cpus, count, len(arguments)) + arguments
        self.starting += 1
        try:
            return await self._start_run(packet, limits)
        except ZygoteLostError:
            self.close()
            raise
        except TimeoutError:
            self.close()
            raise JailError(f"module: no copy of it could be made in {MOST_COPY_WALL_S:g} s") from None
        finally:
            self.starting -= 1

    async def _start_run(self, packet: bytes, limits: Limits) -> Program:
        with open_program(Program, limits) as (running, theirs):
            try:
                await send_packet(self._control, packet, theirs)
            except OSError:  # closed here, or there
                raise ZygoteLostError("the template of the module ended") from None
        try:
            async with asyncio.timeout(MOST_COPY_WALL_S):
                await running.started()
        except BaseException:
            running.close()
            raise
        return running

    async def _explain(self, why: str) -> str:
        end = await self.wait()
        said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_WORDS_S):
                while piece := await self.read_stderr(1 << 16):
                    said = (said + piece)[:_MOST_WHY]
        text = "".join(c if c.isprintable() else " " for c in said.decode(errors="replace"))
        text = " ".join(text.split())
        if end.signal is not None:
            most = f"with at most {self._limits.memory_mb} MiB" + (f": {text}" if text else "")
            return f"module: its compiler was {end.why}, {most}"
        return f"module: {text}" if end.status else why


class Templates:
    """The templates of one node: not too many. Whoever has most of them loses the one that he used least
    recently: so nobody can push out what others use. Whose they are the CPUs tell that they were compiled on.
    """

    def __init__(self, launcher: Launcher) -> None:
        """Make templates by `launcher`."""
        self._launcher = launcher
        self._ready: OrderedDict[Key, Template] = OrderedDict()
        self._coming: dict[Key, asyncio.Task[Template]] = {}
        self._waiting: Counter[asyncio.Task[Template]] = Counter()

    async def start(self, module: bytes, arguments: list[str], limits: Limits) -> Program:
        """Run `module`, which is compiled first if there is no template of it. Raises JailError."""
        text = encode_arguments(arguments)
        try:
            return await (await self._get(module, limits)).start_run(text, len(arguments), limits)
        except ZygoteLostError:  # it died since it compiled; once is no reason to give up
            return await (await self._get(module, limits)).start_run(text, len(arguments), limits)

    async def close(self) -> None:
        """Make no more copies. Programs that run go on."""
        coming = list(self._coming.values())
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for template in self._ready.values():
            template.close()
        self._ready.clear()

    async def _get(self, module: bytes, limits: Limits) -> Template:
        key = (hashlib.sha256(module).digest(), limits.nice, limits.idle)
        if template := self._ready.get(key):
            if not template.ended():
                self._ready.move_to_end(key)
                return template
            del self._ready[key]
        task = self._coming.get(key)
        if task is None:
            task = self._coming[key] = asyncio.create_task(self._compile(key, module, limits))
            task.add_done_callback(lambda done: self._arrived(key, done))
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                if not task.done():  # nobody wants it any more
                    self._coming.pop(key, None)
                    task.cancel()

    async def _compile(self, key: Key, module: bytes, limits: Limits) -> Template:
        most = replace(
            limits,
            memory_mb=max(limits.memory_mb, LEAST_COMPILE_MB),
            cpu_s=MOST_COMPILE_CPU_S,
            wall_s=None,
            warn_s=0,
        )
        request = self._launcher.request([], most)
        with open_program(Template, most) as (template, theirs):
            await self._launcher.send(request, module, theirs, most)
        try:
            await template.compiled()
        except BaseException:
            template.close()
            raise
        self._ready[key] = template
        self._keep_within_bounds(template)
        return template

    def _arrived(self, key: Key, task: asyncio.Task[Template]) -> None:
        if self._coming.get(key) is task:
            del self._coming[key]
        if not task.cancelled():
            task.exception()  # whoever waits gets it; nobody need

    def _keep_within_bounds(self, newest: Template) -> None:
        while (
            len(self._ready) > MOST_TEMPLATES
            or sum(template.memory_kb for template in self._ready.values()) > MOST_MEMORY_KB
        ):
            shares: defaultdict[tuple[int, ...], float] = defaultdict(float)
            idle: dict[tuple[int, ...], Key] = {}  # of each owner, the one least recently used
            for key, template in self._ready.items():
                shares[template.owner] += template.share
                if template is not newest and not template.starting:
                    idle.setdefault(template.owner, key)
            if not idle:
                return
            # its keeper stays until the programs have ended
            self._ready.pop(idle[max(idle, key=lambda owner: shares[owner])]).close()
