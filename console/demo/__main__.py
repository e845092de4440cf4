"""`make demo`: python -m console.demo. Exit status 0 if every claim holds, 1 if not, 130 after Ctrl-C."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def interrupted_early(number: int, frame: FrameType | None) -> None:
    """Ctrl-C before anything was started."""
    os.write(2, b"interrupted; nothing is left running\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupted_early)
    from console.demo.play import main

    sys.exit(main())
