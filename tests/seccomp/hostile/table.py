"""All hostile programs, and what is said of each."""

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("reach", "processes", "threads", "kernel", "bombs", "honesty")
_DEED = re.compile(r'^DEED\((\w+), (\w+), "((?:[^"\\]|\\.)*)", (\w+), "([^"]+)"\)', re.MULTILINE)
_FAMILY = re.compile(r'^#define (\w+) "([^"]+)"$', re.MULTILINE)

DOES, ASKS, DIES = "DOES", "ASKS", "DIES"
CONTROLS = {
    DOES: "succeeds",
    ASKS: "the kernel answers",
    DIES: "ends so as well",
}


@dataclass(frozen=True)
class Deed:
    """One program. `control` is what it does outside of the jail, as an ordinary user. `outcome` is how it
    ends in the jail: a signal, an errno, `raises` an exception, `keeper` (killed at the end of its time),
    `exits` with a status, `refused` (never started); `A: ...; B: ...` where levels differ, `x|y` where
    machines do."""

    kind: str
    family: str
    name: str
    tries: str
    control: str
    outcome: str
    program: bytes = b""  # where it is no function of the C files

    def at(self, level: str) -> str:
        """The outcome at a level; "" where it does not run."""
        if ": " not in self.outcome:
            return self.outcome
        return dict(part.split(": ") for part in self.outcome.split("; ")).get(level, "")


def native() -> list[Deed]:
    """The functions of the C files."""
    found = []
    for source in SOURCES:
        text = (HERE / f"{source}.c").read_text("utf-8")
        families = dict(_FAMILY.findall(text))
        for name, family, tries, control, outcome in _DEED.findall(text):
            found.append(Deed("native", families[family], name, tries, control, outcome))
    return found


def every() -> list[Deed]:
    """All programs of all kinds."""
    from tests.seccomp.hostile import executables, pythons, wasms

    return [*native(), *executables.deeds(), *pythons.deeds(), *wasms.deeds()]


def families() -> dict[str, list[Deed]]:
    """All programs by family."""
    found: dict[str, list[Deed]] = {}
    for deed in every():
        found.setdefault(deed.family, []).append(deed)
    return found
