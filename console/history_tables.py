"""Replays and differences as tables for people; programs take --json."""

from typing import Any

from console import tables
from console.moments import spoken
from events.cli import credits
from events.terminal import visible
from events.wire import dumps
from projections.diff import MONEY

MOST_ROWS = 40  # of one table of a difference; --json has them all
CREDITS = frozenset({"amount", "fee", "free", "held", "hourly", "price", "weight"})
Row = dict[str, Any]


def moment(name: str, row: Row) -> None:
    """Which moment it is."""
    clock, tick = f"{row['now_us'] / 1e6:.3f} s", spoken(row["tick_us"])
    tables.console.print(f"{name}: commit {row['commit']}, market time {clock}, tick of {tick}")


def replayed(then: Row) -> None:
    """Everything as of a moment."""
    moment("as of", then)
    if then["status"]["terms"] is not None:
        tables.status(then["status"] | {"commit": then["commit"]})
    tables.accounts(then["accounts"])
    tables.book(then["book"])
    tables.machines(then["machines"])
    contracts("contracts", then["contracts"], names(then["accounts"]))
    if "statement" in then:
        tables.statement(then["statement"])


def names(accounts: list[Row]) -> dict[str, str]:
    """The accounts' names by key."""
    return {row["account"]: row["name"] for row in accounts}


def contracts(title: str, rows: list[Row], called: dict[str, str]) -> None:
    """Contracts with both sides."""
    cells: list[list[object]] = [
        [
            row["contract"], called.get(row["buyer"], row["buyer"]), called.get(row["seller"], row["seller"]),
            row["machine"], credits(row["price"]), row["hour"], f"{row['until_us'] / 1e6:.3f} s",
            "started" if row["started"] else "sent" if row["sent"] else "opened",
        ]
        for row in rows
    ]  # fmt: skip
    _cut(title, "contract> buyer seller machine price> hour> until> program", cells)


def changed(found: Row) -> None:
    """What is different between two moments of one log."""
    moment("from", found["from"])
    moment("to", found["to"])
    _cut("events", "event number>", [[kind, number] for kind, number in found["events"].items()])
    money = [[kind, moved["events"], credits(moved["amount"])] for kind, moved in found["money"].items()]
    _cut("money moved", "event number> credits>", money)
    _cut(
        "accounts changed",
        "name free> held> reputation> suspended>",
        [_account(row) for row in found["accounts"]],
    )
    for part, new, gone in (
        ("orders", "placed", "gone"),
        ("contracts", "opened", "ended"),
        ("machines", "stated", "gone"),
    ):
        for word in (new, gone):
            _part(part, word, found[part][word])
        _cut(f"{part} changed", f"{part[:-1]} what", [_change(row) for row in found[part]["changed"]])


def _part(part: str, word: str, rows: list[Row]) -> None:
    title = f"{part} {word}"
    if part == "contracts":
        contracts(title, rows, {})
    elif part == "orders":
        cells: list[list[object]] = [
            [row["order"], row["side"], row["account"][:12], row["size"], credits(row["price"]),
             row.get("reason", "")]
            for row in rows
        ]  # fmt: skip
        _cut(title, "order> side account CPUs> price> reason", cells)
    else:
        _cut(title, "machine CPUs>", [[_name(row), row["cpus"]] for row in rows])


def _account(row: Row) -> list[object]:
    """Before and after, where it changed."""

    cells = [" -> ".join(said(name, value) for value in row[name]) if name in row else "" for name in MONEY]
    return [row["name"] + (" (new)" if row["is_new"] else ""), *cells]


def _change(row: Row) -> list[object]:
    before, after = row["before"], row["after"]
    different = [name for name in after if before[name] != after[name]]
    return [_name(after), ", ".join(_turned(name, before[name], after[name]) for name in different)]


def _turned(name: str, before: object, after: object) -> str:
    return f"{name.removesuffix('_us')} {said(name, before)} -> {said(name, after)}"


def said(name: str, value: Any) -> str:
    """A member's value for a person: money as credits, times as seconds, lists and objects as words."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{key}={said(key, part)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        flat = all(isinstance(part, str | int) for part in value)
        return (" ".join(map(str, value)) if flat else dumps(value).decode()) or "none"
    if not isinstance(value, int):
        return str(value)
    if name == "tick_us":
        return spoken(value)
    if name.endswith("_us"):
        return f"{value / 1e6:.3f} s" if value or name != "expires_us" else "never"
    if name == "reputation" or name.endswith("_ppm"):
        return tables.share(value)
    return credits(value) if name in CREDITS else str(value)


def _members(row: Row) -> str:
    return ", ".join(f"{name} {said(name, value)}" for name, value in row.items())


def _name(row: Row) -> object:
    return row.get("order") or row.get("contract") or f"{row['name']} {row['machine']}"


def differs(found: Row) -> None:
    """Where two logs begin to differ."""
    if found["same"]:
        print(f"the same: {found['commits']} commits, byte for byte")
        return
    print(f"the first {found['commits']} commits are the same, byte for byte")
    for name in "ab":
        head = found["commit"][name]
        print(f"{name}: {'the log has ended' if head is None else _members(head)}")
    if found["event"] is None:
        print("the events are the same in both: it is the commits' heads or borders that differ")
        return
    for name in "ab":
        event = found["event"][name]
        print(f"first event that differs, {name}: {'no event' if event is None else _happened(event)}")


def _happened(found: Row) -> str:
    event = dict(found["event"])
    return visible(
        f"commit {found['commit']}, request {found['request']}: {event.pop('kind')}: {_members(event)}"
    )


def _cut(title: str, columns: str, cells: list[list[object]]) -> None:
    """A table of at most MOST_ROWS rows."""
    tables.table(title, columns, cells[:MOST_ROWS])
    if len(cells) > MOST_ROWS:
        tables.console.print(f"... and {len(cells) - MOST_ROWS} more; --json has them all")
