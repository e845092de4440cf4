"""A market under a test's hand: requests in, events out, time moved at will."""

import hashlib
from typing import Any

import nkeys

from events import records as r
from events import subjects
from events.commit import RULES
from events.keys import Key
from events.log import Stored
from events.requests import KINDS, encode
from exchange.admission import admit
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.entries import keys
from exchange.state import State

HOUR_US = 3_600_000_000
LOST_US = 30_000_000
FEE_PPM = 10_000
CREDIT = 1_000_000


def key_of(name: str) -> Key:
    """The same key for the same name, always."""
    seed = nkeys.encode_seed(hashlib.sha256(name.encode()).digest(), nkeys.PREFIX_BYTE_USER)
    return Key(bytes(seed).decode())


class Play:
    """Asks the engine and keeps everything: `requests` as INTAKE would, `events` with their request."""

    def __init__(
        self, *, twin: bool = False, hour_us: int = HOUR_US, lost_us: int = LOST_US, rules: int = RULES
    ) -> None:
        self.engine = Engine(State(twin))
        self.keys: dict[str, Key] = {}
        self.names: dict[str, str] = {}
        self.requests: list[Stored] = []
        self.events: list[tuple[int, r.Event]] = []
        self.time_ns = 1_700_000_000 * 10**9
        self.numbers: dict[str, int] = {}
        self.session = 1
        terms = {"hour_us": hour_us, "lost_after_us": lost_us, "fee_ppm": FEE_PPM}
        self.ask("operator", "open", exchange=self.public("exchange"), **terms)
        self.own("epoch")
        for version in range(2, rules + 1):
            self.own("rules", version=version)
        self.own("tick")

    @property
    def state(self) -> State:
        return self.engine.state

    def key(self, name: str) -> Key:
        if name not in self.keys:
            self.keys[name] = key_of(name)
            self.names[self.keys[name].public] = name
        return self.keys[name]

    def public(self, name: str) -> str:
        return self.key(name).public

    def message(self, name: str, kind: str, body: dict[str, Any]) -> Stored:
        subject = subjects.intake(self.public(name), kind)
        data = encode(self.key(name), subject, body)
        return Stored(len(self.requests) + 1, self.time_ns, subject, data)

    def send(self, stored: Stored) -> list[r.Event]:
        """A raw message reaches INTAKE."""
        self.requests.append(stored)
        events = self.engine.decide(admit(stored, self.state.rules))
        self.events += [(stored.sequence, event) for event in events]
        return events

    def ask(self, name: str, kind: str, /, **body: Any) -> list[r.Event]:
        """A numbered request of an account; its events, the answer among them."""
        self.time_ns += 1000
        self.numbers[name] = self.numbers.get(name, 0) + 1
        return self.send(
            self.message(name, kind, {"session": self.session, "number": self.numbers[name], **body})
        )

    def own(self, kind: str, /, **body: Any) -> list[r.Event]:
        """A request of the exchange's own."""
        assert KINDS[kind].role == "exchange"
        if any(member.name == "epoch" for member in KINDS[kind].members):
            body = {"epoch": self.state.epoch + (kind == "epoch"), **body}
        return self.send(self.message("exchange", kind, body))

    def code(self, name: str, kind: str, /, **body: Any) -> str:
        """The refusal's code, "" where it was done."""
        return answer(self.ask(name, kind, **body)).code

    def wait(self, us: int) -> list[r.Event]:
        """Wall time passes, with a tick at least every 4 s."""
        events: list[r.Event] = []
        while us > 0:
            step = min(us, 4_000_000)
            self.time_ns += step * 1000
            us -= step
            events += self.own("tick")
        return events

    # -- what tests need again and again

    def account(self, name: str, credits: int = 0, present: bool = True) -> str:
        key = self.public(name)
        self.ask("operator", "account", account=key, name=name)
        if credits:
            self.ask("operator", "deposit", account=key, amount=credits * CREDIT, reference="test")
        if present:
            self.back(name, subjects.CLIENT)
        return key

    def machine(
        self, name: str, machine: str, cpus: int = 4, memory_mb: int = 1024, flags: tuple[str, ...] = ()
    ) -> None:
        if self.public(name) not in self.state.accounts:
            self.account(name)
        numbers = {"memory_mb": memory_mb, "jail": 3}
        self.ask(name, "machine", machine=machine, cpus=cpus, numbers=numbers, flags=list(flags))
        self.back(name, machine)

    def back(self, name: str, party: str) -> list[r.Event]:
        return self.own("back", parties=[[self.public(name), party]])

    def lost(self, *parties: tuple[str, str]) -> list[r.Event]:
        return self.own("lost", parties=[[self.public(name), party] for name, party in parties])

    def order(self, name: str, kind: str, /, price: int, size: int, **body: Any) -> int:
        """Place an order; returns its number."""
        said = answer(self.ask(name, kind, price=price, size=size, **body))
        assert said.code == "", said
        return said.order

    def running(self) -> list[tuple[int, str, str, int]]:
        """(contract, buyer, seller, price) of what runs."""
        return [
            (c.number, self.names[c.buyer], self.names[c.seller], c.price)
            for c in self.state.contracts.values()
        ]

    def money(self, name: str) -> tuple[int, int]:
        account = self.state.accounts[self.public(name)]
        return account.free, account.held

    def check(self) -> None:
        """What must hold always."""
        state = self.state
        assert state.total() == 0
        assert state.digest.take() == state.digest.fresh()
        if state.rules > 1:
            assert set(keys(state)) == state.digest.keys(), "the digest covers the whole state"
        state.book._check()
        held: dict[str, int] = {}
        for contract in state.contracts.values():
            assert not contract.settled
            held[contract.buyer] = held.get(contract.buyer, 0) + contract.price
        for key, account in state.accounts.items():
            assert account.held == held.get(key, 0), (key, account.held)

    def folded(self, twin: bool = False) -> State:
        """A state made from the events alone."""
        state = State(twin)
        for _, event in self.events:
            state.fold(event)
        return state

    def batched(self, sizes: "list[int]") -> list[tuple[bytes, int]]:
        """The log's commits if the requests had come in batches of these sizes, again and again."""
        batcher, commits, start, turn = Batcher(Engine()), [], 0, 0
        while start < len(self.requests):
            size = sizes[turn % len(sizes)]
            done = batcher.decide(self.requests[start : start + size])
            if done is not None:
                commits.append((done[1], done[0].number))
            start, turn = start + size, turn + 1
        return commits


def answer(events: list[r.Event]) -> r.Answered:
    """The answer among a request's events."""
    found = [event for event in events if isinstance(event, r.Answered)]
    assert len(found) == 1, events
    return found[0]


def of(kind: type[r.Event], events: list[r.Event]) -> list[Any]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]
