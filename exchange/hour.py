"""The hour: matching, charging, renewing, breaking (R5, R7, R13-R16)."""

from collections import defaultdict, deque

from events import records as r
from exchange.book import number_of
from exchange.decision import Decision
from exchange.entities import Contract
from exchange.reputation import share
from exchange.state import CONFIRM, EXPIRE, HOUR

PPM = 1_000_000
Due = dict[tuple[int, int], deque[int]]


def match(d: Decision, arriving: int = -1, due: Due | None = None) -> list[list[int]]:
    """Match until nothing matches (R5); returns [contract, price] of what was opened, in order.

    `arriving` is the number of an order that has just arrived: who rests sets the price (R7). `due` are
    contracts that fell due at this instant, by (bid, ask), lowest first: such a pair is renewed (R14).
    In a freeze nothing matches (R22), in a halt only renewals do (R21). O(matches * log orders).
    """
    state, book = d.state, d.state.book
    opened: list[list[int]] = []
    if state.frozen:
        return opened
    state.tell_reputations()
    arrived = state.orders.get(arriving)
    slot = -1 if arrived is None else arrived.slot
    if due:
        for (bid, ask), contracts in due.items():
            book.add_partner(state.orders[bid].slot, state.orders[ask].slot, len(contracts))
    halted = bool(state.halted)
    while (found := book.next_match(slot, halted)) is not None:
        bid_slot, ask_slot, price, slots = found
        assert slots > 0, found
        bid, ask = number_of(bid_slot), number_of(ask_slot)
        waiting = due.get((bid, ask)) if due else None
        renewed = min(slots, len(waiting)) if waiting else 0
        for _ in range(renewed):
            assert waiting is not None
            _renew(d, state.contracts[waiting.popleft()], price)
        for _ in range(slots - renewed):
            opened.append([_open(d, bid, ask, price), price])
        if renewed:
            book.add_partner(bid_slot, ask_slot, -renewed)
    if due:
        book.clear_partners()
    if not halted:
        book.settled()
    return opened


def _open(d: Decision, bid: int, ask: int, price: int) -> int:
    state = d.state
    number = state.last_contract + 1
    buyer, offer = state.orders[bid].account, state.orders[ask]
    until = d.now_us + d.terms.hour_us
    d.emit(r.ContractOpened(number, bid, ask, buyer, offer.account, offer.machine, price, until))
    return number


def _renew(d: Decision, contract: Contract, price: int) -> None:
    until = d.now_us + d.terms.hour_us
    d.emit(
        r.ContractRenewed(
            contract.number, contract.hour + 1, contract.buyer, contract.seller, price, until
        )
    )  # fmt: skip


def advance(d: Decision, target_us: int) -> None:
    """Move market time to `target_us`; what falls due on the way is settled instant by instant."""
    dues = d.state.dues
    while dues and dues[0][0] <= target_us:
        instant = dues[0][0]
        assert instant >= d.now_us, (instant, d.now_us)
        d.now_us = instant
        _settle_instant(d, instant)
    d.now_us = target_us


def _settle_instant(d: Decision, instant: int) -> None:
    """Everything due now, class by class; then one matching for all of it (R14)."""
    state = d.state
    entries = list(state.dues.irange((instant, CONFIRM, 0), (instant, HOUR, state.last_contract)))
    assert entries
    due: Due = defaultdict(deque)
    for entry in entries:
        if entry not in state.dues:
            continue  # ended by what stood before it
        _, what, number = entry
        if what == CONFIRM:
            break_contract(d, state.contracts[number], "not started")
        elif what == EXPIRE:
            d.emit(r.OrderClosed(number, state.orders[number].account, "expired"))
        else:
            contract = state.contracts[number]
            fee = contract.price * d.terms.fee_ppm // PPM
            d.emit(r.HourCharged(number, contract.hour, contract.buyer, contract.seller, contract.price, fee))
            due[contract.bid, contract.ask].append(number)
        assert entry not in state.dues, entry
    match(d, due=due)
    for number in sorted(number for contracts in due.values() for number in contracts):
        contract = state.contracts[number]
        d.emit(r.ContractEnded(number, contract.buyer, contract.seller, "not renewed"))


def break_contract(d: Decision, contract: Contract, reason: str, erratic: bool = True) -> None:
    """End a contract within its hour: the hold goes back, an erratic vote weighs it (R16).

    Under an alone-allowed list it weighs nothing (R26).
    """
    number, buyer, seller = contract.number, contract.buyer, contract.seller
    weight = 0 if d.state.orders[contract.bid].screen.only else contract.price
    d.emit(r.HoldReturned(number, contract.hour, buyer, seller, contract.price, reason))
    if erratic:
        vote(d, number, contract.hour, buyer, seller, False, weight)
    d.emit(r.ContractEnded(number, buyer, seller, reason))


def vote(d: Decision, contract: int, hour: int, by: str, about: str, good: bool, weight: int) -> None:
    """Cast a vote (R26)."""
    voted = d.state.accounts[about]
    votes = dict(voted.votes)
    tally = list(votes.get(by, [0, 0]))
    tally[0 if good else 1] += weight
    votes[by] = tally
    reputation = share(votes)
    d.emit(r.Voted(contract, hour, by, about, good, weight, reputation))
