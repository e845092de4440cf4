"""Who gives way when processors are short: what can wait, to what the market waits for.

Niceness is a thread's own, and counts only among those of one session where Linux groups sessions (its
`autogroup`, on by default); the group of a session has a niceness as well, which may be taken back.
"""

import os
import threading
import time
from pathlib import Path

NICE = 10
TRIES = 5
GROUP = Path("/proc/self/autogroup")


def stand_back() -> None:
    """Give way with the whole process, until `step_forward`. Others of our session are left alone."""
    _set_group(NICE)


def step_forward() -> None:
    """Take part again as others do."""
    _set_group(0)


def stand_back_for_good() -> None:
    """Give way with the thread that calls, to others of our session, for as long as it lives."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _set_group(nice: int) -> None:
    if os.getsid(0) != os.getpid():
        return  # it is also somebody else's session
    for _ in range(TRIES):
        try:
            GROUP.write_text(str(nice))
            return
        except BlockingIOError:  # Linux lets it be set ten times a second
            time.sleep(0.1)
        except OSError:
            return  # no such groups here: the thread's niceness does it
