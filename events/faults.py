"""Faults on purpose: a process that kills itself at a named point, so that tests can prove recovery.

`COREHOUR_FAULTS` names a directory. Where it holds a file with a point's name, the next process to reach
that point removes the file and dies by SIGKILL; it does not die again when it is started again. Without
the variable a point costs one comparison.
"""

import os
import signal
from pathlib import Path

_DIRECTORY = os.environ.get("COREHOUR_FAULTS", "")


def point(name: str) -> None:
    """Die here if that was asked for."""
    if _DIRECTORY:
        try:
            (Path(_DIRECTORY) / name).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
