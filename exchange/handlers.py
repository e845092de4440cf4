"""What each kind of request does. A handler refuses before it emits anything, or it does the whole.

Orders are in `exchange/orders.py`.
"""

from collections.abc import Callable

from events import records as r
from events.commit import RULES
from events.requests import Request
from events.subjects import CLIENT
from exchange.decision import Decision, NewerRulesError, Outcome, Refusal
from exchange.entities import Contract
from exchange.hour import advance, break_contract, vote
from exchange.orders import check_flags

TICK_US = 5_000_000  # the most that one tick moves market time
MOST_MONEY = 1 << 60  # in the market, so that no purse leaves 64 bits
ILL_SHARE = 3  # a third of all machines


# -- machines and parties


def machine(d: Decision, request: Request) -> Outcome:
    """What a machine has (R24)."""
    body = request.body
    if body["machine"] == CLIENT:
        raise Refusal("R6/machine/reserved")
    known = d.state.machines.get((request.account, body["machine"]))
    if known is not None and body["cpus"] < known.offered:
        raise Refusal("R6/cpus/too-many")
    check_flags(d, body["flags"])
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


def reinstate(d: Decision, request: Request) -> Outcome:
    """The operator lets a suspended account act again (R35)."""
    if request.body["account"] not in d.state.suspended:
        raise Refusal("R35/account/not-suspended")
    d.emit(r.AccountReinstated(request.body["account"], request.body["reason"]))
    return Outcome()


# -- the exchange's own service


def rules(d: Decision, request: Request) -> None:
    """The market decides by newer rules from the next request on (R34)."""
    if request.body["epoch"] == d.state.epoch and request.body["version"] == d.state.rules + 1:
        if request.body["version"] > RULES:
            raise NewerRulesError(
                f"request {request.sequence} brings rules {request.body['version']}; this program knows "
                f"{RULES}: use a newer one"
            )
        d.emit(r.RulesChanged(request.body["version"]))


def suspend(d: Decision, request: Request) -> None:
    """A request was not signed by the account that it names (R35): the account is suspended, its orders
    are closed; what runs goes on to its hour's end. In the name of operator or exchange it is the market
    that is not safe: it is frozen.
    """
    account, sequence = request.body["account"], request.body["request"]
    state = d.state
    if account in (d.terms.operator, d.terms.exchange):
        who = "operator" if account == d.terms.operator else "exchange"
        reason = f"request {sequence} in the {who}'s name is not signed by it"
        if state.frozen != reason:  # nor does a market that froze itself go on by itself now
            d.emit(r.Frozen(reason, []))
        return
    if account not in state.accounts or account in state.suspended:
        return
    d.emit(r.AccountSuspended(account, sequence))
    for number in sorted(n for n, order in state.orders.items() if order.account == account and order.size):
        d.emit(r.OrderClosed(number, account, "suspended"))


def checked(d: Decision, request: Request) -> None:
    """How far the notary is (R35)."""
    if request.sequence > request.body["through"] > d.state.checked:
        d.emit(r.SignaturesChecked(request.body["through"]))


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
    "rules": rules,
    "suspend": suspend,
    "checked": checked,
}
ASKED_BY_OTHERS: dict[str, Callable[[Decision, Request], Outcome]] = {
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
    "reinstate": reinstate,
}
