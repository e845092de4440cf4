"""Random histories of a market: the same seed, the same requests."""

import random

from events.log import Stored
from events.records import Answered, OrdersAnswered
from events.requests import encode
from events.subjects import CLIENT, intake
from tests.market.play import Play, key_of

TRADERS = [f"t{n}" for n in range(6)]
FLAGS = ("avx2", "x86_64", "python/3.11", "never")
STEPS = 150
HOUR_US = 60_000_000  # a short one, so that few ticks end it
NOWHERE: dict[str, object] = {"numbers": {}, "flags": [], "cpus": 1}
NONSENSE: tuple[tuple[str, dict[str, object]], ...] = (
    ("bid", {"price": -1, "size": 1}),
    ("bid", {"price": 1, "size": 1, "colour": "red"}),
    ("bid", {"price": 10**12, "size": 1}),
    ("ask", {"price": 1, "size": 1, "machine": "nowhere"}),
    ("ask", {"price": 1, "size": 1000, "machine": "m"}),
    ("machine", {"machine": "client", **NOWHERE}),
    ("machine", {"machine": "m", **NOWHERE, "flags": [f"f{n}" for n in range(512)]}),
    ("amend", {"order": 1}),
    ("amend", {"order": 1, "flags": ["avx2"]}),
    ("amend", {"order": 10**6, "size": 0}),
    ("leave", {"machine": "nowhere"}),
    ("sent", {"contract": 10**6}),
    ("started", {"contract": 1}),
    ("vote", {"contract": 10**6, "hour": 1, "good": True}),
    ("account", {"account": key_of("t0").public, "name": "again"}),
    ("account", {"account": key_of("new").public, "name": "t0"}),
    ("deposit", {"account": key_of("new").public, "amount": 1, "reference": "x"}),
    ("freeze", {"reason": ""}),
    ("tick", {"epoch": 1}),
    ("open", {}),
    ("fly", {}),
)


class History(Play):
    """A play that goes on by dice."""

    def __init__(self, seed: int, *, twin: bool = False, forgers: bool = True) -> None:
        super().__init__(twin=twin, hour_us=HOUR_US, lost_us=HOUR_US // 10)
        self.dice, self.forgers = random.Random(seed), forgers
        self.forged: list[int] = []  # requests that were not signed by whom they name
        for name in TRADERS:
            self.account(name, self.dice.randrange(4), present=self.dice.random() < 0.9)
            if self.dice.random() < 0.8:
                self.machine(
                    name, "m", self.dice.randrange(1, 6), self.dice.choice((256, 1024)), self.some_flags()
                )

    def some_flags(self) -> tuple[str, ...]:
        return tuple(flag for flag in FLAGS[:3] if self.dice.random() < 0.7)

    def screen(self) -> dict[str, object]:
        dice = self.dice
        body: dict[str, object] = {}
        if dice.random() < 0.4:
            body["minimums"] = {
                "memory_mb": dice.choice((0, 512, 4096)),
                "reputation": dice.choice((0, 499_000)),
                "mips": dice.choice((0, 2000)),
            }
        if dice.random() < 0.3:
            body["flags"] = [dice.choice(FLAGS)]
        if dice.random() < 0.15:
            body["only"] = [self.public(dice.choice(TRADERS))]
        if dice.random() < 0.2:
            body["blocked"] = [self.public(dice.choice(TRADERS))]
        return body

    def run(self, steps: int = STEPS) -> "History":
        """Take so many steps."""
        moves = [
            (self.bid, 6), (self.offer, 5), (self.amend, 6), (self.time, 10), (self.contract_word, 6),
            (self.vote, 4), (self.presence, 5), (self.operator, 2), (self.state_machine, 2),
            (self.nonsense, 2), (self.repeat, 1), (self.epoch, 1), (self.orders, 3), (self.notary, 1),
        ]  # fmt: skip
        for _ in range(steps):
            (move,) = self.dice.choices([move for move, _ in moves], [weight for _, weight in moves])
            move()
        return self

    def who(self) -> str:
        return self.dice.choice(TRADERS)

    def bid(self) -> None:
        price, size = self.dice.choice((10_000, 20_000, 30_000, 2_000_000)), self.dice.randrange(1, 5)
        lifetime = self.dice.choice((0, 0, HOUR_US // 2, 3 * HOUR_US))
        self.ask(self.who(), "bid", price=price, size=size, lifetime_us=lifetime, **self.screen())

    def offer(self) -> None:
        price, size = self.dice.choice((10_000, 15_000, 20_000)), self.dice.randrange(1, 4)
        lifetime = self.dice.choice((0, 0, HOUR_US))
        self.ask(self.who(), "ask", machine="m", price=price, size=size, lifetime_us=lifetime)

    def amend(self) -> None:
        dice = self.dice
        orders = list(self.state.orders.values())
        if not orders:
            return
        order = dice.choice(orders)
        change: dict[str, object] = {}
        if dice.random() < 0.6:
            change["size"] = dice.randrange(0, 5)
        if dice.random() < 0.4:
            change["price"] = dice.choice((5_000, 15_000, 25_000))
        if order.is_bid and dice.random() < 0.4:
            change |= self.screen()
        who = self.names[order.account] if dice.random() < 0.9 else self.who()
        self.ask(who, "amend", order=order.number, **change)

    def orders(self) -> None:
        """Several in one request, some of them nonsense."""
        who, dice = self.who(), self.dice
        mine = [number for number, order in self.state.orders.items() if self.names[order.account] == who]
        wanted: list[object] = []
        for _ in range(dice.randrange(1, 6)):
            price, size = dice.choice((10_000, 20_000, 30_000, -1)), dice.randrange(0, 4)
            wanted.append(
                dice.choice(
                    (
                        {"kind": "bid", "price": price, "size": size, **self.screen()},
                        {"kind": "ask", "price": price, "size": size, "machine": "m"},
                        {"kind": "amend", "order": dice.choice([*mine, 1]), "size": size},
                        {"kind": dice.choice(("open", "")), "price": price},
                    )
                )
            )
        self.ask(who, "orders", orders=wanted)

    def notary(self) -> None:
        """It checks, and now and then it finds a false signature."""
        self.own("checked", through=self.dice.randrange(1, len(self.requests) + 2))
        if self.dice.random() < 0.5 and self.forgers:
            who = self.dice.choice((*TRADERS, "stranger", "operator"))
            self.own("suspend", account=self.public(who), request=self.forged_request(who))
            if self.dice.random() < 0.9:
                self.ask("operator", "reinstate", account=self.public(who), reason="dice")
            if who == "operator":
                self.ask("operator", "unfreeze", reason="dice")

    def forged_request(self, who: str) -> int:
        """A request in somebody's name, signed by another; returns its sequence."""
        self.numbers[who] = self.numbers.get(who, 0) + 1
        subject = intake(self.public(who), "leave")
        body = {"session": self.session, "number": self.numbers[who], "machine": "elsewhere"}
        data = encode(self.key("forger"), subject, body)
        self.send(Stored(len(self.requests) + 1, self.time_ns, subject, data))
        self.forged.append(len(self.requests))
        return len(self.requests)

    def time(self) -> None:
        if self.dice.random() < 0.4 and self.state.dues and not self.state.frozen:
            due = self.state.dues[0][0] - self.engine.now_us
            for _ in range(min(due // 4_900_000, 1000)):
                self.time_ns += 4_900_000_000
                self.own("tick")
        self.wait(self.dice.choice((1, 1_000_000, 7_000_000)))

    def contract_word(self) -> None:
        contracts = list(self.state.contracts.values())
        if contracts:
            contract = self.dice.choice(contracts)
            kind, who = self.dice.choice((("sent", contract.buyer), ("started", contract.seller)))
            self.ask(self.names[who], kind, contract=contract.number)

    def vote(self) -> None:
        hours = list(self.state.hours.items())
        if hours:
            (contract, hour), record = self.dice.choice(hours)
            who = self.names[self.dice.choice((record.buyer, record.seller))]
            self.ask(who, "vote", contract=contract, hour=hour, good=self.dice.random() < 0.7)

    def presence(self) -> None:
        party = self.dice.choice(("m", CLIENT))
        names = self.dice.sample(TRADERS, self.dice.choice((1, 1, 3)))
        if self.dice.random() < 0.4:
            self.lost(*((name, party) for name in names))
        else:
            for name in names:
                self.back(name, party)
        if self.dice.random() < 0.1:
            self.ask(self.who(), "leave", machine="m")

    def operator(self) -> None:
        kind = self.dice.choice(("freeze", "unfreeze", "halt", "resume", "abort", "deposit", "deposit"))
        if kind == "deposit":
            key = self.public(self.who())
            self.ask("operator", kind, account=key, amount=self.dice.randrange(1, 50_000), reference="dice")
        else:
            self.ask("operator", kind, reason="dice")
        undo = {"freeze": "unfreeze", "halt": "resume", "abort": "resume"}.get(kind)
        if undo and self.dice.random() < 0.9:
            self.ask("operator", undo, reason="dice")

    def state_machine(self) -> None:
        numbers = {"memory_mb": self.dice.choice((256, 1024)), "mips": self.dice.choice((1000, 3000))}
        self.ask(self.who(), "machine", machine="m", cpus=self.dice.randrange(1, 6), numbers=numbers,
                 flags=list(self.some_flags()))  # fmt: skip

    def nonsense(self) -> None:
        who, dice = self.who(), self.dice
        kind, body = dice.choice(NONSENSE)
        self.ask(dice.choice((who, who, "operator", "stranger")), kind, **body)
        if dice.random() < 0.3:
            self.numbers[who] = max(1, self.numbers.get(who, 0) - dice.choice((1, 2, -2000)))

    def repeat(self) -> None:
        stored = self.dice.choice([s for s in self.requests if s.sequence not in self.forged])
        self.send(stored._replace(sequence=len(self.requests) + 1, time_ns=self.time_ns))

    def epoch(self) -> None:
        self.time_ns += self.dice.randrange(10**10)
        self.own("epoch")
        self.own("tick")

    def codes(self) -> set[str]:
        """Every code that was answered."""
        many = [
            answer
            for _, event in self.events
            if isinstance(event, OrdersAnswered)
            for answer in event.answers
        ]
        return {event.code for _, event in self.events if isinstance(event, Answered)} | {a[0] for a in many}
