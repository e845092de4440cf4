"""What must be true of a log after anything whatever happened to those who wrote and read it."""

from collections import Counter
from typing import Any

from nats.aio.client import Client as Nats

from events import subjects
from events.client import Client
from events.commit import Commit
from events.log import CommitReader, Stored, last_sequence, read
from events.records import (
    BANK,
    FEES,
    Answered,
    AskPlaced,
    BidPlaced,
    ClockMoved,
    ContractOpened,
    ContractRenewed,
    Deposited,
    Event,
    HoldReturned,
    HourCharged,
    Voted,
)
from exchange.recovery import fold_commit
from exchange.state import State
from tests.system.traders import Recorder

EFFECTS: dict[type[Event], tuple[str, str]] = {  # what a request does once: the event, whose, by which kind
    BidPlaced: ("bid", "account"),
    AskPlaced: ("ask", "account"),
    Voted: ("vote", "account"),
}


class Log:
    """Both streams as they are now."""

    def __init__(self, requests: list[Stored], commits: list[Commit]) -> None:
        self.requests, self.commits = requests, commits
        self.events = [event for commit in commits for _, event in commit.events]

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if type(event) is kind]


async def read_log(nc: Nats) -> Log:
    """JOURNAL first: every request that it answers is then in INTAKE."""
    end = await last_sequence(nc, subjects.JOURNAL)
    commits: list[Commit] = []
    async with CommitReader(nc) as reader:
        while reader.sequence < end:
            commits += await reader.next_batch()
    last = await last_sequence(nc, subjects.INTAKE)
    return Log([stored async for stored in read(nc, subjects.INTAKE, 1, last)], commits)


def check_ledger(log: Log) -> list[dict[str, tuple[int, int]]]:
    """Money sums to zero after every commit, every digest fits; returns all balances after each commit."""
    state, after = State(), []
    for commit in log.commits:
        fold_commit(state, commit)
        assert state.total() == 0, commit.number
        balances = {key: (account.free, account.held) for key, account in state.accounts.items()}
        after.append(balances | {BANK: (state.bank, 0), FEES: (state.fees, 0)})
    return after


def check_hours(log: Log) -> int:
    """Every hour was held for first, and then charged or returned, once; returns how many were charged."""
    held: dict[tuple[int, int], int] = {}
    settled: set[tuple[int, int]] = set()
    for event in log.events:
        if isinstance(event, ContractOpened | ContractRenewed):
            hour = event.hour if isinstance(event, ContractRenewed) else 1
            assert (event.contract, hour) not in settled and (event.contract, hour) not in held
            held[event.contract, hour] = event.price
        elif isinstance(event, HourCharged | HoldReturned):
            key = event.contract, event.hour
            assert key not in settled, f"contract {key[0]}, hour {key[1]} was settled twice"
            assert held.pop(key) == event.amount, key
            settled.add(key)
    return len(log.of(HourCharged))


def check_answers(log: Log, clients: list[Recorder]) -> int:
    """Every answer that was given stands in JOURNAL and nowhere else otherwise; returns how many.

    A request that was sent again is answered again, with the same answer, and done once.
    """
    said: dict[tuple[str, int, int], Answered] = {}
    for answer in log.of(Answered):
        key = answer.account, answer.session, answer.number
        assert said.setdefault(key, answer) == answer or not answer.session, key
    given = 0
    for client in clients:
        numbers = [answer.number for answer in client.answers]
        assert numbers == list(range(1, client.number + 1)), "each request was answered once to its client"
        for answer in client.answers:
            assert said[client.account, client.session, answer.number] == answer
        given += len(numbers)
        assert sum(key[0] == client.account for key in said) == len(numbers), "nothing else was answered"
    return given


def check_effects(log: Log, clients: list[Recorder]) -> None:
    """Every request that was answered as done was done, once; none that was refused."""
    asked = {stored.sequence: subjects.parse_intake(stored.subject) for stored in log.requests}
    done: Counter[tuple[str, str]] = Counter()
    seen = set()
    happened: Counter[tuple[str, str]] = Counter()
    for commit in log.commits:
        for sequence, event in commit.events:
            whose = asked[sequence]
            assert whose is not None
            if isinstance(event, Answered) and not event.code and event.session:
                numbered = event.account, event.session, event.number
                done[whose] += numbered not in seen
                seen.add(numbered)
            if type(event) in EFFECTS:
                kind, member = EFFECTS[type(event)]
                if whose[1] == kind:  # votes are cast by the market, too
                    happened[getattr(event, member), kind] += 1
            if isinstance(event, Deposited):
                happened[whose] += 1
    for client in clients:
        for kind in ("bid", "ask", "vote", "deposit"):
            key = client.account, kind
            assert done[key] == happened[key], key


def feed_of(log: Log, account: str) -> list[tuple[int, int, list[dict[str, Any]]]]:
    """(commit, market time, events) that an account must have been told, by the log."""
    told, now_us = [], 0
    for commit in log.commits:
        events = []
        for _, event in commit.events:
            if isinstance(event, ClockMoved):
                now_us = event.now_us
            elif account in event.accounts() or (account == "" and not event.accounts()):
                events.append(event.wire())
        if events:
            told.append((commit.number, now_us, events))
    return told


async def check_feed(log: Log, client: Client, account: str, what: str = "feed") -> int:
    """The feed as the query service has it is what the log says, numbered without gaps; its length."""
    messages: list[dict[str, Any]] = []
    while page := (await client.query(what, since=len(messages)))["result"]:
        messages += page
    assert [message["n"] for message in messages] == list(range(1, len(messages) + 1))
    told = [(message["commit"], message["now_us"], message["events"]) for message in messages]
    expected = feed_of(log, account)
    assert told[: len(expected)] == expected
    return len(told)


async def check_heard(log: Log, client: Recorder) -> None:
    """What was heard while everything died is, number by number, what the log says."""
    expected = feed_of(log, client.account)
    for n, message in client.told.items():
        assert (message.commit, message.now_us, message.events) == expected[n - 1], n


def check_balances(after: list[dict[str, tuple[int, int]]], answer: dict[str, Any]) -> None:
    """The balances that the projections gave are the state's as of the same commit."""
    rows = {row["account"]: (row["free"], row["held"]) for row in answer["result"]}
    assert rows == after[answer["commit"] - 1]
