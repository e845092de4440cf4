"""Hand-written journals: commits with a true chain, and one small market that uses every projection."""

from collections.abc import Sequence

from events.commit import FIRST, Commit, decode, encode
from events.keys import Key
from events.records import (
    AccountOpened,
    Answered,
    AskPlaced,
    BidPlaced,
    ClockMoved,
    ContractEnded,
    ContractOpened,
    ContractRenewed,
    Deposited,
    EpochOpened,
    Event,
    Frozen,
    HoldReturned,
    HourCharged,
    MachineStated,
    MarketOpened,
    OrderClosed,
    PartyBack,
    PartyLost,
    ProgramSent,
    ProgramStarted,
    Unfrozen,
    Voted,
)

OPERATOR, EXCHANGE, BUYER, SELLER, OTHER = (Key.make() for _ in range(5))
HOUR = 10_000_000


def commits(*groups: Sequence[Event]) -> list[Commit]:
    """One commit for each group of events, chained from the first."""
    made: list[Commit] = []
    previous = FIRST
    for number, group in enumerate(groups, 1):
        events = tuple((number, event) for event in group)
        commit = Commit(number, previous, 1, number, number, "", "", events)
        made.append(decode(encode(commit)))
        previous = made[-1].hash
    return made


def answered(key: Key, number: int, code: str = "", session: int = 7) -> Answered:
    return Answered(key.public, session, number, "c0", code)


def opening() -> list[list[Event]]:
    """Two commits: the market with a funded buyer, a seller whose machine is ready, and one more."""
    buyer, seller = BUYER.public, SELLER.public
    return [
        [
            MarketOpened(OPERATOR.public, EXCHANGE.public, HOUR, 1_000_000, 10_000),
            EpochOpened(1),
            AccountOpened(buyer, "buyer"),
            AccountOpened(seller, "seller"),
            AccountOpened(OTHER.public, "other"),
            answered(OPERATOR, 1),
        ],
        [
            Deposited(buyer, 5_000_000, "invoice 1"),
            MachineStated(seller, "box", 4, {"memory_mb": 512}, ["avx2"]),
            PartyBack(seller, "box"),
            PartyBack(buyer, "client"),
        ],
    ]


def trading() -> list[list[Event]]:
    """After `opening`: two contracts, an hour of each, one renewed, one ended, a vote, a lost machine."""
    buyer, seller = BUYER.public, SELLER.public
    parties = {"buyer": buyer, "seller": seller}
    return [
        [AskPlaced(1, seller, "box", 100_000, 4, 0), answered(SELLER, 1)],
        [
            BidPlaced(2, buyer, 200_000, 3, {"memory_mb": 256}, ["avx2"], [], [], 0),
            ContractOpened(1, 2, 1, buyer, seller, "box", 100_000, HOUR),
            ContractOpened(2, 2, 1, buyer, seller, "box", 100_000, HOUR),
            answered(BUYER, 1),
        ],
        [ProgramSent(1, **parties, confirm_by_us=500), ProgramStarted(1, **parties)],
        [
            ClockMoved(HOUR, 1),
            HourCharged(1, 1, **parties, amount=100_000, fee=1_000),
            HourCharged(2, 1, **parties, amount=100_000, fee=1_000),
            ContractRenewed(1, 2, **parties, price=90_000, until_us=2 * HOUR),
            ContractEnded(2, **parties, reason="not renewed"),
        ],
        [Voted(1, 1, buyer, seller, True, 1_000, 500_499)],
        [
            Frozen("storm", [[seller, "box"]]),
            Unfrozen("calm"),
            ClockMoved(HOUR + 5, 2),
            PartyLost(seller, "box"),
            HoldReturned(1, 2, **parties, amount=90_000, reason="lost"),
            ContractEnded(1, **parties, reason="lost"),
        ],
        [OrderClosed(1, seller, "cancelled"), answered(SELLER, 2)],
    ]
