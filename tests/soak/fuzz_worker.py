"""One decoder under one engine, in a process of its own; started by `tests.soak.fuzz`.

What it does is in a file that outlives it: how many inputs, and the last of them.
"""

from __future__ import annotations

import argparse
import importlib
import mmap
import os
import random
import resource
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.soak.decoders import Target

WATCHED = ("events", "exchange", "projections", "links", "buyer", "seller_node", "seccomp")
MODULES = ("requests", "records", "links", "clients", "files", "kept", "jail")
HANG_S = 1.0  # of CPU time, for one input
MEMORY = 4 << 30  # bytes of address space
TRAIL_BYTES = 1 << 26  # of inputs since the check was made anew
_HEAD = struct.Struct("<QQ")  # inputs done, bytes of the trail


class HangError(Exception):
    """An input took too long."""


class Ledger:
    """A file that another process can read at any time: inputs done, and the inputs of the check at work."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            os.ftruncate(file.fileno(), _HEAD.size + TRAIL_BYTES)
            self._map = mmap.mmap(file.fileno(), 0)
        self.done, self._used = 0, 0
        self.clear()

    def clear(self) -> None:
        """The check was made anew."""
        self._used = 0
        _HEAD.pack_into(self._map, 0, self.done, 0)

    def add(self, data: bytes) -> bool:
        """An input that is about to be tried; False where there is no room."""
        end = _HEAD.size + self._used + 4 + len(data)
        if end > len(self._map):
            return False
        self._map[end - len(data) - 4 : end] = len(data).to_bytes(4, "little") + data
        self._used = end - _HEAD.size
        _HEAD.pack_into(self._map, 0, self.done, self._used)
        return True

    def count(self) -> None:
        """It is done."""
        self.done += 1
        _HEAD.pack_into(self._map, 0, self.done, self._used)


def read_ledger(path: Path) -> tuple[int, bytes]:
    """Inputs done, and the trail."""
    with path.open("rb") as file:
        done, used = _HEAD.unpack(file.read(_HEAD.size))
        return done, file.read(used)


def read_done(path: Path) -> int:
    """Inputs done."""
    try:
        with path.open("rb") as file:
            return int(_HEAD.unpack(file.read(_HEAD.size))[0])
    except (OSError, struct.error):  # not begun yet
        return 0


def inputs_of(trail: bytes) -> list[bytes]:
    """The inputs of a trail."""
    found, at = [], 0
    while at < len(trail):
        size = int.from_bytes(trail[at : at + 4], "little")
        found.append(trail[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class Runner:
    """Tries inputs; a fault leaves as an exception, with its text in `report`."""

    def __init__(self, target: Target, ledger: Ledger, report: Path) -> None:
        self._target, self._ledger, self._report = target, ledger, report
        self._check = target.make()
        self._tried = 0
        signal.signal(signal.SIGPROF, self._hang)

    def __call__(self, data: bytes) -> None:
        """Try one."""
        target, ledger = self._target, self._ledger
        if not target.fresh:
            ledger.clear()
        elif self._tried % target.fresh == 0:
            self._begin()
        self._tried += 1
        if not ledger.add(data):
            self._begin()
            ledger.add(data)
        try:
            signal.setitimer(signal.ITIMER_PROF, HANG_S)
            self._check(data)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except BaseException:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._report.write_text(traceback.format_exc(), "utf-8", "backslashreplace")
            raise
        ledger.count()

    def _begin(self) -> None:
        self._check = self._target.make()
        self._ledger.clear()

    @staticmethod
    def _hang(number: int, frame: Any) -> None:
        raise HangError(f"more than {HANG_S:g} s of CPU time for one input")


def targets() -> dict[str, Target]:
    """All targets by name."""
    found = [
        target
        for name in MODULES
        for target in importlib.import_module(f"tests.soak.decoders.{name}").TARGETS
    ]
    return {target.name: target for target in found}


def by_hypothesis(runner: Runner, target: Target, inputs: int, seed: int) -> None:
    """Valid messages with a few things changed, and bytes; a fault is made small."""
    import hypothesis
    from hypothesis import strategies as st

    from tests.soak.decoders import WORDS
    from tests.soak.mutation import altered

    whole = st.builds(
        altered, st.sampled_from(target.seeds()), st.randoms(use_true_random=False), st.just(WORDS)
    )
    phases = [hypothesis.Phase.generate] if target.fresh else list(hypothesis.Phase)
    rules = hypothesis.settings(
        max_examples=inputs, deadline=None, database=None, phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    hypothesis.seed(seed)(
        rules(hypothesis.given(whole | st.binary(max_size=200))(lambda data: runner(data)))
    )()


def by_atheris(runner: Runner, target: Target, inputs: int, seed: int, directory: Path) -> None:
    """Inputs that lead to lines not seen before are kept, and changed further. Never returns."""
    import atheris

    from tests.soak.decoders import WORDS
    from tests.soak.mutation import MOST_INPUT, altered

    corpus = directory / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    words = directory / f"{target.name}.dict"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))

    def mutator(data: bytes, most: int, number: int) -> bytes:
        dice = random.Random(number)
        if dice.random() < 0.4:
            return bytes(atheris.Mutate(data, most))
        return altered(data, dice, WORDS)[:most]

    options = [
        f"-runs={inputs}", f"-seed={seed % (1 << 32) or 1}", f"-max_len={MOST_INPUT}", f"-dict={words}",
        "-timeout=1000000", "-rss_limit_mb=2048", f"-artifact_prefix={directory}/{target.name}-", str(corpus),
    ]  # fmt: skip
    more = {"custom_mutator": mutator} if target.json else {}
    atheris.Setup([sys.argv[0], *options], runner, **more)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.fuzz_worker", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("engine", choices=("atheris", "hypothesis"))
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if given.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=list(WATCHED)):
            found = targets()
    else:
        found = targets()
    target, name = found[given.target], f"{given.target}-{given.engine}"
    ledger = Ledger(given.directory / f"{name}.ledger")
    runner = Runner(target, ledger, given.directory / f"{name}.fault")
    if given.engine == "atheris":
        by_atheris(runner, target, given.inputs, given.seed, given.directory)
    else:
        by_hypothesis(runner, target, given.inputs, given.seed)


if __name__ == "__main__":
    main()
