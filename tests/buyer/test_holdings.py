"""What a job has bought, and the promise of --max-cost, against a market that does the worst it may."""

import random
from typing import Any

import pytest

from buyer.holdings import Holdings, Vote

HOUR = 3_600_000_000
SOON = 90_000_000


def opened(number: int, price: int, until: int = HOUR, bid: int = 1) -> dict[str, Any]:
    return {
        "kind": "contract_opened",
        "contract": number,
        "bid": bid,
        "ask": 2,
        "buyer": "B",
        "seller": "S",
        "machine": "m",
        "price": price,
        "until_us": until,
    }


def charged(number: int, hour: int, amount: int) -> dict[str, Any]:
    return {"kind": "hour_charged", "contract": number, "hour": hour, "amount": amount, "fee": 0}


def renewed(number: int, hour: int, price: int, until: int) -> dict[str, Any]:
    return {
        "kind": "contract_renewed", "contract": number, "hour": hour, "price": price, "until_us": until
    }  # fmt: skip


def holdings(max_price: int = 50, max_cost: int | None = None) -> Holdings:
    mine = Holdings(max_price, max_cost)
    mine.bids = {1}
    return mine


def test_money_follows_the_events() -> None:
    mine = holdings()
    assert mine.fold(opened(9, 40, bid=7)) is None  # another bid of the account
    assert mine.fold(opened(1, 40)) is not None
    mine.fold(opened(2, 30))
    assert (mine.held, mine.charged, mine.seen) == (70, 0, 2)
    mine.fold(charged(1, 1, 40))
    mine.fold(renewed(1, 2, 45, 2 * HOUR))
    assert (mine.held, mine.charged) == (75, 40)
    mine.fold({"kind": "hold_returned", "contract": 2, "hour": 1, "amount": 30, "reason": "lost"})
    mine.fold({"kind": "contract_ended", "contract": 2, "reason": "lost"})
    assert (mine.held, mine.charged, list(mine.running)) == (45, 40, [1])
    assert mine.fold(charged(9, 1, 40)) is None


def test_contracts_of_an_earlier_process_are_taken_over() -> None:
    mine = holdings()
    row = opened(1, 40) | {"hour": 3, "sent": True, "started": True, "ended": "", "paid": 80}
    over = opened(2, 30) | {"hour": 1, "sent": False, "started": False, "ended": "lost", "paid": 0}
    other = opened(3, 30, bid=8) | {"hour": 1, "sent": True, "started": True, "ended": "", "paid": 5}
    mine.take_over([row, over, other])
    assert (mine.held, mine.charged, mine.seen) == (40, 80, 2)
    assert mine.running[1].sent
    assert mine.running[1].hour == 3


def test_an_hour_is_voted_on_when_it_was_used_or_the_seller_was_at_fault() -> None:
    mine = holdings()
    votes = []
    for number, used, fault in ((1, True, ""), (2, True, "silent"), (3, False, "silent"), (4, False, "")):
        mine.fold(opened(number, 10))
        mine.running[number].used, mine.running[number].fault = used, fault
        change = mine.fold(charged(number, 1, 10))
        assert change is not None
        votes.append(change.vote)
        assert (mine.running[number].used, mine.running[number].fault) == (False, "")
    assert votes == [Vote(1, 1, True, ""), Vote(2, 1, False, "silent"), Vote(3, 1, False, "silent"), None]


def test_without_a_bound_there_is_no_bound() -> None:
    assert holdings().affordable(0, SOON) is None


def test_an_hour_that_is_not_over_soon_does_not_shrink_the_bid() -> None:
    mine = holdings(max_price=50, max_cost=200)
    assert mine.affordable(0, SOON) == 4
    for number in range(4):
        mine.fold(opened(number + 1, 50))
    assert mine.affordable(0, SOON) == 4
    assert mine.affordable(HOUR - SOON, SOON) == 0


@pytest.mark.parametrize("seed", range(40))
def test_max_cost_is_kept_whatever_the_market_does(seed: int) -> None:
    """The market matches, breaks, charges and renews as it likes between two looks of the client; R9 says
    that at the hour's end no more contracts stay than the bid has slots."""
    rng = random.Random(seed)
    price, cost = 50, rng.randrange(0, 1500)
    mine = holdings(price, cost)
    now = number = spent = 0
    for _ in range(200):
        size = min(rng.randrange(1, 9), mine.affordable(now, SOON) or 0)
        span = rng.randrange(1, SOON)  # until the client looks again
        due = [c for c in mine.running.values() if c.until_us <= now + span]
        for contract in due:
            amount, hour = contract.price, contract.hour
            mine.fold(charged(contract.contract, hour, amount))
            if len(mine.running) <= size and rng.random() < 0.9:
                ends = contract.until_us + HOUR
                mine.fold(renewed(contract.contract, hour + 1, rng.randrange(1, price + 1), ends))
            else:
                mine.fold({"kind": "contract_ended", "contract": contract.contract, "reason": "not renewed"})
        for contract in list(mine.running.values()):
            if rng.random() < 0.1:
                back = {"contract": contract.contract, "hour": contract.hour, "reason": "lost"}
                mine.fold({"kind": "hold_returned", "amount": contract.price} | back)
                mine.fold({"kind": "contract_ended"} | back)
        while len(mine.running) < size and rng.random() < 0.8:
            number += 1
            mine.fold(opened(number, rng.randrange(1, price + 1), now + span + HOUR))
        now += span
        if rng.random() < 0.3:
            now = max(now, *[c.until_us - SOON for c in mine.running.values()][:1], 0)
        assert mine.charged + mine.held <= cost
        spent = mine.charged
    assert spent > 0 or cost < 2 * price
