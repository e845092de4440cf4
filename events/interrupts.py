"""Ctrl-C while a command still imports what it is made of."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def ends_quietly() -> Iterator[None]:
    """Within it, Ctrl-C ends the process by the signal itself, without a traceback of half an import.

    Where Ctrl-C is ignored, as in the background of a shell's script, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
