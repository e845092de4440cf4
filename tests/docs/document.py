"""docs/protocol.md, and its parts that programs write, from `<!-- generated: NAME -->` to `<!-- end -->`."""

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs/protocol.md"
PART = re.compile(r"<!-- generated: ([a-z -]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def parts(text: str) -> dict[str, str]:
    """The generated parts of a document, by name."""
    return {found[1]: found[2] for found in PART.finditer(text)}


def replace(text: str, instead: Mapping[str, str]) -> str:
    """The document with these parts in place of its own. Raises KeyError for a part that it has not."""
    for name in instead.keys() - parts(text).keys():
        raise KeyError(name)

    def one(found: re.Match[str]) -> str:
        return f"<!-- generated: {found[1]} -->\n{instead.get(found[1], found[2])}<!-- end -->\n"

    return PART.sub(one, text)
