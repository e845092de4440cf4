"""Queries: what may be asked on `query.<account>.<what>`, with which arguments, and the answers.

Every answer is read in one transaction and says as of which commit and feed numbers it is. Lists come in
pages: where one was cut, the answer's `more` is what to pass as `after` (a feed: as `since`) for the next.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from events.records import BANK, FEES
from events.requests import NUMBER, Account, Choice, Form, Integer, Truth
from events.wire import dumps, loads
from projections import accounts, contracts, feed, machines, market, orders
from projections.store import Store, cursor

MOST_REPLY_BYTES = 900 * 1024  # NATS takes 1 MiB by default
MOST_PAGE_BYTES = 800 * 1024  # of the rows in one page
MOST_ROWS = 1000
MOST_LEVELS = 10_000  # of prices on one side of the book


Forms = dict[str, tuple[Form, Any]]  # of arguments: form and default


class QueryError(Exception):
    """A query that is not answered; the text is one line that names the argument."""


class Asked(NamedTuple):
    """A checked query: by whom, about whom (the same but for the operator), and its arguments."""

    connection: Connection
    asker: str
    account: str
    arguments: dict[str, Any]


class Answer(NamedTuple):
    """The result; `more` is 0 where it is whole."""

    result: Any
    more: int = 0


@dataclass(frozen=True)
class Query:
    """What a query takes, how it is answered, and who may ask. `about`: it is about one account that is
    open, and the operator may name another's."""

    answer: Callable[[Asked], Answer]
    arguments: Forms = field(default_factory=dict)
    required: tuple[str, ...] = ()
    about: bool = False
    operator_only: bool = False


def page(rows: Iterable[tuple[int, dict[str, Any]]], most: int) -> Answer:
    """At most `most` of the (key, row), and at most MOST_PAGE_BYTES of them but one at least."""
    taken: list[dict[str, Any]] = []
    size = last = 0
    for key, row in rows:
        size += len(dumps(row))
        if taken and (len(taken) == most or size > MOST_PAGE_BYTES):
            return Answer(taken, last)
        taken.append(row)
        last = key
    return Answer(taken)


def status(connection: Connection) -> dict[str, Any]:
    """The market as a whole: clock, terms, and how many there are of what."""
    stated, ready = machines.machines_counted(connection)
    return market.status(connection) | {
        "accounts": accounts.accounts_open(connection),
        "machines": stated,
        "ready": ready,
        "orders": orders.orders_counted(connection),
        "contracts": contracts.contracts_running(connection),
    }


def _status(asked: Asked) -> Answer:
    return Answer(status(asked.connection))


def _book(asked: Asked) -> Answer:
    most = asked.arguments["most"]
    book = {f"{side}s": orders.depth(asked.connection, side, most + 1) for side in ("bid", "ask")}
    cut = any(len(levels) > most for levels in book.values())
    return Answer({side: levels[:most] for side, levels in book.items()}, most if cut else 0)


def _machines(asked: Asked) -> Answer:
    after, most = asked.arguments["after"], asked.arguments["most"]
    return page(
        (
            (place, row | {"asks": orders.open_asks(asked.connection, row["account"], row["machine"])})
            for place, row in machines.machine_rows(asked.connection, after=after, most=most)
        ),
        most,
    )


def _account(asked: Asked) -> Answer:
    return Answer(accounts.account_row(asked.connection, asked.account))


def _accounts(asked: Asked) -> Answer:
    after, most = asked.arguments["after"], asked.arguments["most"]
    return page(accounts.account_rows(asked.connection, after=after, most=most), most)


def _statement(asked: Asked) -> Answer:
    since, until, after, most = (asked.arguments[name] for name in ("since", "until", "after", "most"))
    if until < since:
        raise QueryError(f"until: {until} is before since, {since}")
    begin, last = (accounts.line_at(asked.connection, asked.account, commit) for commit in (since, until))
    begin = max(begin, min(after, last))
    rows, more = page(accounts.statement_lines(asked.connection, asked.account, begin, last, most), most)
    before = accounts.balance_after(asked.connection, asked.account, begin)
    return Answer(accounts.statement(asked.connection, asked.account, rows, before), more)


def _orders(asked: Asked) -> Answer:
    after, most, every = (asked.arguments[name] for name in ("after", "most", "all"))
    rows = orders.order_rows(asked.connection, asked.account, every=every, after=after, most=most)
    return page(rows, most)


def _contracts(asked: Asked) -> Answer:
    after, most, every = (asked.arguments[name] for name in ("after", "most", "all"))
    rows = contracts.contract_rows(
        asked.connection, account=asked.account, every=every, after=after, most=most
    )
    return page(rows, most)


def _feed(asked: Asked) -> Answer:
    since, most = asked.arguments["since"], asked.arguments["most"]
    return page(feed.message_rows(asked.connection, asked.asker, since=since, most=most), most)


def _market_feed(asked: Asked) -> Answer:
    since, most = asked.arguments["since"], asked.arguments["most"]
    return page(feed.message_rows(asked.connection, feed.EVERYBODY, since=since, most=most), most)


def _answer(asked: Asked) -> Answer:
    session, number = asked.arguments["session"], asked.arguments["number"]
    return Answer(feed.answer(asked.connection, asked.asker, session, number))


_AFTER: Forms = {"after": (Integer(0, NUMBER), 0), "most": (Integer(1, MOST_ROWS), MOST_ROWS)}
_SINCE: Forms = {"since": (Integer(0, NUMBER), 0), "most": (Integer(1, MOST_ROWS), 500)}
_ALL: Forms = {"all": (Truth(), False)}

QUERIES: dict[str, Query] = {
    "status": Query(_status),
    "book": Query(_book, {"most": (Integer(1, MOST_LEVELS), MOST_LEVELS)}),
    "machines": Query(_machines, _AFTER),
    "account": Query(_account, about=True),
    "accounts": Query(_accounts, _AFTER, operator_only=True),
    "statement": Query(
        _statement,
        {"since": (Integer(0, NUMBER), 0), "until": (Integer(0, NUMBER), NUMBER)} | _AFTER,
        about=True,
    ),
    "orders": Query(_orders, _ALL | _AFTER, about=True),
    "contracts": Query(_contracts, _ALL | _AFTER, about=True),
    "feed": Query(_feed, _SINCE),
    "market_feed": Query(_market_feed, _SINCE),
    "answer": Query(
        _answer,
        {"session": (Integer(0, NUMBER), None), "number": (Integer(0, NUMBER), None)},
        required=("session", "number"),
    ),
}


def reply(store: Store, asker: str, what: str, data: bytes) -> bytes:
    """The reply to a query of `asker`: {"commit", "feed", "market", "result"}, with "more" where the
    result was cut; or {"error": one line}."""
    try:
        query, arguments = _parse(what, data)
        with store.transaction() as connection:
            about = _about(connection, query, what, asker, arguments)
            result, more = query.answer(Asked(connection, asker, about, arguments))
            answer = {
                "commit": cursor(connection)[0],
                "feed": feed.last_number(connection, asker),
                "market": feed.last_number(connection, feed.EVERYBODY),
                "result": result,
            }
        answered = dumps(answer | ({"more": more} if more else {}))
        if len(answered) > MOST_REPLY_BYTES:
            raise QueryError(
                f"{what}: {len(answered)} bytes, a reply has at most {MOST_REPLY_BYTES}; "
                "ask for less at once with `most`, and go on with `after` or `since`"
            )
        return answered
    except QueryError as error:
        return dumps({"error": str(error)})


def _parse(what: str, data: bytes) -> tuple[Query, dict[str, Any]]:
    """The query and its arguments, defaults filled in. Raises QueryError."""
    query = QUERIES.get(what)
    if query is None:
        raise QueryError(f"{what[:40]!r}: there is no such query; there are {', '.join(QUERIES)}")
    try:
        given = loads(data) if data else {}
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise QueryError("arguments: a JSON object must be sent, as {}")
    forms = query.arguments | ({"account": (_WHOSE, "")} if query.about else {})
    for name in given:
        if name not in forms:
            raise QueryError(
                f"{name[:40]!r}: {what} has no such argument; it has {', '.join(forms) or 'none'}"
            )
        if not forms[name][0].holds(given[name]):
            raise QueryError(f"{name}: must be {forms[name][0].described()}")
    for name in query.required:
        if name not in given:
            raise QueryError(f"{name}: is missing")
    return query, {name: given.get(name, default) for name, (_, default) in forms.items()}


class _Whose(Choice):
    """An account's public key, or the bank or the fees."""

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return isinstance(value, str) and (value in self.words or Account().holds(value))

    def described(self) -> str:
        """What the value must be, in words."""
        return f"{Account().described()}, {super().described()}"


_WHOSE = _Whose((BANK, FEES))


def _about(connection: Connection, query: Query, what: str, asker: str, arguments: dict[str, Any]) -> str:
    """The account that the query is about. Raises QueryError where it may not be asked."""
    operator = market.operator(connection)
    if query.operator_only and asker != operator:
        raise QueryError(f"{what}: only the operator may ask this")
    about = str(arguments.get("account") or asker)
    if about != asker and asker != operator:
        raise QueryError("account: only the operator may ask about another's")
    if query.about and accounts.account_row(connection, about) is None:
        raise QueryError(f"account: {about} is not open in this market")
    return about
