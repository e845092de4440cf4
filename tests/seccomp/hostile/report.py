"""Writes what docs/security.md says of the hostile programs and of the filter, from what they are.

`python -m tests.seccomp.hostile.report` rewrites the generated parts; a test holds them to the code.
"""

import re
from collections import Counter
from pathlib import Path

from tests.docs.document import parts, replace
from tests.seccomp.hostile.reasons import REASONS
from tests.seccomp.hostile.table import CONTROLS, Deed, every, families

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs/security.md"
FILTER = ROOT / "seccomp/_filter.h"
_RULE = re.compile(r"^    \{SYS_(\w+), ([A-Z| ]+), (ALLOW|REFUSE\((\w+)\)), \{(.*?)\}\},", re.MULTILINE)
_KINDS = {
    "NATIVE": "native",
    "PYTHON": "Python",
    "WASM": "wasm",
    "ALONE": "native, alone in its namespace",
    "COMPILE": "wasm's compiler",
}


def programs() -> str:
    """Every program, by family."""
    lines = []
    for family, deeds in families().items():
        lines += [f"**{family[0].upper()}{family[1:]}** ({len(deeds)})", ""]
        lines += ["| program | tries to | A | B | C | outside |", "|---|---|---|---|---|---|"]
        for deed in deeds:
            ends = " | ".join(_ending(deed, level) for level in "ABC")
            lines.append(
                f"| `{deed.name}` | {deed.tries.replace('|', '/')} | {ends} | {CONTROLS[deed.control]} |"
            )
        lines.append("")
    return "\n".join(lines)


def _ending(deed: Deed, level: str) -> str:
    if level == "C" and deed.kind != "wasm":
        return "-"
    return deed.at(level).replace("|", " or ") or "-"


def counts() -> str:
    """How many there are, and how they end at level A."""
    deeds = every()
    kinds = Counter(deed.kind for deed in deeds)
    controls = Counter(deed.control for deed in deeds)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return (
        f"{len(deeds)} programs ({told}). Outside of the jail {controls['DOES']} of them succeed, "
        f"for {controls['ASKS']} the kernel answers, and {controls['DIES']} end in the same way.\n"
    )


def rules() -> dict[str, list[tuple[str, str, str]]]:
    """What the filter has for each system call: for whom, what it does, on what condition."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name, kinds, action, error, conditions in _RULE.findall(FILTER.read_text("utf-8")):
        names = ["all"] if kinds == "ALL" else [_KINDS[kind] for kind in kinds.split(" | ")]
        does = "allowed" if action == "ALLOW" else error
        found.setdefault(name, []).append((", ".join(names), does, "" if conditions == "{0}" else "if"))
    return found


def calls() -> str:
    """Every system call that does not kill, with its reason."""
    lines = ["| call | for whom, and what it gets | why |", "|---|---|---|"]
    for name, of_name in rules().items():
        told = "; ".join(dict.fromkeys(_does(rule) for rule in of_name))
        lines.append(f"| `{name}` | {told} | {REASONS[name]} |")
    return "\n".join([*lines, ""])


def _does(rule: tuple[str, str, str]) -> str:
    kinds, does, condition = rule
    return f"{kinds}: {does}{', by its arguments' if condition else ''}"


def allowed() -> str:
    """How many system calls reach the kernel's own code, by kind of program."""
    counts = []
    for told, kinds in (
        ("native programs", {"native"}),
        ("Python", {"Python"}),
        ("wasm that runs", {"wasm"}),
        ("wasm's compiler", {"wasm", "wasm's compiler"}),
    ):
        count = sum(
            any(does == "allowed" and {"all", *kinds} & set(who.split(", ")) for who, does, _ in of_name)
            for of_name in rules().values()
        )
        counts.append(f"{count} for {told}")
    return f"Calls that the kernel itself answers: {', '.join(counts)}; of more than 350 that it has.\n"


PARTS = {"programs": programs, "program counts": counts, "calls": calls, "call counts": allowed}


def main() -> None:
    """Rewrite the generated parts."""
    text = DOCUMENT.read_text("utf-8")
    assert set(parts(text)) == set(PARTS)
    DOCUMENT.write_text(replace(text, {name: make() for name, make in PARTS.items()}), "utf-8")


if __name__ == "__main__":
    main()
