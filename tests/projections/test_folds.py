"""Every projection, by hand-written commits."""

from collections.abc import Sequence
from typing import Any

import pytest

from events.records import (
    AccountReinstated,
    AccountSuspended,
    AskAmended,
    AskPlaced,
    BidAmended,
    BidPlaced,
    ClockMoved,
    ContractEnded,
    ContractOpened,
    Deposited,
    Event,
    Halted,
    MachineStated,
    OrderClosed,
    OrdersAnswered,
    PartyBack,
    PartyLost,
    Resumed,
    RulesChanged,
    SignaturesChecked,
)
from events.wire import dumps, loads
from projections.queries import reply
from projections.store import Store, rebuild
from tests.projections.journal import (
    BUYER,
    EXCHANGE,
    HOUR,
    OPERATOR,
    OTHER,
    SELLER,
    answered,
    commits,
    opening,
    trading,
)


def ask(store: Store, key: Any, what: str, **arguments: Any) -> Any:
    """The result of a query that must be answered, and that is JSON of integers and strings."""
    answer = loads(reply(store, key.public, what, dumps(arguments)))
    assert "error" not in answer, answer
    plain(answer)
    return answer["result"]


def plain(value: object) -> None:
    assert not isinstance(value, float)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        plain(inner)


def made(*groups: Sequence[Event]) -> Store:
    return rebuild(commits(*groups))


def test_balances_and_reputation() -> None:
    with made(*opening(), *trading()) as store:
        buyer = ask(store, BUYER, "account")
        seller = ask(store, SELLER, "account")
        everyone = ask(store, OPERATOR, "accounts")
        third = ask(store, OTHER, "account")
        of_other = ask(store, OPERATOR, "account", account=SELLER.public)
    assert buyer == {
        "account": BUYER.public,
        "name": "buyer",
        "free": 4_800_000,
        "held": 0,
        "reputation": 500_000,
        "suspended": 0,
    }
    assert (seller["free"], seller["held"], seller["reputation"]) == (198_000, 0, 500_499)
    assert of_other == seller
    assert [row["account"] for row in everyone[:2]] == ["bank", "fees"]
    assert [row["free"] for row in everyone[:2]] == [-5_000_000, 2_000]
    assert sum(row["free"] + row["held"] for row in everyone) == 0
    assert everyone[2:] == [buyer, seller, third]


def test_the_sum_is_zero_after_every_commit() -> None:
    groups = [*opening(), *trading()]
    for count in range(1, len(groups) + 1):
        with made(*groups[:count]) as store:
            rows = ask(store, OPERATOR, "accounts")
            assert sum(row["free"] + row["held"] for row in rows) == 0


def test_statement() -> None:
    with made(*opening(), *trading()) as store:
        whole = ask(store, BUYER, "statement")
        part = ask(store, BUYER, "statement", since=3, until=6)
        nothing = ask(store, BUYER, "statement", since=6, until=7)
        fees = ask(store, OPERATOR, "statement", account="fees")
        others = ask(store, OPERATOR, "statement", account=SELLER.public)
        paged = loads(reply(store, BUYER.public, "statement", dumps({"most": 2})))
        rest = ask(store, BUYER, "statement", after=paged["more"])
    assert (whole["account"], whole["name"]) == (BUYER.public, "buyer")
    assert [(line["event"], line["contract"], line["hour"]) for line in whole["lines"]] == [
        ("deposited", 0, 0),
        ("contract_opened", 1, 1),
        ("contract_opened", 2, 1),
        ("hour_charged", 1, 1),
        ("hour_charged", 2, 1),
        ("contract_renewed", 1, 2),
        ("hold_returned", 1, 2),
    ]
    assert [(line["free"], line["held"]) for line in whole["lines"]] == [
        (5_000_000, 0),
        (-100_000, 100_000),
        (-100_000, 100_000),
        (0, -100_000),
        (0, -100_000),
        (-90_000, 90_000),
        (90_000, -90_000),
    ]
    assert whole["opening"] == {"free": 0, "held": 0}
    assert whole["closing"] == {"free": 4_800_000, "held": 0}
    assert [line["commit"] for line in whole["lines"]] == [2, 4, 4, 6, 6, 6, 8]
    assert [line["line"] for line in whole["lines"]] == list(range(1, 8))
    assert [line["now_us"] for line in whole["lines"]] == [0, 0, 0, HOUR, HOUR, HOUR, HOUR + 5]
    assert [line["text"] for line in whole["lines"]] == ["invoice 1", "box", "box", "", "", "", "lost"]
    assert {line["counterparty"] for line in whole["lines"]} == {"bank", SELLER.public}
    assert part["lines"] == whole["lines"][1:6]
    assert part["opening"] == {"free": 5_000_000, "held": 0}
    assert part["closing"] == {"free": 4_710_000, "held": 90_000}
    assert nothing["lines"] == []
    assert nothing["opening"] == nothing["closing"] == part["closing"]
    assert [line["free"] for line in fees["lines"]] == [1_000, 1_000]
    assert {line["counterparty"] for line in fees["lines"]} == {BUYER.public}
    assert others["closing"] == {"free": 198_000, "held": 0}
    assert paged["result"]["lines"] == whole["lines"][:2]
    assert paged["result"]["closing"] == rest["opening"]
    assert paged["result"]["lines"] + rest["lines"] == whole["lines"]


def test_orders_and_what_runs_of_them() -> None:
    groups = [*opening(), *trading()]
    running = []
    for count in range(3, len(groups) + 1):
        with made(*groups[:count]) as store:
            bid, offered = ask(store, BUYER, "orders"), ask(store, SELLER, "orders", all=True)
            running.append(([order["running"] for order in bid], offered[0]["running"]))
    assert running == [([], 0), ([2], 2), ([2], 2), ([1], 1), ([1], 1), ([0], 0), ([0], 0)]
    with made(*groups) as store:
        assert ask(store, SELLER, "orders") == []
        assert ask(store, BUYER, "orders") == [
            {
                "order": 2,
                "side": "bid",
                "price": 200_000,
                "size": 3,
                "running": 0,
                "machine": "",
                "minimums": {"memory_mb": 256},
                "flags": ["avx2"],
                "only": [],
                "blocked": [],
                "expires_us": 0,
                "closed": "",
            }
        ]
        assert ask(store, SELLER, "orders", all=True)[0]["closed"] == "cancelled"


def test_amended_orders() -> None:
    bid = BidPlaced(1, BUYER.public, 50, 2, {}, [], [], [], 9)
    offer = AskPlaced(2, SELLER.public, "box", 60, 4, 9)
    amended: list[Event] = [
        BidAmended(1, BUYER.public, 51, 1, {"jail": 3}, ["avx2"], [SELLER.public], [OTHER.public], 1),
        AskAmended(2, SELLER.public, 61, 3, 2),
        AskAmended(2, SELLER.public, 62, 2, 3),
    ]
    for groups in ([[bid, offer], amended], [[bid, offer, *amended]]):
        with made(*opening(), *groups) as store:
            (mine,), (offered,) = ask(store, BUYER, "orders"), ask(store, SELLER, "orders")
        assert (mine["price"], mine["size"], mine["minimums"], mine["flags"]) == (
            51,
            1,
            {"jail": 3},
            ["avx2"],
        )
        assert (mine["only"], mine["blocked"], mine["expires_us"]) == ([SELLER.public], [OTHER.public], 9)
        assert (offered["price"], offered["size"], offered["machine"]) == (62, 2, "box")


def test_contracts() -> None:
    groups = [*opening(), *trading()]
    with made(*groups[:6]) as store:
        mine = ask(store, BUYER, "contracts")
        both = ask(store, SELLER, "contracts", all=True)
        none = ask(store, OTHER, "contracts", all=True)
    assert mine == [
        {
            "contract": 1,
            "bid": 2,
            "ask": 1,
            "buyer": BUYER.public,
            "seller": SELLER.public,
            "machine": "box",
            "price": 90_000,
            "hour": 2,
            "until_us": 2 * HOUR,
            "sent": True,
            "started": True,
            "ended": "",
            "paid": 100_000,
        }
    ]
    assert none == []
    assert [(row["contract"], row["ended"], row["sent"], row["paid"]) for row in both] == [
        (1, "", True, 100_000),
        (2, "not renewed", False, 100_000),
    ]
    with made(*groups) as store:
        assert ask(store, BUYER, "contracts") == []
        assert [row["ended"] for row in ask(store, BUYER, "contracts", all=True)] == ["lost", "not renewed"]


def test_machines_and_presence() -> None:
    with made(*opening(), *trading()[:2]) as store:
        (machine,) = ask(store, OTHER, "machines")
        assert ask(store, OTHER, "status")["ready"] == 1
    assert machine == {
        "account": SELLER.public,
        "name": "seller",
        "machine": "box",
        "cpus": 4,
        "numbers": {"memory_mb": 512, "reputation": 500_000},
        "flags": ["avx2"],
        "ready": True,
        "asks": [{"order": 1, "price": 100_000, "size": 4, "running": 2}],
    }
    stated = MachineStated(SELLER.public, "box", 2, {"memory_mb": 100, "jail": 3}, [])
    with made(*opening(), *trading(), [stated, MachineStated(SELLER.public, "two", 1, {}, [])]) as store:
        first, second = ask(store, OTHER, "machines")
        assert (first["cpus"], first["numbers"]["memory_mb"], first["flags"]) == (2, 100, [])
        assert (first["ready"], first["asks"], first["numbers"]["reputation"]) == (False, [], 500_499)
        assert (second["machine"], second["ready"]) == ("two", False)
        page = loads(reply(store, OTHER.public, "machines", b'{"most":1}'))
        assert page["result"] == [first]
        assert ask(store, OTHER, "machines", after=page["more"]) == [second]


def test_depth_counts_what_is_funded_present_and_ready() -> None:
    base = opening()
    orders: list[Event] = [
        AskPlaced(1, SELLER.public, "box", 300_000, 4, 0),
        AskPlaced(2, SELLER.public, "away", 100_000, 4, 0),
        BidPlaced(3, BUYER.public, 200_000, 3, {}, [], [], [], 0),
        BidPlaced(4, BUYER.public, 200_000, 2, {}, [], [], [], 0),
        BidPlaced(5, BUYER.public, 5_000_001, 2, {}, [], [], [], 0),  # never funded
        BidPlaced(6, OTHER.public, 150_000, 1, {}, [], [], [], 0),  # has no money, and no client
    ]

    def book(*more: list[Event]) -> Any:
        with made(*base, orders, *more) as store:
            return ask(store, OTHER, "book")

    assert book() == {"bids": [[200_000, 5, 2]], "asks": [[300_000, 4, 1]]}
    rich: list[Event] = [Deposited(OTHER.public, 150_000, "x")]
    assert book(rich)["bids"] == [[200_000, 5, 2]]
    assert book(rich, [PartyBack(OTHER.public, "client")])["bids"] == [[200_000, 5, 2], [150_000, 1, 1]]
    assert book([PartyLost(BUYER.public, "client")])["bids"] == []
    assert book([PartyLost(SELLER.public, "box")])["asks"] == []
    assert book([PartyBack(SELLER.public, "away")])["asks"] == [[100_000, 4, 1], [300_000, 4, 1]]
    with made(*base, orders, [PartyBack(SELLER.public, "away")]) as store:
        cut = loads(reply(store, OTHER.public, "book", b'{"most":1}'))
        assert cut["result"]["asks"] == [[100_000, 4, 1]]
        assert cut["more"]
    with made(*opening(), *trading()) as store:
        assert ask(store, OTHER, "book") == {"bids": [[200_000, 3, 1]], "asks": []}


def test_a_size_below_what_runs_offers_nothing() -> None:
    shrunk: list[Event] = [AskAmended(1, SELLER.public, 100_000, 1, 1)]
    with made(*opening(), *trading()[:2], shrunk) as store:
        assert ask(store, OTHER, "book")["asks"] == []
        assert ask(store, SELLER, "orders")[0]["running"] == 2


def test_status_and_market() -> None:
    with rebuild([]) as store:
        assert ask(store, BUYER, "status")["terms"] is None
        assert ask(store, BUYER, "book") == {"bids": [], "asks": []}
    with made(*opening(), *trading(), [Halted("fire"), ClockMoved(HOUR + 7, 9)]) as store:
        assert ask(store, BUYER, "status") == {
            "now_us": HOUR + 7,
            "frozen": "",
            "halted": "fire",
            "rules": 1,
            "checked": 0,
            "epoch": 1,
            "terms": {
                "operator": OPERATOR.public,
                "exchange": EXCHANGE.public,
                "hour_us": HOUR,
                "lost_after_us": 1_000_000,
                "fee_ppm": 10_000,
            },
            "accounts": 3,
            "machines": 1,
            "ready": 0,
            "orders": 1,
            "contracts": 0,
        }
    with made(*opening(), trading()[5][:1], [Halted("fire"), Resumed("out")]) as store:
        status = ask(store, BUYER, "status")
        assert (status["frozen"], status["halted"]) == ("storm", "")


def test_answers_first_one_stays() -> None:
    again = [answered(BUYER, 1, "R12/number/other-content"), answered(BUYER, 0, "R12/session/form", 0)]
    with made(*opening(), [answered(BUYER, 1)], again) as store:
        assert ask(store, BUYER, "answer", session=7, number=1) == answered(BUYER, 1).wire()
        assert ask(store, BUYER, "answer", session=7, number=2) is None
        assert ask(store, BUYER, "answer", session=0, number=0) is None
        assert ask(store, SELLER, "answer", session=7, number=1) is None
        assert ask(store, OPERATOR, "answer", session=7, number=1) == answered(OPERATOR, 1).wire()


def test_answers_to_many_orders() -> None:
    each = [("", 5, [[9, 100]], 0, 0), ("R3/price/range", 0, None, 0, 0)]
    many = OrdersAnswered(BUYER.public, 7, 2, "c0", each)
    first = [answered(BUYER, 1), many, answered(SELLER, 2)]
    later = [answered(BUYER, 2, "R12/number/other-content"), answered(BUYER, 3)]
    with made(*opening(), first, later) as store:
        assert ask(store, BUYER, "answer", session=7, number=2) == loads(dumps(many.wire()))
        assert ask(store, BUYER, "answer", session=7, number=3) == answered(BUYER, 3).wire()
        assert ask(store, SELLER, "answer", session=7, number=2) == answered(SELLER, 2).wire()


def test_an_answer_is_found_in_a_commit_that_takes_several_messages() -> None:
    many: list[Event] = [answered(BUYER, n, "x" * 100, session=8) for n in range(1, 2001)]
    with made(*opening(), many) as store:
        assert len(ask(store, BUYER, "feed")) > 3
        for number in (1, 700, 2000):
            found = ask(store, BUYER, "answer", session=8, number=number)
            assert found == answered(BUYER, number, "x" * 100, session=8).wire()


def test_suspended_and_reinstated() -> None:
    suspended: list[Event] = [AccountSuspended(BUYER.public, 77), RulesChanged(2), SignaturesChecked(78)]
    with made(*opening(), suspended) as store:
        assert ask(store, BUYER, "account")["suspended"] == 77
        assert ask(store, SELLER, "account")["suspended"] == 0
        status = ask(store, OTHER, "status")
        assert (status["rules"], status["checked"]) == (2, 78)
        assert ask(store, BUYER, "feed")[-1]["events"] == [suspended[0].wire()]
    with made(*opening(), suspended, [AccountReinstated(BUYER.public, "a mistake")]) as store:
        assert ask(store, BUYER, "account")["suspended"] == 0


def test_pages_of_open_and_closed_orders_and_contracts_are_in_order() -> None:
    """An account that buys and sells: every page boundary, with what runs and what ended side by side."""
    bids: list[Event] = [BidPlaced(n, BUYER.public, 100, 9, {}, [], [], [], 0) for n in range(1, 9)]
    asks: list[Event] = [AskPlaced(10 + n, SELLER.public, "box", 100, 9, 0) for n in range(2)]
    asks.append(AskPlaced(12, BUYER.public, "box", 100, 9, 0))
    opened: list[Event] = []
    for n in range(1, 9):
        buys, sells, number = (BUYER, SELLER, 10) if n % 3 else (OTHER, BUYER, 12)
        opened.append(ContractOpened(n, n, number, buys.public, sells.public, "box", 100, HOUR))
    money: list[Event] = [Deposited(OTHER.public, 1000, "x")]
    ended: list[Event] = []
    for n in (2, 3, 6, 7):
        buyer, seller = opened[n - 1].accounts()
        ended.append(ContractEnded(n, buyer, seller, "lost"))
    closed: list[Event] = [OrderClosed(n, BUYER.public, "cancelled") for n in (1, 4, 5)]
    with made(*opening(), [*bids, *asks, *money, *opened], ended, closed) as store:
        for what, key, every, live in (
            ("orders", "order", [1, 2, 3, 4, 5, 6, 7, 8, 12], [2, 3, 6, 7, 8, 12]),
            ("contracts", "contract", [1, 2, 3, 4, 5, 6, 7, 8], [1, 4, 5, 8]),
        ):
            for wanted, all_of_them in ((every, True), (live, False)):
                for most in (1, 2, 3, 20):
                    found: list[int] = []
                    while page := ask(
                        store, BUYER, what, all=all_of_them, after=max(found, default=0), most=most
                    ):
                        found += [row[key] for row in page]
                    assert found == wanted
            assert [row["contract"] for row in ask(store, OTHER, "contracts", all=True)] == [3, 6]


@pytest.mark.parametrize("what", ["account", "statement", "orders", "contracts"])
def test_an_account_that_is_not_open(what: str) -> None:
    with made(*opening()) as store:
        answer = loads(reply(store, EXCHANGE.public, what, b""))
        assert answer == {"error": f"account: {EXCHANGE.public} is not open in this market"}
        for open_to_all in ("status", "book", "machines"):
            ask(store, EXCHANGE, open_to_all)
