"""Runs a program that dies with the process that started it, even if that one is killed with SIGKILL.

A script, started as `python -I -S tether.py PARENT PROGRAM ...`: it asks the kernel for the parent's
death signal and becomes the program. The signal outlives exec, so any program can be tethered.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program. Exit status 127 where that fails."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit("prctl failed")
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit("the parent is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 - an exact program, no shell
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
