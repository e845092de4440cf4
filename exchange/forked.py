"""Work in a copy of this process: it sees our memory as it is now, and we go on meanwhile."""

import asyncio
import ctypes
import gc
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
NICE = 5  # the copy's work is not urgent; the market's is
WORDS = 4096  # bytes of what a copy says at its end


class Forked:
    """A copy of this process that does one piece of work, without touching sockets, and ends.

    It dies with us. What the work raises is said by `ended`.
    """

    def __init__(self, work: Callable[[], None], nice: int = NICE) -> None:
        parent, (self._words, write) = os.getpid(), os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.pid = os.fork()
        if self.pid == 0:
            _work_and_exit(work, write, parent, nice)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(write)

    async def ended(self) -> str:
        """Wait for its end; "" where all was done, else what went wrong. Cancelled, it is killed."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._words, closed.set)
        try:
            await closed.wait()
            words = os.read(self._words, WORDS).decode("utf-8", "replace")
        except asyncio.CancelledError:
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            loop.remove_reader(self._words)
            os.close(self._words)
            _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222 - it has ended, or was killed
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return words


def _work_and_exit(work: Callable[[], None], write: int, parent: int, nice: int) -> None:
    """The copy's life. It has our signal handlers, which would wake our loop: they are undone first."""
    try:
        gc.disable()  # a collection would copy every page of the state
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.nice(nice)
        if os.getppid() == parent:
            work()
    except BaseException as error:
        os.write(write, (str(error) or repr(error)).encode()[:WORDS])
    finally:
        os._exit(0)
