"""Queries: bad arguments are refused by name, nobody reads another's account, replies are bounded."""

from typing import Any

import pytest

from events.records import AskPlaced, Deposited, Event
from events.wire import dumps, loads
from projections import queries
from projections.store import Store, rebuild
from tests.projections.journal import BUYER, OPERATOR, SELLER, commits, opening, trading


@pytest.fixture(scope="module")
def store() -> Any:
    with rebuild(commits(*opening(), *trading())) as made:
        yield made


def ask(store: Store, key: Any, what: str, arguments: Any = None) -> Any:
    return loads(queries.reply(store, key.public, what, b"" if arguments is None else dumps(arguments)))


@pytest.mark.parametrize(
    ("what", "arguments", "error"),
    [
        ("nothing", {}, "'nothing': there is no such query; there are status, book"),
        ("status", [], "arguments: a JSON object must be sent"),
        ("status", {"depth": 1}, "'depth': status has no such argument; it has none"),
        ("book", {"most": 0}, "most: must be a whole number from 1 to 10000"),
        ("orders", {"all": 1}, "all: must be true or false"),
        ("orders", {"most": 1001}, "most: must be a whole number from 1 to 1000"),
        ("contracts", {"after": -1}, "after: must be a whole number"),
        ("contracts", {"after": 1.0}, "after: must be a whole number"),
        ("statement", {"since": "1"}, "since: must be a whole number"),
        ("statement", {"since": 5, "until": 4}, "until: 4 is before since, 5"),
        ("feed", {"since": None}, "since: must be a whole number"),
        ("answer", {"session": 1}, "number: is missing"),
        ("answer", {"session": 1, "number": 2**53}, "number: must be a whole number"),
        ("account", {"account": "me"}, "account: must be an account's public key"),
        ("account", {"account": SELLER.public}, "account: only the operator may ask about another's"),
        ("statement", {"account": "bank"}, "account: only the operator may ask about another's"),
        ("status", {"account": SELLER.public}, "'account': status has no such argument"),
        ("accounts", {}, "accounts: only the operator may ask this"),
    ],
)
def test_refused(store: Store, what: str, arguments: Any, error: str) -> None:
    answer = ask(store, BUYER, what, arguments)
    assert answer.keys() == {"error"}
    assert answer["error"].startswith(error)
    assert "\n" not in answer["error"]


def test_bytes_that_are_no_json(store: Store) -> None:
    for data in (b"{", b"\xff\xff", b"{}{}", b"1"):
        assert loads(queries.reply(store, BUYER.public, "status", data))["error"].startswith("arguments:")


def test_the_operator_reads_for_others(store: Store) -> None:
    for what in ("account", "statement", "orders", "contracts"):
        theirs = ask(store, OPERATOR, what, {"account": BUYER.public})
        own = ask(store, BUYER, what, {"account": BUYER.public})
        assert theirs["result"] == own["result"] == ask(store, BUYER, what)["result"]
        assert (theirs["feed"], own["feed"]) == (1, 7)
        unknown = ask(store, OPERATOR, what, {"account": "fees"} if what == "orders" else None)
        assert ("error" in unknown) == (what != "orders")


def test_lists_are_cut_and_go_on() -> None:
    many: list[Event] = [AskPlaced(n, SELLER.public, "box", 1 + n, 1, 0) for n in range(1, 2501)]
    with rebuild(commits(*opening(), many)) as store:
        after, seen, pages = 0, [], 0
        while True:
            answer = ask(store, SELLER, "orders", {"after": after})
            seen += [row["order"] for row in answer["result"]]
            pages += 1
            if "more" not in answer:
                break
            after = answer["more"]
        assert seen == list(range(1, 2501))
        assert pages == 3


def test_pages_are_cut_by_size_too(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    whole = ask(store, BUYER, "feed")["result"]
    monkeypatch.setattr(queries, "MOST_PAGE_BYTES", 1)
    cut = ask(store, BUYER, "feed")
    assert cut["result"] == whole[:1]
    assert cut["more"] == 1


def test_a_reply_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(queries, "MOST_REPLY_BYTES", 200)
    assert "ask for less at once with `most`" in ask(store, BUYER, "statement")["error"]


def test_the_largest_page_fits() -> None:
    lines: list[Event] = [Deposited(BUYER.public, 10**15 - n, "\u20ac" * 200) for n in range(1200)]
    with rebuild(commits(*opening(), lines)) as store:
        answer = ask(store, BUYER, "statement")
        rest = ask(store, BUYER, "statement", {"after": answer["more"]})
    assert len(answer["result"]["lines"]) == answer["more"]
    assert len(answer["result"]["lines"]) + len(rest["result"]["lines"]) == 1201
