"""Random histories of a market: requests of every kind, decided by the engine, as commits."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import nkeys

from events import subjects
from events.commit import RULES, Commit, decode
from events.keys import Key
from events.log import Stored
from events.requests import encode
from exchange.batch import Batcher
from exchange.engine import Engine

HOUR = 10_000_000


def _key(number: int) -> Key:
    """The same key in every run, so that a seed is the same history."""
    seed = hashlib.sha256(b"%d" % number).digest()
    return Key(bytes(nkeys.encode_seed(seed, nkeys.PREFIX_BYTE_USER)).decode("ascii"))


OPERATOR, EXCHANGE, *TRADERS = (_key(number) for number in range(8))
MACHINES = ("one", "two")
FLAGS = ["avx2", "python/3.11"]


class Market:
    """A market on a seed. `commits` yields each commit after the engine decided it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.engine = Engine()
        self._batcher = Batcher(self.engine)
        self._sequence = 0
        self._time_us = 1_000_000
        self._numbers: dict[str, int] = {}

    def commits(self, steps: int) -> Iterator[Commit]:
        """Open the market, then `steps` random requests in random groups."""
        begin = [
            self._ask(
                OPERATOR,
                "open",
                exchange=EXCHANGE.public,
                hour_us=HOUR,
                lost_after_us=HOUR // 10,
                fee_ppm=10_000,
            ),
            self._own("epoch", epoch=1),
            *(self._own("rules", epoch=1, version=version) for version in range(2, RULES + 1)),
            self._own("tick", epoch=1),
        ]
        for place, key in enumerate(TRADERS[:-1]):
            begin.append(self._ask(OPERATOR, "account", account=key.public, name=f"trader{place}"))
            begin.append(
                self._ask(OPERATOR, "deposit", account=key.public, amount=10**6, reference=f"ref {place}")
            )
            for name in MACHINES:
                begin.append(self._machine(key, name))
            begin.append(self._own("back", epoch=1, parties=self._parties(key)))
        yield from self._decided(begin)
        while steps > 0:
            group = [self._step() for _ in range(self.random.randint(1, 12))]
            steps -= len(group)
            yield from self._decided(group)

    def _decided(self, group: list[Stored]) -> Iterator[Commit]:
        done = self._batcher.decide(group)
        if done is not None:
            yield decode(done[1])

    # -- requests

    def _stored(self, key: Key, kind: str, body: dict[str, Any]) -> Stored:
        self._sequence += 1
        subject = subjects.intake(key.public, kind)
        return Stored(self._sequence, self._time_us * 1000, subject, encode(key, subject, body))

    def _ask(self, key: Key, kind: str, **body: Any) -> Stored:
        number = self._numbers[key.public] = self._numbers.get(key.public, 0) + 1
        return self._stored(key, kind, {"session": 1, "number": number, **body})

    def _own(self, kind: str, **body: Any) -> Stored:
        return self._stored(EXCHANGE, kind, body)

    def _machine(self, key: Key, name: str) -> Stored:
        numbers = {"memory_mb": self.random.choice((256, 512, 1024)), "jail": self.random.randint(1, 3)}
        flags = self.random.sample(FLAGS, self.random.randint(0, 2))
        return self._ask(
            key, "machine", machine=name, cpus=self.random.randint(2, 8), numbers=numbers, flags=flags
        )

    def _parties(self, key: Key) -> list[list[str]]:
        return [[key.public, party] for party in (subjects.CLIENT, *MACHINES)]

    def _step(self) -> Stored:
        """One request; the last trader's account is not open, so all that it asks is refused."""
        pick, state, key = self.random, self.engine.state, self.random.choice(TRADERS)
        price, size = pick.choice((0, 1000, 2000, 5000, 40_000, 400_000)), pick.randint(1, 4)
        life = pick.choice((0, 0, 0, HOUR // 2, 2 * HOUR))
        order = pick.choice([*state.orders, 1]) if pick.random() < 0.9 else 999_999
        contract = pick.choice([*state.contracts, 1])
        owner = next(
            (k for k in TRADERS if order in state.orders and k.public == state.orders[order].account), key
        )
        match pick.choices(
            ("bid", "ask", "amend", "cancel", "tick", "parties", "machine", "leave", "sent", "started",
             "vote", "deposit", "market", "again", "orders", "checked", "suspend", "reinstate"),
            (20, 20, 10, 6, 25, 6, 3, 1, 6, 6, 8, 4, 3, 1, 8, 1, 1, 3),
        )[0]:  # fmt: skip
            case "bid":
                minimums = pick.choice(({}, {"memory_mb": 512}, {"jail": 2}, {"reputation": 450_000}))
                flags, blocked = pick.sample(FLAGS, pick.randint(0, 1)), [pick.choice(TRADERS).public]
                return self._ask(
                    key, "bid", price=price, size=size, minimums=minimums, flags=flags,
                    blocked=blocked if pick.random() < 0.2 else [], lifetime_us=life,
                )  # fmt: skip
            case "ask":
                name = pick.choice(MACHINES)
                return self._ask(key, "ask", machine=name, price=price // 2, size=size, lifetime_us=life)
            case "amend":
                return self._ask(owner, "amend", order=order, price=price, size=size)
            case "cancel":
                return self._ask(owner, "amend", order=order, size=0)
            case "tick":
                self._time_us += pick.choice((0, 100_000, 1_000_000, 3_000_000, 9_000_000))
                return self._own("tick", epoch=1)
            case "parties":
                parties = pick.sample(self._parties(key), pick.randint(1, 3))
                return self._own(pick.choice(("lost", "back", "back")), epoch=1, parties=parties)
            case "machine":
                return self._machine(key, pick.choice(MACHINES))
            case "leave":
                return self._ask(key, "leave", machine=pick.choice(MACHINES))
            case "sent" | "started" as kind:
                running = state.contracts.get(contract)
                of = running and (running.buyer if kind == "sent" else running.seller)
                return self._ask(next((k for k in TRADERS if k.public == of), key), kind, contract=contract)
            case "vote":
                charged, hour = pick.choice([*state.hours, (1, 1)])
                of = state.hours[charged, hour].buyer if (charged, hour) in state.hours else ""
                voter = next((k for k in TRADERS if k.public == of), key)
                return self._ask(voter, "vote", contract=charged, hour=hour, good=pick.random() < 0.6)
            case "deposit":
                return self._ask(OPERATOR, "deposit", account=key.public, amount=50_000, reference="more")
            case "orders":
                orders = [
                    {"kind": "bid", "price": price, "size": size},
                    {"kind": "amend", "order": order, "size": 0},
                    {"kind": "ask", "price": price, "size": size, "machine": "one"},
                ]
                return self._ask(key, "orders", orders=orders[: pick.randint(1, 3)])
            case "checked":
                return self._own("checked", through=self._sequence)
            case "suspend":
                return self._own("suspend", account=key.public, request=self._sequence)
            case "reinstate":
                account = pick.choice([*state.suspended, key.public])
                return self._ask(OPERATOR, "reinstate", account=account, reason="random")
            case "market":
                what = pick.choice(("freeze", "unfreeze", "unfreeze", "halt", "resume", "resume", "abort"))
                return self._ask(OPERATOR, what, reason="random")
            case _:
                self._numbers[key.public] = max(0, self._numbers.get(key.public, 0) - 1)
                return self._ask(key, "leave", machine="elsewhere")
