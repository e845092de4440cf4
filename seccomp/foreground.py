"""One program on the standard streams of this process: what `jail run` does once it knows what to run."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from seccomp.program import Exit, InputClosedError, Program

CHUNK = 1 << 16
T = TypeVar("T")


async def in_foreground(program: Program) -> tuple[Exit, int]:
    """Feed `program` our standard input, pass on what it writes, and let this process's signals reach it.

    Returns how it ended and the exit status for a shell: its own, or 128 and the signal that ended it, or us.
    SIGQUIT warns the program, SIGTSTP and SIGCONT freeze and continue it; SIGINT, SIGTERM, SIGHUP and a
    reader that is gone end it. Every stream is passed on no faster than it is taken. Raises OSError where our
    own streams fail.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    feeding = asyncio.create_task(_feed(program, stopped))
    passed = asyncio.create_task(_pass_all_on(program))
    both: list[asyncio.Future[Any]] = [passed, stopped]
    try:
        with _signals(program, stopped):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            number = stopped.result()
            program.kill(f"ended by {signal.Signals(number).name}")
        elif isinstance(passed.exception(), BrokenPipeError):
            number = signal.SIGPIPE
            program.kill("ended, since nobody reads its output")
        else:
            end = passed.result()
            return end, end.status if end.status is not None else 128 + (end.signal or 0)
        return await program.wait(), 128 + number
    finally:
        for task in (feeding, passed):
            task.cancel()
        await asyncio.gather(feeding, passed, return_exceptions=True)
        program.close()


async def _pass_all_on(program: Program) -> Exit:
    await asyncio.gather(_pass_on(program.read_stdout, 1), _pass_on(program.read_stderr, 2))
    return await program.wait()


async def _feed(program: Program, stopped: "asyncio.Future[int]") -> None:
    try:
        while data := await _apart(lambda: os.read(0, CHUNK)):
            await program.write(data)
        await program.close_stdin()
    except InputClosedError:
        pass  # it wants no more
    except OSError as error:
        if not stopped.done():
            stopped.set_exception(OSError(f"standard input: {error.strerror}"))


async def _pass_on(read: Callable[[int], Awaitable[bytes]], fd: int) -> None:
    while data := await read(CHUNK):
        await _apart(partial(_write_all, fd, data))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(f"standard {'output' if fd == 1 else 'error'}: {error.strerror}") from None


async def _apart(work: Callable[[], T]) -> T:
    """Do what may block in a thread that nobody waits for at the end. Our streams are others' too: made
    non-blocking, they would be so for the shell."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: OSError | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            told: tuple[T | None, OSError | None] = (work(), None)
        except OSError as error:
            told = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is over
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=run, daemon=True).start()
    return await done


@contextlib.contextmanager
def _signals(program: Program, stopped: "asyncio.Future[int]") -> Iterator[None]:
    """Within it, signals to us are for the program."""

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    def pause() -> None:
        program.freeze()
        os.kill(os.getpid(), signal.SIGSTOP)  # goes on here after SIGCONT
        program.resume()

    def handlers() -> Iterator[tuple[signal.Signals, Callable[[], None]]]:
        yield signal.SIGQUIT, program.quit
        yield signal.SIGTSTP, pause
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            yield number, partial(stop, number)

    loop = asyncio.get_running_loop()
    # what is ignored stays so, as in the background of a script
    added = [(number, do) for number, do in handlers() if signal.getsignal(number) is not signal.SIG_IGN]
    for number, do in added:
        loop.add_signal_handler(number, do)
    try:
        yield
    finally:
        for number, _ in added:
            loop.remove_signal_handler(number)
