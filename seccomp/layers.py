"""Which layers of the jail work on this machine, found by trying each one."""

import errno
import json
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from seccomp import _jail
from seccomp.cgroups import Group, find_place
from seccomp.program import JailError, Limits

_BITS = {"namespaces": _jail.NAMESPACES, "landlock": _jail.LANDLOCK, "seccomp": _jail.SECCOMP}
_LEVELS = {"A": ("namespaces", "landlock", "seccomp"), "B": ("landlock", "seccomp"), "C": ("seccomp",)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: does it work here; `why` says what it does, or why it does not and how to get it."""

    name: str
    works: bool
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `probe` found. `level` is A (all layers), B (Landlock and seccomp), C (seccomp alone) or "".
    Machine code and Python are run at A and B only, wasm at C too."""

    layers: tuple[Layer, ...]
    level: str

    def missing(self, least: str = "B") -> str:
        """Return one line: what stands in the way of level `least`, or "" if nothing does."""
        if self.level and self.level <= least:
            return ""
        matter = (layer for layer in self.layers if not layer.works and layer.name != "cgroup")
        return "; ".join(f"{layer.name}: {layer.why}" for layer in matter)


def probe(at_most: str = "A") -> Report:
    """Try every layer in a process of its own, with the code that a start uses, and say what works.

    `at_most` (A, B, C) leaves out the layers above that level. Cgroups do not change the level; to try them
    may move this process into a new group, once. Takes some 50 ms, blocking. JailError if Python itself
    cannot be started for it.
    """
    if at_most not in _LEVELS:
        raise ValueError(f"at_most is {at_most!r}: must be A, B or C")
    found = _try_layers()
    layers = [_user_layer(found["user"])]
    for name in _BITS:
        if name not in _LEVELS[at_most]:
            layers.append(Layer(name, False, f"left out: the level was to be at most {at_most}"))
        else:
            layers.append(_layer(name, found.get(name)))
    layers.append(_cgroup_layer(found.get("cgroup")))
    works = {layer.name for layer in layers if layer.works}
    levels = [level for level, needs in _LEVELS.items() if works >= {"user", *needs}]
    return Report(tuple(layers), levels[0] if levels else "")


def mask(report: Report) -> int:
    """Return the working layers as the bits that `_jail.keep` takes."""
    return sum(_BITS.get(layer.name, 0) for layer in report.layers if layer.works)


def _try_layers() -> dict[str, tuple[str, int]]:
    from seccomp.launcher import zygote_command, zygote_environment

    place = find_place()
    with ExitStack() as after:
        join = -1
        if place.path:
            group = Group(place, Limits(64), 8)
            after.callback(group.remove)
            join = group.join
        done = subprocess.run(
            zygote_command("probe", str(join)),
            env=zygote_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[join] if place.path else [],
            cwd="/",
            timeout=60,
            check=False,
        )
    if done.returncode != 0:
        raise JailError(f"the probe of the jail failed: {done.stderr.decode(errors='replace').strip()}")
    return {name: (step, error) for name, (step, error) in json.loads(done.stdout).items()}


def _cgroup_layer(found: tuple[str, int] | None) -> Layer:
    if found is None:
        why = find_place().why or "not tried, for want of an ordinary user"
        return Layer("cgroup", False, f"{why}; memory and threads are bounded without it")
    return _layer("cgroup", found)


def _user_layer(found: tuple[str, int]) -> Layer:
    if found[0] == "started":
        return Layer("user", True, "programs run as an ordinary user")
    return Layer(
        "user",
        False,
        f"root here cannot become an ordinary user ({_name(found[1])}): run it as one",
    )


def _layer(name: str, found: tuple[str, int] | None) -> Layer:
    if found is None:
        return Layer(name, False, "not tried, for want of an ordinary user")
    step, error = found
    if step == "started":
        return Layer(name, True, _DOES[name])
    remedy = _REMEDY[name](error)
    if step == "meter":
        remedy = "a program's memory cannot be seen here: mount /proc without hidepid"
    return Layer(name, False, f"failed at {step} ({_name(error)}): {remedy}")


def _name(error: int) -> str:
    return errno.errorcode.get(error, str(error))


def _namespaces_remedy(error: int) -> str:
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "AppArmor forbids user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "user namespaces are for root only: sysctl kernel.unprivileged_userns_clone=1"
    if _setting("user/max_user_namespaces") == "0":
        return "user namespaces are turned off: sysctl user.max_user_namespaces=10000"
    if error == errno.EINVAL:
        return "this kernel was built without some of the namespaces"
    return "a container's own rules may forbid user namespaces: allow them, or run outside of it"


def _landlock_remedy(error: int) -> str:
    if error == errno.EOPNOTSUPP:
        return "Landlock is built in but off: add landlock to the kernel's lsm= parameter"
    if error == errno.ENOSYS:
        return "this kernel has no Landlock: use Linux 5.13 or later, built with it"
    return "a container's own rules may forbid Landlock: allow it, or run outside of it"


def _seccomp_remedy(error: int) -> str:
    if error in (errno.EINVAL, errno.ENOSYS):
        return "this kernel has no seccomp filters: use one built with CONFIG_SECCOMP_FILTER"
    return "nothing can be run without it"


def _setting(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return ""  # this kernel has no such setting


def _cgroup_remedy(error: int) -> str:
    return "this kernel is too old to hand one on, or some rule forbids it; start it as an ordinary user"


_DOES = {
    "namespaces": "own user, processes, network, empty root directory",
    "landlock": "no file, no port, even if one could be named",
    "seccomp": "no system call but those for computing",
    "cgroup": "memory and threads bounded by the kernel too",
}
_REMEDY = {
    "namespaces": _namespaces_remedy,
    "landlock": _landlock_remedy,
    "seccomp": _seccomp_remedy,
    "cgroup": _cgroup_remedy,
}
