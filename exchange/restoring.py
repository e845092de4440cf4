"""The state made again from its entries: what a snapshot's rows become (R34)."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sortedcontainers import SortedDict, SortedList

from events.profile import Screen
from events.records import BadRecordError, MarketOpened, event_of
from events.wire import loads
from exchange.book import BookError
from exchange.digest import Key, weight
from exchange.entities import Account, Contract, Hour, Machine, Order, Session
from exchange.state import CONFIRM, EXPIRE, HOUR, NOTHING_ASKED, State

CHUNK = 1000  # rows that are parsed at once


def restore(rows: Iterable[bytes], weights: Iterable[int] | None = None, twin: bool = False) -> State:
    """The state of which these are the rows (`exchange.entries.rows`), in their order.

    `weights` are theirs (`digest.weight`) where somebody has computed them already. Whether it is the state
    of a commit the caller must see: `state.digest.take()` is the commit's digest, or the rows are not its.
    Raises BadRecordError where they are no rows of a state. O(rows).
    """
    restoring = _Restoring(State(twin))
    known: dict[Key, int] = {}
    given = iter(weights) if weights is not None else None
    done = 0
    try:
        for chunk in _chunks(iter(rows)):
            some = map(weight, chunk) if given is None else islice(given, len(chunk))
            parsed = loads(b"[" + b",".join(chunk) + b"]")
            for (key, values), its_weight in zip(parsed, some, strict=True):
                restoring.take(key, values)
                known[tuple(key)] = its_weight
            done += len(chunk)
            assert len(known) == done, "the same entry stands twice"
        return restoring.finish(known)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, BookError) as error:
        raise BadRecordError(f"not the rows of a state, near row {done + 1}: {error!r}") from error


def _chunks(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


class _Restoring:
    """A state on its way."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._dues: list[tuple[int, int, int]] = []
        self._screens: dict[str, Screen] = {}
        self._take = {
            "market": self._market, "rules": self._rules, "checked": self._checked, "flag": self._flag,
            "account": self._account, "suspended": self._suspended, "votes": self._votes,
            "machine": self._machine, "order": self._order, "contract": self._contract, "hour": self._hour,
            "answer": self._answer,
        }  # fmt: skip

    def take(self, key: list[Any], values: list[Any]) -> None:
        """The next entry."""
        self._take[key[0]](key, values)

    def finish(self, weights: dict[Key, int]) -> State:
        """What follows from all of them."""
        state = self._state
        state.dues = SortedList(self._dues)
        state.hours = OrderedDict(sorted(state.hours.items(), key=lambda item: item[1].until_us))
        assert state.terms is not None and state.total() == 0
        state.digest.fill(weights)
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
        state, number = self._state, key[1]
        account, is_bid, price, size, place, expires_us, machine, screen, running = values
        order = Order(
            number, account, is_bid, price, size, place, expires_us, state.book_id(number), machine,
            _screen(*screen) if is_bid else NOTHING_ASKED, running,
        )  # fmt: skip
        if not is_bid:
            order.claimed = max(size, running)
        if expires_us and size:
            self._dues.append((expires_us, EXPIRE, number))
        state.orders[number] = order
        state.tell_new_order(order)

    def _contract(self, key: list[Any], values: list[Any]) -> None:
        contract = self._state.contracts[key[1]] = Contract(key[1], *values)
        assert not contract.settled
        self._state.on_machine[contract.seller, contract.machine].add(contract.number)
        self._dues.append((contract.until_us, HOUR, contract.number))
        if contract.confirm_by_us and not contract.started:
            self._dues.append((contract.confirm_by_us, CONFIRM, contract.number))

    def _hour(self, key: list[Any], values: list[Any]) -> None:
        self._state.hours[key[1], key[2]] = Hour(*values)

    def _answer(self, key: list[Any], values: list[Any]) -> None:
        _, account, session, number = key
        (wire,) = values
        answer: Any = event_of(wire)
        sessions = self._state.sessions.setdefault(account, SortedDict())
        found = sessions.setdefault(session, Session())
        assert not found.remember(number, answer)


def _screen(minimums: dict[str, int], flags: list[str], only: list[str], blocked: list[str]) -> Screen:
    if not (minimums or flags or only or blocked):
        return NOTHING_ASKED
    return Screen(minimums, tuple(flags), tuple(only), tuple(blocked))
