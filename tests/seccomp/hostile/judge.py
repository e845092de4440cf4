"""Whether what was seen is what was said."""

import errno
import re
import signal

from tests.seccomp.hostile.play import INPUT, Seen
from tests.seccomp.hostile.table import DIES, DOES, Deed

REFUSALS = ("not a static x86_64 ELF executable: ", "not a WebAssembly module: ", "module: ")


def fault(deed: Deed, level: str, seen: Seen) -> str:
    """Why this is not how the program should end in the jail; "" if it is."""
    wanted = deed.at(level).split("|")
    if not any(_is(one, deed, seen) for one in wanted):
        return f"should be {deed.at(level)}, is {seen}"
    if seen.error:
        return "" if "\n" not in seen.error else f"more than a line: {seen.error!r}"
    if (seen.status is None) == (seen.signal is None):
        return f"neither or both of status and signal: {seen}"
    if seen.bytes_out < seen.read or (seen.bytes_in > len(INPUT) and not _is_fed(deed)):
        return f"not the bytes that were counted: {seen}"
    return ""


def _is(wanted: str, deed: Deed, seen: Seen) -> bool:
    escaped = "escaped" in seen.stdout
    if wanted == "refused" and deed.kind != "python":
        return seen.error.startswith(REFUSALS)
    if wanted == "not started":
        return seen.error.startswith("the jail failed at exec: ")
    if seen.error:
        return False
    if wanted == "keeper":
        return (seen.signal, seen.why) == (signal.SIGKILL, "killed by its keeper") and not escaped
    if wanted == "memory limit":
        return seen.why.startswith("killed at its memory limit of ") and seen.signal == 9 and not escaped
    if wanted == "thread limit":
        return seen.why.startswith("killed at its limit of ") and seen.signal == 9 and not escaped
    if wanted == "refused":
        return (seen.stdout, seen.status, seen.why) == ("refused", 0, "exited with 0")
    if wanted.startswith("exits "):
        return (seen.status, seen.why) == (int(wanted[6:]), f"exited with {wanted[6:]}")
    if wanted.startswith("raises "):
        return seen.status == 1 and not escaped and last_exception(seen.stderr) == wanted[7:]
    if escaped or (deed.kind == "native" and wanted.startswith("SIG") and "refused" in seen.stdout):
        return False
    if wanted == "SIGSYS":
        return (seen.signal, seen.why) == (signal.SIGSYS, "killed by seccomp (SIGSYS)")
    if wanted == "SIGKILL":
        return (seen.signal, seen.why) == (
            signal.SIGKILL,
            "killed by SIGKILL (its own, or for want of memory)",
        )
    if wanted.startswith("SIG"):
        return (seen.signal, seen.why) == (signal.Signals[wanted], f"killed by {wanted}")
    if wanted.startswith("signal "):
        return (seen.signal, seen.why) == (int(wanted[7:]), f"killed by {wanted}")
    return (seen.stdout, seen.status) == (f"ready\nrefused {getattr(errno, wanted)}\n", 0)


def _is_fed(deed: Deed) -> bool:
    return "keeper" in deed.outcome or "endless_input" in deed.name


def last_exception(text: str) -> str:
    """The name of the exception that a traceback ends with."""
    names = re.findall(r"^([A-Za-z_.]+)(?::|$)", text, re.MULTILINE)
    return names[-1] if names else ""


def control_fault(deed: Deed, seen: Seen) -> str:
    """Why the same program, outside of the jail, was no control; "" if it was one."""
    if "keeper" in deed.outcome:
        good = "begun" in seen.stdout + seen.stderr and seen.why == "goes on"
    elif deed.control == DOES:
        good = "escaped" in seen.stdout
    elif deed.control == DIES:
        good = "refused" not in seen.stdout and any(_ends(one, seen) for one in _every(deed.outcome))
    elif deed.kind == "native" and not deed.program and not deed.name.startswith("elf_"):
        good = "escaped" in seen.stdout or "refused" in seen.stdout
    else:  # a source that fails, an executable that the kernel does not take: it came so far
        good = seen.error != "" or seen.status is not None or seen.signal is not None
    return "" if good else f"the control failed: {seen}"


def _every(outcome: str) -> list[str]:
    return re.split(r"[|;] ?", re.sub(r"\b[ABC]: ", "", outcome))


def _ends(wanted: str, seen: Seen) -> bool:
    if wanted.startswith("exits "):
        return seen.status == int(wanted[6:])
    if wanted.startswith("signal "):
        return seen.signal == int(wanted[7:])
    return wanted.startswith("SIG") and seen.signal == signal.Signals[wanted]
