"""Drives several books in lockstep: every call goes to all, every answer and every error must be the same.

A screen that is kept has a *slot* here: the books may give it handles of their own.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

from exchange import book_records as r
from exchange.book import (
    ASK,
    BID,
    NO_BOUND,
    Book,
    BookError,
    Match,
    Results,
    Screen,
    UnsettledBook,
    make_book,
)
from exchange.book_twin import Book as Twin
from exchange.matcher_twin import Request
from exchange.twin_orders import PLAIN, Bid
from tests.exchange.book_oracle import AllPairs

NO_SLOT = 99_999  # under which nothing is kept
NO_HANDLE = 2**31 - 1
QUERIES = {"next_match", "depth", "depth_for", "best", "quote_bid", "quote_ask"}


def named(*names: str) -> dict[int, str]:
    """The words for numbers of `book_records`."""
    return {getattr(r, name): name for name in names}


WORDS = named("MATCH", "RESTS", "GONE", "EXPIRED")
KINDS = named(
    *("BID", "ASK", "AMEND", "CANCEL", "RETURN", "SETTLE", "ACCOUNT", "READY", "NUMBER", "EXPIRE"),
)
CODES = named(
    *("UNKNOWN", "DUPLICATE", "FINISHED", "BAD_VALUE", "WRONG_SIDE", "UNFUNDED", "NOT_WHOLE", "WOULD_MATCH"),
)
TERMS = {0: "STANDING", 1: "ONCE", 2: "IOC", 3: "FOK", 4: "MARKET", 8: "POST_ONLY", 9: "POST_ONLY"}


def request(kind: int, order: int = -1, **fields: int) -> Request:
    """A request; fields that are not named stand as in `book_records.request`, no screen in an AMEND."""
    if kind == r.AMEND:
        fields.setdefault("screen", -1)
    return Request(kind=kind, order=order, **fields)


class Lockstep:
    """The compiled book and its twin side by side, and the oracle with them while `oracle` is set."""

    def __init__(self, oracle: bool = True) -> None:
        self.twin = Twin()
        self.books: list[Book] = [make_book(), self.twin]
        self.results: list[Results | None] = [None for _ in self.books]
        self.truth = AllPairs() if oracle else None
        self.seen: Counter[str] = Counter()
        self.handles: dict[int, list[int]] = {0: [0 for _ in self.books]}  # slot -> handles, by book
        self.next_slot = 1

    # ---- told

    def call(self, name: str, *args: Any) -> Any:
        """Call all; return the one answer, or the error's type and text where all raised it."""
        return self._agreed(name, args, [args for _ in self.books])

    def _agreed(self, name: str, args: tuple[Any, ...], by_book: list[tuple[Any, ...]]) -> Any:
        answers = []
        for book, own in zip(self.books, by_book, strict=True):
            try:
                answers.append(getattr(book, name)(*own))
            except BookError as error:
                answers.append((type(error), str(error)))
        failed = isinstance(answers[0], tuple) and isinstance(answers[0][0], type)
        if failed and by_book[0] != by_book[-1]:  # a handle may be in the text
            answers = [(kind, re.sub(r"\d+", "#", text)) for kind, text in answers]
        if name != "keep_screen":
            assert all(answer == answers[0] for answer in answers), f"{name}{args}: {answers}"
        self.seen[answers[0][0].__name__ if failed else name] += 1
        if self.truth is not None and not failed and hasattr(self.truth, name):
            answer = getattr(self.truth, name)(*args)
            assert name not in QUERIES or answer == answers[0], f"{name}{args}: {answers[0]}, truly {answer}"
        return answers if name == "keep_screen" else answers[0]

    def keep(self, screen: Screen) -> int:
        """Keep a screen in all; return its slot here."""
        slot, self.next_slot = self.next_slot, self.next_slot + 1
        self.handles[slot] = self.call("keep_screen", screen)
        assert all(handle >= 0 for handle in self.handles[slot]), self.handles
        if self.truth is not None:
            self.truth.screens[slot] = screen
        return slot

    def drop(self, slot: int) -> None:
        """Drop a screen in all, or try to."""
        handles = self.handles.get(slot, [NO_HANDLE for _ in self.books])
        if isinstance(self._agreed("drop_screen", (slot,), [(handle,) for handle in handles]), tuple):
            assert slot in (0, NO_SLOT), f"slot {slot} could not be dropped"
            return
        del self.handles[slot]
        if self.truth is not None:
            del self.truth.screens[slot]

    def handle(self, slot: int, book: int) -> int:
        """A book's handle of a slot; negative ones stand for themselves."""
        return slot if slot < 0 else self.handles[slot][book] if slot in self.handles else NO_HANDLE

    def match(self, arriving: int = -1, partners_only: bool = False) -> Match | None:
        """Ask for the next match, as the engine does, and fold the answer."""
        found: Match | None = self.call("next_match", arriving, partners_only)
        if found is None:
            return None
        bid, ask, price, slots = found
        b, a = self.twin.find(bid), self.twin.find(ask)
        assert isinstance(b, Bid)
        partners = self.twin.partners.get((b, a), 0)  # type: ignore[arg-type]
        money = min(b.account.free, b.spend)
        assert 0 < slots <= min(b.open, a.open) and money - price * (slots - 1) >= b.price
        self._count_match(b, a, price, slots, partners, arriving)
        self.call("set_open", bid, b.open - slots)
        self.call("set_open", ask, a.open - slots)
        if b.spend != NO_BOUND:
            self.call("set_spend", bid, b.spend - price * slots)
        self.call("set_account", b.buyer, b.account.present, b.account.free - price * slots)
        if partners:
            self.call("add_partner", bid, ask, -slots)
        return found

    def _count_match(self, b: Bid, a: Any, price: int, slots: int, partners: int, arriving: int) -> None:
        self.seen["match"] += 1
        self.seen["match of partners"] += partners > 0
        self.seen["match of some of the slots had"] += partners > slots
        self.seen["match at the resting bid's price"] += arriving == a.id and price > a.price
        self.seen["match that money limits"] += slots < min(b.open, a.open, partners or a.open)
        self.seen["match that `spend` limits"] += slots < min(b.open, a.open, partners or a.open) and (
            b.spend < b.account.free
        )
        self.seen["match through a screen"] += b.screen != PLAIN
        cheapest = self.twin.best(ASK)
        self.seen["match past a cheaper ask"] += cheapest is not None and cheapest < a.price

    def match_all(self, arriving: int = -1) -> list[Match]:
        """Match until nothing is left, then settle."""
        found: list[Match] = []
        while (one := self.match(arriving)) is not None:
            found.append(one)
            assert len(found) < 100_000
        self.call("settled")
        return found

    # ---- asked

    def apply(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Apply the requests in all; `screen` in a request is a slot. Returns the results' rows."""
        answers = []
        for at, book in enumerate(self.books):
            raw = b"".join([r.REQUEST.pack(*q._replace(screen=self.handle(q.screen, at))) for q in requests])
            before = self.results[at]
            after = book.apply(raw) if before is None else book.apply(raw, before)
            assert before is None or after is before
            rows = after.rows()
            assert len(after) == len(rows)
            if self.seen["applied"] % 16 == 0:
                self.results[at] = None if before else after
            answers.append(rows)
        self.seen["applied"] += 1
        rows = answers[-1]
        if any(answer != rows for answer in answers):
            raise AssertionError(self._difference(requests, answers))
        self._count_rows(requests, rows)
        if self.truth is not None:
            for at, q in enumerate(requests):
                self._compare(q, [row for row in rows if row[4] == at])
        return rows

    def _difference(self, requests: Sequence[Request], answers: list[list[tuple[int, ...]]]) -> str:
        """The first request whose results differ, and what the books say."""
        for at, q in enumerate(requests):
            said = [[row for row in rows if row[4] == at] for rows in answers]
            if any(rows != said[0] for rows in said):
                return f"request {at} of {len(requests)}: {q}\n" + "\n".join(map(str, said))
        return f"rows of no request: {answers}"

    def _compare(self, q: Request, rows: list[tuple[int, ...]]) -> None:
        assert self.truth is not None
        said = [(what, order, other, price, n, code) for order, other, price, n, _, what, code in rows]
        truly = self.truth.do(q)
        assert said == truly, f"{q}: {said}, truly {truly}"

    def _count_rows(self, requests: Sequence[Request], rows: list[tuple[int, ...]]) -> None:
        for order, _, _, _, at, what, code in rows:
            q = requests[at]
            kind = KINDS.get(q.kind, "no kind")
            if what == r.REFUSED:
                self.seen[f"{kind} refused: {CODES[code]}"] += 1
            elif what == r.MATCH or order != q.order or q.kind not in (r.BID, r.ASK):
                self.seen[f"{WORDS[what]} of {kind}"] += 1
            else:
                self.seen[f"{WORDS[what]} of {TERMS[q.terms]} {kind}"] += 1
        self.seen["request"] += len(requests)

    def ask(self, name: str, *args: int, **named: int) -> Any:
        """`bid`, `ask`, `amend` or `cancel`; a screen is a slot. Returns what the books say."""
        answers: list[Any] = []
        for at, book in enumerate(self.books):
            own = {"screen": self.handle(named["screen"], at)} if "screen" in named else {}
            try:
                answers.append(getattr(book, name)(*args, **named | own))
            except BookError as error:
                text = re.sub(r"^screen is \d+", "screen is #", str(error))
                answers.append((type(error), text, getattr(error, "code", 0)))
        assert all(answer == answers[0] for answer in answers), f"{name}{args}{named}: {answers}"
        self.seen[name] += 1
        if isinstance(answers[0], tuple):
            self.seen[f"{name}: {answers[0][0].__name__}"] += 1
        if self.truth is not None:
            self._compare_one(name, args, named, answers[0])
        return answers[0]

    def _compare_one(self, name: str, args: Sequence[int], named: dict[str, int], answer: Any) -> None:
        assert self.truth is not None
        names = {
            "bid": ("order", "owner", "price", "size"),
            "ask": ("order", "owner", "price", "size"),
            "amend": ("order", "price", "size"),
            "cancel": ("order",),
        }[name]
        kind = {"bid": r.BID, "ask": r.ASK, "amend": r.AMEND, "cancel": r.CANCEL}[name]
        fields = dict(zip(names, args, strict=False)) | named
        try:
            r.REQUEST.pack(*(asked := request(kind, **fields)))
        except struct.error:
            assert issubclass(answer[0], BookError), answer
            return
        if self.truth.next_match(-1) is not None:
            assert answer[0] is UnsettledBook, answer
            return
        said = self.truth.do(asked)
        if said[-1][0] == r.REFUSED:
            error = {1: "UnknownOrder", 2: "DuplicateOrder", 3: "FinishedOrder", 4: "BadBookValue"}
            assert answer[0].__name__ == error.get(said[-1][5], answer[0].__name__), (answer, said)
        elif name == "cancel":
            assert answer == said[-1][4]
        else:
            truly = [row[1:5] for row in said if row[0] == r.MATCH]
            assert answer == truly, f"{name}{args}{named}: {answer}, truly {said}"

    # ---- all along

    def check(self) -> None:
        """Verify the invariants of all, and what they show."""
        for book in self.books:
            book._check()
        for side in (BID, ASK):
            depth = self.call("depth", side)
            assert self.call("best", side) == (depth[0][0] if depth else None)
            assert self.call("depth", side, 3) == depth[:3]
        assert {len(book) for book in self.books} == {len(self.twin)}
        assert self.truth is None or len(self.truth) == len(self.twin)
