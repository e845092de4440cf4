"""Writes what docs/protocol.md says of requests, events, refusals and queries, from the code that they are.

`python -m tests.docs.generate` rewrites the generated parts and docs/schemas/; a test holds them to the code.
"""

import json
import re
import typing
from collections.abc import Callable, Iterable

from events import requests as q
from events.profile import MEANING, SCREEN_NUMBERS, STATED_NUMBERS, Screen
from events.records import EVENTS, OrdersAnswered
from events.refusals import CODES
from projections.queries import QUERIES
from tests.docs.document import DOCUMENT, ROOT, replace
from tests.docs.meanings import ADVICE, EVENT_MEMBERS, RESULTS

SCREEN = tuple(Screen().body())
SCHEMAS = ROOT / "docs/schemas"
ROLES = {
    "trader": "any account",
    "operator": "the operator",
    "exchange": "the exchange's own service (not numbered, not answered)",
}
TYPES = {
    int: "integer",
    str: "text",
    bool: "true or false",
    list[str]: "list of texts",
    dict[str, int]: "object: name to integer",
    list[list[str]]: "list of [account, machine]",
    list[list[int]] | None: "list of [contract, price], or null",
    typing.get_type_hints(OrdersAnswered)["answers"]: "list of answers",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def default(member: q.Member) -> str:
    """What a member is where it is left out."""
    if member.default is q.REQUIRED:
        return "required"
    if member.default is None:
        whole = member.name in SCREEN
        return "stays; empty, where another part of the screen is given" if whole else "stays as it is"
    return f"`{json.dumps(member.default)}`"


def requests() -> str:
    """Every kind of request."""
    text = ""
    for kind in q.KINDS.values():
        rows = (
            (f"`{member.name}`", member.form.described(), default(member), member.rule, member.meaning)
            for member in kind.members
        )
        text += f"### `{kind.name}`\n\n{kind.purpose} By {ROLES[kind.role]}.\n"
        text += f"Schema: [schemas/{kind.name}.json](schemas/{kind.name}.json).\n\n"
        text += table(("member", "form", "if left out", "rule", "meaning"), rows) + "\n"
    return text


def events() -> str:
    """Every event."""
    text = ""
    for kind, record in EVENTS.items():
        hints = typing.get_type_hints(record)
        rows = (
            (f"`{name}`", TYPES[hints[name]], meaning(kind, name))
            for name in hints
            if name not in ("kind", "PARTIES")
        )
        told = ", ".join(f"`{name}`" for name in record.PARTIES)
        told = f"On the feed of {told}." if told else "On `feed.market`."
        told = "In JOURNAL only, on no feed." if kind == "clock_moved" else told
        text += f"### `{kind}`\n\n{' '.join((record.__doc__ or '').split())} {told}\n\n"
        text += table(("member", "form", "meaning"), rows) + "\n"
    return text


def meaning(kind: str, name: str) -> str:
    """What a member of an event means."""
    return EVENT_MEMBERS.get(f"{kind}.{name}") or EVENT_MEMBERS[name]


def refusals() -> str:
    """Every code."""
    rows = ((f"`{code}`", sentence, ADVICE[code]) for code, sentence in CODES.items())
    return table(("code", "why", "what to do"), rows)


def queries() -> str:
    """Every query."""
    text = ""
    for name, query in QUERIES.items():
        who = " The operator only." if query.operator_only else ""
        text += f"### `{name}`\n\n{RESULTS[name]}{who}\n\n"
        rows = [
            (
                f"`{argument}`",
                form.described(),
                "required" if argument in query.required else f"`{json.dumps(given)}`",
            )
            for argument, (form, given) in query.arguments.items()
        ]
        if query.about:
            rows.append(
                (
                    "`account`",
                    "an account's key, `bank` or `fees`; another than one's own: the operator only",
                    "one's own",
                )
            )
        text += table(("argument", "form", "if left out"), rows) + "\n" if rows else "No arguments.\n\n"
    return text


def profile() -> str:
    """The numbers of a profile."""
    rows = (
        (
            f"`{name}`",
            MEANING[name],
            "the seller, in `machine`" if name in STATED_NUMBERS else "the market",
        )
        for name in SCREEN_NUMBERS
    )
    return table(("number", "meaning", "who says it"), rows)


def schema(kind: str) -> str:
    """The JSON Schema of a kind of request, as the pydantic model gives it."""
    made = q.model(kind).model_json_schema()
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    text = json.dumps(whole, indent=2, ensure_ascii=True) + "\n"
    assert not re.search(r'"\$ref"', text), "a schema stands alone"
    return text


PARTS: dict[str, Callable[[], str]] = {
    "requests": requests,
    "events": events,
    "refusals": refusals,
    "queries": queries,
    "profile": profile,
}


def main() -> None:
    """Rewrite the document and the schemas."""
    made = {name: make() for name, make in PARTS.items()}
    DOCUMENT.write_text(replace(DOCUMENT.read_text("utf-8"), made), "utf-8")
    SCHEMAS.mkdir(exist_ok=True)
    for old in SCHEMAS.glob("*.json"):
        if old.stem not in q.KINDS:
            old.unlink()
    for kind in q.KINDS:
        (SCHEMAS / f"{kind}.json").write_text(schema(kind), "utf-8")


if __name__ == "__main__":
    main()
