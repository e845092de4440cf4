"""The state made again from its entries: what a snapshot's rows become (R34)."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import msgspec
from sortedcontainers import SortedDict, SortedList

from events.profile import Screen
from events.records import Answered, BadRecordError, MarketOpened, OrdersAnswered, event_of
from events.terminal import one_line
from events.wire import dumps, loads
from exchange import book as books
from exchange.book import BookError
from exchange.digest import Key, weight
from exchange.entities import Account, Contract, Hour, Machine, Order, Session
from exchange.state import CONFIRM, EXPIRE, HOUR, NOTHING_ASKED, State

CHUNK = 1000  # rows that are parsed at once
MOST_SCREENS = 100_000  # that are remembered, so that each is made once
_NO_ROWS = (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, OverflowError)


class _Values(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    account: str
    is_bid: bool
    price: int
    size: int
    place: int
    expires_us: int
    machine: str
    screen: msgspec.Raw
    running: int


class _OrderRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    key: tuple[Literal["order"], int]
    values: _Values


class _AnswerRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    key: tuple[Literal["answer"], str, int, int]
    values: tuple[Answered | OrdersAnswered]


Screens = tuple[dict[str, int], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
_ORDERS = msgspec.json.Decoder(list[_OrderRow])
_ANSWERS = msgspec.json.Decoder(list[_AnswerRow])
_SCREEN = msgspec.json.Decoder(Screens)
_ORDER, _ANSWER = b'[["order",', b'[["answer",'  # with what these rows, of which there are many, begin


def restore(rows: Iterable[bytes], weights: Iterable[int] | None = None, twin: bool = False) -> State:
    """The state of which these are the rows (`exchange.entries.rows`), in their order.

    `weights` are theirs (`digest.weight`) where somebody has computed them already. Whether it is the state
    of a commit the caller must see: `state.digest.take()` is the commit's digest, or the rows are not its.
    Raises BadRecordError where they are no rows of a state. O(rows).
    """
    restoring = _Restoring(State(twin))
    given = iter(weights) if weights is not None else None
    done = 0
    try:
        for chunk in _chunks(iter(rows)):
            some = map(weight, chunk) if given is None else islice(given, len(chunk))
            whole = b"[" + b",".join(chunk) + b"]"
            if chunk[0].startswith(_ORDER) and chunk[-1].startswith(_ORDER):
                keys = restoring.take_orders(_ORDERS.decode(whole))
            elif chunk[0].startswith(_ANSWER) and chunk[-1].startswith(_ANSWER):
                keys = restoring.take_answers(_ANSWERS.decode(whole))
            else:
                keys = [restoring.take(key, values) for key, values in loads(whole)]
            restoring.weights.update(zip(keys, some, strict=True))
            done += len(chunk)
            assert len(restoring.weights) == done, "the same entry stands twice"
        return restoring.finish()
    except (*_NO_ROWS, BookError, msgspec.MsgspecError) as error:
        said = one_line(f"not the rows of a state, near row {done + 1}: {error!r}")
        raise BadRecordError(said) from error


def _chunks(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


class _Restoring:
    """A state on its way."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.weights: dict[Key, int] = {}
        self._dues: list[tuple[int, int, int]] = []
        self._screens: dict[bytes, tuple[Screen, books.Screen]] = {}
        self._take = {
            "market": self._market, "rules": self._rules, "checked": self._checked, "flag": self._flag,
            "account": self._account, "suspended": self._suspended, "votes": self._votes,
            "machine": self._machine, "order": self._order, "contract": self._contract, "hour": self._hour,
            "floor": self._floor, "answer": self._answer,
        }  # fmt: skip

    def take(self, key: list[Any], values: list[Any]) -> Key:
        """The next entry; returns its key."""
        self._take[key[0]](key, values)
        return tuple(key)

    def take_orders(self, rows: list[_OrderRow]) -> list[Key]:
        """The next entries, all of them orders; returns their keys."""
        state, screens, keys = self._state, self._screens, []
        for row in rows:
            key, v = row.key, row.values
            number, slot = key[1], state.book_id(key[1])
            keys.append(key)
            running, is_open = v.running, max(0, v.size - v.running)
            if v.is_bid:
                asked = bytes(v.screen)
                screen, books_screen = screens.get(asked) or self._new_screen(asked)
                order = Order(
                    number, v.account, True, v.price, v.size, v.place, v.expires_us, slot, "", screen, running
                )  # fmt: skip
                state.book.add_bid(slot, state.index(v.account), v.price, is_open, v.place, books_screen)
            else:
                order = Order(
                    number, v.account, False, v.price, v.size, v.place, v.expires_us, slot, v.machine,
                    NOTHING_ASKED, running, max(v.size, running),
                )  # fmt: skip
                machine = state.machines[v.account, v.machine]
                state.book.add_ask(slot, machine.index, v.price, is_open, v.place)
            if v.expires_us and v.size:
                self._dues.append((v.expires_us, EXPIRE, number))
            state.orders[number] = order
        return keys

    def take_answers(self, rows: list[_AnswerRow]) -> list[Key]:
        """The next entries, all of them answers; returns their keys."""
        keys: list[Key] = []
        account, session, found = "", 0, Session()
        for row in rows:
            key = row.key
            keys.append(key)
            if (key[1], key[2]) != (account, session):
                _, account, session, _ = key
                sessions = self._state.sessions.get(account)
                if sessions is None:
                    sessions = self._state.sessions[account] = SortedDict()
                found = sessions.get(session) or Session()
                sessions[session] = found
            assert not found.remember(key[3], row.values[0])
        return keys

    def _new_screen(self, asked: bytes) -> tuple[Screen, books.Screen]:
        """A screen that was not met yet, as the state has it and as the book has it."""
        if len(self._screens) >= MOST_SCREENS:
            self._screens.clear()
        minimums, *others = _SCREEN.decode(asked)
        screen = Screen(minimums, *others) if minimums or any(others) else NOTHING_ASKED
        self._screens[asked] = both = screen, self._state.book_screen(screen)
        return both

    def finish(self) -> State:
        """What follows from all of them."""
        state = self._state
        state.dues = SortedList(self._dues)
        state.hours = OrderedDict(sorted(state.hours.items(), key=lambda item: item[1].until_us))
        assert state.terms is not None and state.total() == 0
        state.digest.fill(self.weights)
        return state

    def _market(self, key: list[Any], values: list[Any]) -> None:
        s = self._state
        terms, s.epoch, s.now_us, s.tick_us, s.frozen, s.halted, s.self_frozen, *values = values
        s.ill, s.bank, s.fees, s.last_order, s.last_place, s.last_contract = values
        opened = event_of(terms)
        assert isinstance(opened, MarketOpened)
        s.terms = opened

    def _rules(self, key: list[Any], values: list[Any]) -> None:
        (self._state.rules,) = values

    def _checked(self, key: list[Any], values: list[Any]) -> None:
        (self._state.checked,) = values

    def _flag(self, key: list[Any], values: list[Any]) -> None:
        assert values == [len(self._state.flags)]
        self._state.flags[key[1]] = values[0]

    def _account(self, key: list[Any], values: list[Any]) -> None:
        account = self._state.accounts[key[1]] = Account(key[1], *values)
        self._state.names[account.name] = key[1]
        self._state.tell_account(account)

    def _suspended(self, key: list[Any], values: list[Any]) -> None:
        (self._state.suspended[key[1]],) = values

    def _votes(self, key: list[Any], values: list[Any]) -> None:
        good, erratic = values
        self._state.accounts[key[1]].votes[key[2]] = [good, erratic]

    def _machine(self, key: list[Any], values: list[Any]) -> None:
        state, (_, account, name) = self._state, key
        cpus, numbers, flags, ready, offered = values
        machine = Machine(account, name, len(state.machines), cpus, dict(numbers), flags, ready, offered)
        state.add_machine(machine)
        state.ready += ready
        state.tell_machine(machine)

    def _order(self, key: list[Any], values: list[Any]) -> None:
        self.take_orders(_ORDERS.decode(dumps([[key, values]])))

    def _contract(self, key: list[Any], values: list[Any]) -> None:
        contract = self._state.contracts[key[1]] = Contract(key[1], *values)
        assert not contract.settled
        self._state.on_machine[contract.seller, contract.machine].add(contract.number)
        self._dues.append((contract.until_us, HOUR, contract.number))
        if contract.confirm_by_us and not contract.started:
            self._dues.append((contract.confirm_by_us, CONFIRM, contract.number))

    def _hour(self, key: list[Any], values: list[Any]) -> None:
        self._state.hours[key[1], key[2]] = Hour(*values)

    def _floor(self, key: list[Any], values: list[Any]) -> None:
        _, account, session = key
        (floor,) = values
        sessions = self._state.sessions.setdefault(account, SortedDict())
        sessions[session] = Session(floor=floor)

    def _answer(self, key: list[Any], values: list[Any]) -> None:
        self.take_answers(_ANSWERS.decode(dumps([[key, values]])))
