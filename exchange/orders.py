"""What bids, asks and amendments do (R5-R11), alone or many in one request.

A handler refuses before it emits anything, or it does the whole.
"""

from collections.abc import Callable
from typing import Any

from events import records as r
from events.profile import MOST_FLAGS, Screen
from events.requests import MOST_CPUS, Request
from exchange.admission import admit_order
from exchange.decision import Decision, Outcome, Refusal
from exchange.entities import Order
from exchange.hour import match


def _outcome(d: Decision, order: int, matched: list[list[int]]) -> Outcome:
    standing = d.state.orders[order]
    hourly = standing.size * standing.price if standing.is_bid else 0
    return Outcome(order, matched, standing.open, hourly)


def bid(d: Decision, account: str, body: dict[str, Any]) -> Outcome:
    """A new bid (R5-R8, R11)."""
    if d.state.accounts[account].free < body["price"]:
        raise Refusal("R11/price/unfunded")
    check_flags(d, body["flags"])
    number = d.state.last_order + 1
    minimums, flags, only, blocked = body["minimums"], body["flags"], body["only"], body["blocked"]
    if minimums or flags or only or blocked:
        screen = Screen.of(body)
        minimums, flags, only, blocked = screen.parts()
    expires = _expiry(d, body["lifetime_us"])
    d.emit(r.BidPlaced(number, account, body["price"], body["size"], minimums, flags, only, blocked, expires))
    return _outcome(d, number, match(d, number))


def ask(d: Decision, account: str, body: dict[str, Any]) -> Outcome:
    """A new ask (R5-R8); all asks of a machine together offer no more than it has (R6)."""
    machine = d.state.machines.get((account, body["machine"]))
    if machine is None:
        raise Refusal("R6/machine/unknown")
    if machine.offered + body["size"] > machine.cpus:
        raise Refusal("R6/size/too-many")
    number = d.state.last_order + 1
    expires = _expiry(d, body["lifetime_us"])
    d.emit(r.AskPlaced(number, account, body["machine"], body["price"], body["size"], expires))
    return _outcome(d, number, match(d, number))


def _expiry(d: Decision, lifetime_us: int) -> int:
    return d.now_us + lifetime_us if lifetime_us else 0


def check_flags(d: Decision, flags: list[str]) -> None:
    """The market knows so many flags at most (R6). Raises Refusal. O(flags)."""
    if not flags:
        return
    new = sum(flag not in d.state.flags for flag in flags)
    if len(d.state.flags) + new > MOST_FLAGS:
        raise Refusal("R6/flags/too-many")


def amend(d: Decision, account: str, body: dict[str, Any]) -> Outcome:
    """New terms of an order; its place in time by R9."""
    order = d.state.orders.get(body["order"])
    if order is None or order.account != account or order.size == 0:
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
    check_flags(d, list(screen.flags))
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


def alone(d: Decision, request: Request) -> Outcome:
    """A request of one order."""
    return ORDERS[request.kind](d, request.account, request.body)


def _most(d: Decision, body: dict[str, Any]) -> int:
    """How many slots an order may match at once; one that is amended has its size where none is given."""
    if body["size"] is not None:
        return int(body["size"])
    order = d.state.orders.get(body["order"])
    return order.size if order is not None else 0


def many(d: Decision, request: Request) -> list[r.Answer]:
    """A request of many orders: each is done, or refused, as if it had come alone (R12)."""
    answers: list[r.Answer] = []
    slots = 0
    for order in request.body["orders"]:
        kind, body, code = admit_order(order, d.state.rules)
        outcome = Outcome()
        if not code:
            slots += _most(d, body)
            try:
                if slots > MOST_CPUS:  # what they match must fit in one answer
                    raise Refusal("R12/orders/too-many")
                outcome = ORDERS[kind](d, request.account, body)
                match(d)
            except Refusal as refusal:
                code = refusal.code
        answers.append((code, outcome.order, outcome.matched, outcome.rests, outcome.hourly))
    return answers


ORDERS: dict[str, Callable[[Decision, str, dict[str, Any]], Outcome]] = {
    "bid": bid,
    "ask": ask,
    "amend": amend,
}
