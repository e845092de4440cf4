"""What each kind of request does. A handler refuses before it emits anything, or it does the whole."""

from collections.abc import Callable
from dataclasses import dataclass

from events import records as r
from events.profile import MOST_FLAGS, Screen
from events.requests import Request
from events.subjects import CLIENT
from exchange.decision import Decision, Refusal
from exchange.entities import Contract, Order
from exchange.hour import advance, break_contract, match, vote

TICK_US = 5_000_000  # the most that one tick moves market time
MOST_MONEY = 1 << 60  # in the market, so that no purse leaves 64 bits
ILL_SHARE = 3  # a third of all machines


@dataclass(slots=True)
class Outcome:
    """What an answer says besides its code (`Answered`)."""

    order: int = 0
    matched: list[list[int]] | None = None
    rests: int = 0
    hourly: int = 0


def _outcome(d: Decision, order: int, matched: list[list[int]]) -> Outcome:
    standing = d.state.orders[order]
    hourly = standing.size * standing.price if standing.is_bid else 0
    return Outcome(order, matched, standing.open, hourly)


# -- orders


def bid(d: Decision, request: Request) -> Outcome:
    """A new bid (R5-R8, R11)."""
    body = request.body
    if d.state.accounts[request.account].free < body["price"]:
        raise Refusal("R11/price/unfunded")
    _check_flags(d, body["flags"])
    number = d.state.last_order + 1
    screen = Screen.of(body).body()
    d.emit(
        r.BidPlaced(
            number,
            request.account,
            body["price"],
            body["size"],
            **screen,
            expires_us=_expiry(d, body["lifetime_us"]),
        )
    )
    return _outcome(d, number, match(d, number))


def ask(d: Decision, request: Request) -> Outcome:
    """A new ask (R5-R8); all asks of a machine together offer no more than it has (R6)."""
    body = request.body
    machine = d.state.machines.get((request.account, body["machine"]))
    if machine is None:
        raise Refusal("R6/machine/unknown")
    if machine.offered + body["size"] > machine.cpus:
        raise Refusal("R6/size/too-many")
    number = d.state.last_order + 1
    expires = _expiry(d, body["lifetime_us"])
    d.emit(r.AskPlaced(number, request.account, body["machine"], body["price"], body["size"], expires))
    return _outcome(d, number, match(d, number))


def _expiry(d: Decision, lifetime_us: int) -> int:
    return d.now_us + lifetime_us if lifetime_us else 0


def _check_flags(d: Decision, flags: list[str]) -> None:
    new = sum(flag not in d.state.flags for flag in flags)
    if len(d.state.flags) + new > MOST_FLAGS:
        raise Refusal("R6/flags/too-many")


def amend(d: Decision, request: Request) -> Outcome:
    """New terms of an order; its place in time by R9."""
    body = request.body
    order = d.state.orders.get(body["order"])
    if order is None or order.account != request.account or order.size == 0:
        raise Refusal("R9/order/unknown")
    wanted = {name: body[name] for name in ("minimums", "flags", "only", "blocked") if body[name] is not None}
    if wanted and not order.is_bid:
        raise Refusal("R9/screen/not-a-bid")
    if not wanted and body["price"] is None and body["size"] is None:
        raise Refusal("R9/order/no-change")
    if body["size"] == 0:
        d.emit(r.OrderClosed(order.number, order.account, "cancelled"))
        return Outcome(order.number)
    price = order.price if body["price"] is None else body["price"]
    size = order.size if body["size"] is None else body["size"]
    empty: dict[str, object] = {"minimums": {}, "flags": [], "only": [], "blocked": []}
    screen = Screen.of(empty | wanted) if wanted else order.screen
    arrives = size > order.size or price != order.price or not screen.is_within(order.screen)
    if arrives:
        _check_arrival(d, order, price, size)
    _check_flags(d, list(screen.flags))
    place = d.state.last_place + 1 if arrives else order.place
    if order.is_bid:
        terms = screen.body()
        d.emit(r.BidAmended(order.number, order.account, price, size, **terms, place=place))
    else:
        d.emit(r.AskAmended(order.number, order.account, price, size, place))
    return _outcome(d, order.number, match(d, order.number if arrives else -1))


def _check_arrival(d: Decision, order: Order, price: int, size: int) -> None:
    """What a new arrival must fulfil (R6, R11)."""
    if order.is_bid:
        if d.state.accounts[order.account].free < price:
            raise Refusal("R11/price/unfunded")
    else:
        machine = d.state.machines[order.account, order.machine]
        if machine.offered - order.claimed + max(size, order.running) > machine.cpus:
            raise Refusal("R6/size/too-many")


# -- machines and parties


def machine(d: Decision, request: Request) -> Outcome:
    """What a machine has (R24)."""
    body = request.body
    if body["machine"] == CLIENT:
        raise Refusal("R6/machine/reserved")
    known = d.state.machines.get((request.account, body["machine"]))
    if known is not None and body["cpus"] < known.offered:
        raise Refusal("R6/cpus/too-many")
    _check_flags(d, body["flags"])
    numbers = dict(sorted(body["numbers"].items()))
    flags = sorted(body["flags"])
    d.emit(r.MachineStated(request.account, body["machine"], body["cpus"], numbers, flags))
    return Outcome()


def leave(d: Decision, request: Request) -> Outcome:
    """The seller takes a machine away (R16)."""
    key = (request.account, request.body["machine"])
    if key not in d.state.machines:
        raise Refusal("R6/machine/unknown")
    _lose_machine(d, key, "left")
    if _is_well(d):
        _unfreeze(d, "those who were missing have left, or are heard again")
    return Outcome()


def _lose_machine(d: Decision, key: tuple[str, str], reason: str) -> None:
    if d.state.machines[key].ready:
        d.emit(r.PartyLost(*key))
    for number in sorted(d.state.on_machine[key]):
        break_contract(d, d.state.contracts[number], reason)


def lost(d: Decision, request: Request) -> None:
    """Parties fell silent (R19). In a freeze nobody is lost, for no market time passes."""
    state = d.state
    if request.body["epoch"] != state.epoch or state.frozen:
        return
    parties = [(account, party) for account, party in request.body["parties"]]
    silent = [key for key in dict.fromkeys(parties) if key in state.machines and state.machines[key].ready]
    working = [key for key in silent if state.on_machine[key]]
    if len({seller for seller, _ in working}) > 1 and len(working) * ILL_SHARE >= state.at_work():
        reason = f"{len(working)} of {state.at_work()} machines at work fell silent together"
        d.emit(r.Frozen(reason, [list(key) for key in working]))
        return
    for account, party in dict.fromkeys(parties):
        if party == CLIENT and account in state.accounts and state.accounts[account].present:
            d.emit(r.PartyLost(account, party))
    for key in silent:
        _lose_machine(d, key, "lost")


def back(d: Decision, request: Request) -> None:
    """Parties are heard (R6, R19)."""
    state = d.state
    if request.body["epoch"] != state.epoch:
        return
    for account, party in request.body["parties"]:
        if party == CLIENT:
            if account in state.accounts and not state.accounts[account].present:
                d.emit(r.PartyBack(account, party))
        elif (account, party) in state.machines and (
            not state.machines[account, party].ready or [account, party] in state.ill
        ):
            d.emit(r.PartyBack(account, party))
            if _is_well(d):
                _unfreeze(d, "enough machines are heard again")


def _is_well(d: Decision) -> bool:
    """Whether a market that froze itself is missing fewer than a third of its machines."""
    return d.state.self_frozen and (not d.state.ill or len(d.state.ill) * ILL_SHARE < d.state.at_work())


def _unfreeze(d: Decision, reason: str) -> None:
    missing = list(d.state.ill)
    d.emit(r.Unfrozen(reason))
    for account, party in missing:
        _lose_machine(d, (account, party), "lost")


# -- contracts


def sent(d: Decision, request: Request) -> Outcome:
    """The buyer's program reached the seller: he must confirm its start (R16)."""
    contract = _contract(d, request)
    if contract.buyer != request.account:
        raise Refusal("R16/contract/unknown")
    if contract.confirm_by_us:
        raise Refusal("R16/contract/already")
    confirm_by = d.now_us + d.terms.lost_after_us
    d.emit(r.ProgramSent(contract.number, contract.buyer, contract.seller, confirm_by))
    return Outcome()


def started(d: Decision, request: Request) -> Outcome:
    """The seller confirms the start (R16)."""
    contract = _contract(d, request)
    if contract.seller != request.account:
        raise Refusal("R16/contract/unknown")
    if contract.started:
        raise Refusal("R16/contract/already")
    d.emit(r.ProgramStarted(contract.number, contract.buyer, contract.seller))
    return Outcome()


def _contract(d: Decision, request: Request) -> Contract:
    contract = d.state.contracts.get(request.body["contract"])
    if contract is None:
        raise Refusal("R16/contract/unknown")
    return contract


def cast_vote(d: Decision, request: Request) -> Outcome:
    """One side's vote on a charged hour (R26)."""
    body = request.body
    hour = d.state.hours.get((body["contract"], body["hour"]))
    if hour is None or hour.until_us <= d.now_us or request.account not in (hour.buyer, hour.seller):
        raise Refusal("R26/hour/unknown")
    if request.account in hour.voters:
        raise Refusal("R26/hour/already")
    about = hour.seller if request.account == hour.buyer else hour.buyer
    vote(d, body["contract"], body["hour"], request.account, about, body["good"], hour.weight)
    return Outcome()


# -- the operator


def open_market(d: Decision, request: Request) -> Outcome:
    """The market's terms (R13, R19)."""
    body = request.body
    if d.state.terms is not None:
        raise Refusal("R33/market/exists")
    if body["lost_after_us"] * 10 > body["hour_us"]:
        raise Refusal("R19/lost_after_us/too-long")
    terms = {name: body[name] for name in ("exchange", "hour_us", "lost_after_us", "fee_ppm")}
    d.emit(r.MarketOpened(request.account, **terms))
    d.emit(r.AccountOpened(request.account, "operator"))
    return Outcome()


def account(d: Decision, request: Request) -> Outcome:
    """A new account."""
    body = request.body
    if body["account"] in d.state.accounts or body["account"] == d.terms.exchange:
        raise Refusal("R2/account/exists")
    if body["name"] in d.state.names or body["name"] in (r.BANK, r.FEES):
        raise Refusal("R2/name/exists")
    d.emit(r.AccountOpened(body["account"], body["name"]))
    return Outcome()


def deposit(d: Decision, request: Request) -> Outcome:
    """Money enters (R2)."""
    body = request.body
    if body["account"] not in d.state.accounts:
        raise Refusal("R2/account/unknown")
    if body["amount"] - d.state.bank > MOST_MONEY:
        raise Refusal("R1/amount/too-many")
    d.emit(r.Deposited(body["account"], body["amount"], body["reference"]))
    return Outcome()


def freeze(d: Decision, request: Request) -> Outcome:
    """The operator freezes (R21, R22)."""
    if d.state.frozen:
        raise Refusal("R22/freeze/already")
    d.emit(r.Frozen(request.body["reason"], []))
    return Outcome()


def unfreeze(d: Decision, request: Request) -> Outcome:
    """The operator ends a freeze (R21, R22)."""
    if not d.state.frozen:
        raise Refusal("R22/unfreeze/already")
    _unfreeze(d, request.body["reason"])
    return Outcome()


def halt(d: Decision, request: Request) -> Outcome:
    """The operator halts (R21)."""
    if d.state.halted:
        raise Refusal("R21/halt/already")
    d.emit(r.Halted(request.body["reason"]))
    return Outcome()


def resume(d: Decision, request: Request) -> Outcome:
    """The operator ends a halt (R21)."""
    if not d.state.halted:
        raise Refusal("R21/resume/already")
    d.emit(r.Resumed(request.body["reason"]))
    return Outcome()


def abort(d: Decision, request: Request) -> Outcome:
    """The operator ends all contracts; the market stays halted (R21)."""
    for number in sorted(d.state.contracts):
        break_contract(d, d.state.contracts[number], "aborted", erratic=False)
    if not d.state.halted:
        d.emit(r.Halted(request.body["reason"]))
    return Outcome()


# -- the exchange's own service


def epoch(d: Decision, request: Request) -> None:
    """A writer begins (R20)."""
    if request.body["epoch"] == d.state.epoch + 1:
        d.emit(r.EpochOpened(request.body["epoch"]))
        d.tick_us = 0


def tick(d: Decision, request: Request) -> None:
    """Market time moves (R20, R22)."""
    if request.body["epoch"] != d.state.epoch:
        return
    before, d.tick_us = d.tick_us, request.time_ns // 1000
    if before and not d.state.frozen:
        advance(d, d.now_us + min(max(d.tick_us - before, 0), TICK_US))


ASKED_BY_EXCHANGE: dict[str, Callable[[Decision, Request], None]] = {
    "epoch": epoch,
    "tick": tick,
    "lost": lost,
    "back": back,
}
ASKED_BY_OTHERS: dict[str, Callable[[Decision, Request], Outcome]] = {
    "bid": bid,
    "ask": ask,
    "amend": amend,
    "machine": machine,
    "leave": leave,
    "sent": sent,
    "started": started,
    "vote": cast_vote,
    "open": open_market,
    "account": account,
    "deposit": deposit,
    "freeze": freeze,
    "unfreeze": unfreeze,
    "halt": halt,
    "resume": resume,
    "abort": abort,
}
