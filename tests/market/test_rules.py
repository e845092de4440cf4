"""The rules in force, each by its number: where it holds and where it bites."""

import pytest

from events import records as r
from events.commit import RULES
from events.profile import SCREEN_NUMBERS
from events.requests import MOST_ORDERS, encode
from events.subjects import CLIENT
from exchange.admission import admit
from exchange.decision import NewerRulesError
from exchange.engine import Engine
from exchange.entities import MOST_ANSWERS
from exchange.entries import rows
from exchange.reputation import PRIOR, largest_counted, share
from exchange.restoring import restore
from tests.market.play import CREDIT, HOUR_US, LOST_US, Play, answer, of

P = 20_000  # micro-credits per CPU hour


def market(
    cpus: int = 4, price: int = P, hour_us: int = HOUR_US, lost_us: int = LOST_US, rules: int = RULES
) -> Play:
    """A seller with one ask, and a buyer with money."""
    play = Play(hour_us=hour_us, lost_us=lost_us, rules=rules)
    play.machine("seller", "m1", cpus)
    play.order("seller", "ask", price, cpus, machine="m1")
    play.account("buyer", 10)
    return play


def test_R1_money_is_integer_and_sums_to_zero() -> None:
    play = market()
    play.order("buyer", "bid", 50_000, 3)
    play.wait(HOUR_US * 2)
    play.check()
    assert play.state.fees == 3 * 2 * (P * 10_000 // 1_000_000)
    assert play.code("buyer", "bid", price=1.5, size=1) == "R5/price/form"


def test_R2_deposits_are_the_operators_alone() -> None:
    play = market()
    key = play.public("buyer")
    assert play.code("operator", "deposit", account=key, amount=5, reference="wire 7") == ""
    assert play.money("buyer") == (10 * CREDIT + 5, 0)
    assert play.code("buyer", "deposit", account=key, amount=5, reference="x") == "R21/operator/not-yours"
    assert play.code("operator", "deposit", account=key, amount=0, reference="x") == "R1/amount/form"
    nobody = play.public("nobody")
    assert play.code("operator", "deposit", account=nobody, amount=5, reference="x") == "R2/account/unknown"
    assert play.code("operator", "account", account=key, name="again") == "R2/account/exists"
    assert play.code("operator", "account", account=nobody, name="buyer") == "R2/name/exists"
    for _ in range(1_153):
        code = play.code("operator", "deposit", account=key, amount=10**15, reference="x")
    assert code == "R1/amount/too-many"


def test_R3_a_contract_holds_one_hour_and_nothing_is_charged_that_was_not_held() -> None:
    play = market()
    play.order("buyer", "bid", 50_000, 2)
    assert play.money("buyer") == (10 * CREDIT - 2 * P, 2 * P)
    charged = of(r.HourCharged, play.wait(HOUR_US))
    assert [event.amount for event in charged] == [P, P]
    assert play.money("buyer") == (10 * CREDIT - 4 * P, 2 * P)


def test_R4_the_fee_is_the_sellers_and_is_rounded_down() -> None:
    play = market(price=99)
    play.order("buyer", "bid", 99, 1)
    (charged,) = of(r.HourCharged, play.wait(HOUR_US))
    assert (charged.amount, charged.fee) == (99, 0)
    assert play.money("seller") == (99, 0)


def test_R5_price_then_time() -> None:
    play = Play()
    for name, price in (("a", P + 2), ("b", P), ("c", P)):
        play.machine(name, "m", 1)
        play.order(name, "ask", price, 1, machine="m")
    play.account("buyer", 10)
    play.order("buyer", "bid", P + 5, 3)
    assert [(seller, price) for _, _, seller, price in play.running()] == [("b", P), ("c", P), ("a", P + 2)]


def test_R5_the_best_bid_is_served_first_at_the_hours_end() -> None:
    play = market(cpus=1)
    play.order("buyer", "bid", P, 1)
    play.account("rich", 10)
    play.order("rich", "bid", P + 1, 1)
    assert [buyer for _, buyer, _, _ in play.running()] == ["buyer"]
    events = play.wait(HOUR_US)
    assert [buyer for _, buyer, _, _ in play.running()] == ["rich"]
    assert [event.reason for event in of(r.ContractEnded, events)] == ["not renewed"]


def test_R6_a_screen_passes_over_what_does_not_pass() -> None:
    play = Play()
    play.machine("small", "m", 4, memory_mb=256, flags=("avx2",))
    play.machine("plain", "m", 4, memory_mb=1024)
    play.machine("good", "m", 4, memory_mb=1024, flags=("avx2",))
    for name, price in (("small", 1), ("plain", 2), ("good", 3)):
        play.order(name, "ask", price, 4, machine="m")
    play.account("buyer", 10)
    play.order("buyer", "bid", 10, 2, minimums={"memory_mb": 512}, flags=["avx2"])
    assert [seller for _, _, seller, _ in play.running()] == ["good", "good"]


def test_R6_a_screen_demands_measured_speed() -> None:
    play = Play()
    for name, price, speed in (
        ("slow", 1, {"mips": 900, "mflops": 5000}),
        ("weak", 2, {"mips": 1100, "mflops": 1999}),
        ("silent", 3, {}),
        ("fast", 4, {"mips": 1000, "mflops": 2000}),
    ):
        play.account(name)
        assert play.code(name, "machine", machine="m", cpus=4, numbers=speed, flags=[]) == ""
        play.back(name, "m")
        play.order(name, "ask", price, 4, machine="m")
    play.account("buyer", 10)
    order = play.order("buyer", "bid", 10, 2, minimums={"mips": 1000, "mflops": 2000})
    assert [seller for _, _, seller, _ in play.running()] == ["fast", "fast"]
    assert play.code("buyer", "amend", order=order, size=3, minimums={"mips": 900}) == ""
    assert [seller for _, _, seller, _ in play.running()] == ["fast", "fast", "slow"]
    play.ask("fast", "machine", machine="m", cpus=4, numbers={"mips": 100, "mflops": 2000}, flags=[])
    play.order("buyer", "bid", 10, 4, minimums={"mips": 1000})
    assert play.running()[-1][2] == "weak", "a profile counts from when it is stated"
    play.check()


def test_R34_speed_is_no_number_of_a_profile_before_rules_3() -> None:
    play = market(rules=2)
    assert SCREEN_NUMBERS[:3] == ("memory_mb", "jail", "reputation"), "the order of the book and of events"
    asked = {"machine": "m1", "cpus": 4, "numbers": {"mips": 1000}, "flags": []}
    bid = {"price": P, "size": 1, "minimums": {"mflops": 1}}

    def codes() -> list[str]:
        many = play.ask("buyer", "orders", orders=[{"kind": "bid", **bid}])
        order = next(iter(play.state.orders))
        alone = [
            play.code("seller", "machine", **asked),
            play.code("buyer", "bid", **bid),
            play.code("seller", "amend", order=order, minimums={"mips": 1}),
        ]
        return alone + [code for event in of(r.OrdersAnswered, many) for code, *_ in event.answers]

    assert codes() == ["R24/numbers/form", "R6/minimums/form", "R9/minimums/form", "R6/minimums/form"]
    assert of(r.RulesChanged, play.own("rules", version=3))
    assert codes()[:2] == ["", ""] and codes()[-1] == ""
    play.check()


def test_R6_blocked_and_alone_allowed_sellers() -> None:
    play = Play()
    for name in ("a", "b"):
        play.machine(name, "m", 1)
        play.order(name, "ask", P, 1, machine="m")
    play.account("buyer", 10)
    play.order("buyer", "bid", P, 2, blocked=[play.public("a")])
    play.order("buyer", "bid", P, 2, only=[play.public("later")])
    assert [seller for _, _, seller, _ in play.running()] == ["b"]
    play.machine("later", "m", 1)
    play.order("later", "ask", P, 1, machine="m")
    assert [seller for _, _, seller, _ in play.running()] == ["b", "later"]


def test_R6_own_orders_never_meet_and_the_client_must_be_there() -> None:
    play = Play()
    play.account("both", 10)
    play.machine("both", "m")
    play.order("both", "ask", P, 4, machine="m")
    play.order("both", "bid", P, 4)
    assert play.running() == []
    play.account("away", 10, present=False)
    play.order("away", "bid", P, 1)
    assert play.running() == []
    play.back("away", CLIENT)
    assert [buyer for _, buyer, _, _ in play.running()] == ["away"]


def test_R6_asks_of_a_machine_offer_no_more_than_it_has() -> None:
    play = Play()
    play.machine("seller", "m", 4)
    play.order("seller", "ask", P, 3, machine="m")
    assert play.code("seller", "ask", price=P, size=2, machine="m") == "R6/size/too-many"
    second = play.order("seller", "ask", P, 1, machine="m")
    assert play.code("seller", "amend", order=second, size=2) == "R6/size/too-many"
    stated = {"machine": "m", "numbers": {}, "flags": []}
    assert play.code("seller", "machine", cpus=3, **stated) == "R6/cpus/too-many"
    assert play.code("seller", "machine", **(stated | {"machine": "client"}), cpus=1) == "R6/machine/reserved"
    assert play.code("seller", "ask", price=P, size=1, machine="none") == "R6/machine/unknown"
    flags = [f"f{n}" for n in range(512)]
    assert play.code("seller", "machine", machine="n", cpus=1, numbers={}, flags=flags) == ""
    assert (
        play.code("seller", "machine", machine="n", cpus=1, numbers={}, flags=["one-more"])
        == "R6/flags/too-many"
    )


def test_R6_a_cpu_that_runs_is_not_sold_again() -> None:
    play = market(cpus=1)
    play.order("buyer", "bid", P, 5)
    assert play.code("seller", "amend", order=1, size=0) == ""
    assert len(play.running()) == 1
    assert play.code("seller", "ask", price=P, size=1, machine="m1") == "R6/size/too-many"
    stated = {"machine": "m1", "numbers": {}, "flags": []}
    play.wait(HOUR_US)
    assert play.running() == []
    assert play.code("seller", "machine", cpus=1, **stated) == ""
    play.order("seller", "ask", P, 1, machine="m1")
    assert len(play.running()) == 1


def test_R7_who_rests_sets_the_price_and_otherwise_the_ask() -> None:
    play = market(price=P)
    play.order("buyer", "bid", P + 7, 1)
    assert play.running()[0][3] == P
    resting = market(cpus=1, price=P + 9)
    resting.order("buyer", "bid", P + 8, 1)
    resting.machine("cheap", "m", 1)
    resting.order("cheap", "ask", P, 1, machine="m")
    assert resting.running()[0][2:] == ("cheap", P + 8)
    resting.wait(HOUR_US)
    assert resting.running()[0][2:] == ("cheap", P), "at the hour's end the price is the ask's"


def test_R8_an_order_expires_in_market_time() -> None:
    play = Play()
    play.machine("seller", "m")
    ask = play.order("seller", "ask", P, 4, machine="m", lifetime_us=HOUR_US // 2)
    play.wait(HOUR_US // 2 - 10_000)
    assert ask in play.state.orders
    assert [event.reason for event in of(r.OrderClosed, play.wait(20_000))] == ["expired"]
    assert ask not in play.state.orders


def test_R8_orders_wait_in_a_freeze_and_match_when_it_ends() -> None:
    play = market()
    play.ask("operator", "freeze", reason="test")
    play.order("buyer", "bid", P + 5, 1)
    assert play.running() == []
    play.ask("operator", "unfreeze", reason="test")
    assert [price for _, _, _, price in play.running()] == [P]


def test_R9_what_keeps_its_place_and_what_is_a_new_arrival() -> None:
    def first_served(**change: object) -> str:
        play = Play()
        for name in ("one", "two"):
            play.account(name, 10)
        order = play.order("one", "bid", P, 2, minimums={"memory_mb": 100})
        play.order("two", "bid", P, 2)
        if change:
            assert play.code("one", "amend", order=order, **change) == ""
        play.machine("seller", "m", 1)
        play.order("seller", "ask", P, 1, machine="m")
        return play.running()[0][1]

    assert first_served() == "one"
    assert first_served(size=1) == "one"
    assert first_served(minimums={"memory_mb": 200}) == "one"
    assert first_served(size=3) == "two"
    assert first_served(minimums={"memory_mb": 50}) == "two"
    assert first_served(price=P + 1) == "one", "a better limit is a new arrival, and a better price"
    assert first_served(price=P - 1) == "two"


def test_R9_shrinking_ends_nothing_and_the_first_to_end_is_not_renewed() -> None:
    play = market(cpus=4)
    bid = play.order("buyer", "bid", P, 3)
    assert play.code("buyer", "amend", order=bid, size=1) == ""
    assert len(play.running()) == 3
    play.wait(HOUR_US)
    assert [number for number, *_ in play.running()] == [1]
    assert play.code("buyer", "amend", order=bid, size=0) == ""
    assert len(play.running()) == 1
    assert play.code("buyer", "amend", order=bid, size=1) == "R9/order/unknown"
    play.wait(HOUR_US)
    assert play.running() == [] and bid not in play.state.orders


def test_R9_refusals() -> None:
    play = market()
    bid = play.order("buyer", "bid", P - 1, 3)
    assert play.code("seller", "amend", order=bid, size=1) == "R9/order/unknown"
    assert play.code("buyer", "amend", order=bid) == "R9/order/no-change"
    assert play.code("seller", "amend", order=1, flags=["avx2"]) == "R9/screen/not-a-bid"
    assert play.code("buyer", "amend", order=bid, price=11 * CREDIT) == "R11/price/unfunded"


def test_R10_a_slot_returns_to_its_orders_own_place() -> None:
    play = market(cpus=1)
    play.machine("later", "m", 1)
    play.order("later", "ask", P, 1, machine="m")
    first = play.order("buyer", "bid", P, 1)
    play.ask("buyer", "amend", order=first, size=0)
    play.account("next", 10)
    play.wait(HOUR_US)
    play.order("next", "bid", P, 1)
    assert play.running()[0][2] == "seller", "the older ask is first again"


def test_R11_unfunded_bids_are_refused_on_arrival_and_wake_with_money() -> None:
    play = market(price=3 * CREDIT)
    assert play.code("buyer", "bid", price=11 * CREDIT, size=1) == "R11/price/unfunded"
    play.order("buyer", "bid", 4 * CREDIT, 4)
    assert len(play.running()) == 3, "after three holds of 3, 1 credit is free: less than the limit"
    play.ask("operator", "deposit", account=play.public("buyer"), amount=3 * CREDIT, reference="more")
    assert len(play.running()) == 4
    assert [event.reason for event in of(r.ContractEnded, play.wait(HOUR_US))] == ["not renewed"] * 4


def test_R12_every_request_is_answered_once() -> None:
    play = market()
    message = play.message("buyer", "bid", {"session": 9, "number": 1, "price": P, "size": 1})
    first = answer(play.send(message))
    assert (first.code, first.order, first.matched, first.rests, first.hourly) == ("", 2, [[1, P]], 0, P)
    again = play.send(message._replace(sequence=len(play.requests) + 1))
    assert answer(again) == first and len(play.running()) == 1
    other = play.message("buyer", "bid", {"session": 9, "number": 1, "price": P, "size": 2})
    assert answer(play.send(other)).code == "R12/number/other-content"
    play.ask("buyer", "vote", contract=1, hour=1, good=True)
    far = play.message("buyer", "cancel", {"session": 9, "number": 2000})
    assert answer(play.send(far)).code == "R12/kind/unknown"
    old = play.message("buyer", "bid", {"session": 9, "number": 900, "price": P, "size": 1})
    assert answer(play.send(old)).code == "R12/number/old"
    for session in range(10, 80):
        play.send(play.message("buyer", "sent", {"session": session, "number": 1, "contract": 99}))
    assert answer(play.send(message._replace(sequence=len(play.requests) + 1))).code == "R12/session/old"
    assert len(play.running()) == 1
    extra = play.message("buyer", "bid", {"session": 100, "number": 1, "price": P, "size": 1, "colour": 1})
    assert answer(play.send(extra)).code == "R12/member/unknown"


def test_R13_the_hour_and_its_bounds() -> None:
    play = market(hour_us=10_000_000, lost_us=1_000_000)
    play.order("buyer", "bid", P, 1)
    assert of(r.HourCharged, play.wait(9_990_000)) == []
    assert len(of(r.HourCharged, play.wait(20_000))) == 1
    bad = Play()
    bad.engine = Engine()
    terms = {
        "exchange": play.public("exchange"),
        "hour_us": 10_000_000,
        "lost_after_us": 1_000_001,
        "fee_ppm": 0,
    }
    assert bad.code("operator", "bid", price=1, size=1) == "R33/market/not-open"
    assert bad.code("operator", "open", **terms) == "R19/lost_after_us/too-long"
    assert play.code("operator", "open", **terms) == "R33/market/exists"


def test_R14_all_due_at_one_instant_are_charged_then_renewed_with_their_partners() -> None:
    play = Play()
    play.account("buyer", 10)
    for name in ("a", "b"):
        play.machine(name, "m", 2)
        play.order(name, "ask", P, 2, machine="m")
    play.order("buyer", "bid", P, 3)
    before = play.running()
    events = play.wait(HOUR_US)
    assert play.running() == before
    kinds = [
        event.kind for event in events if event.kind in ("hour_charged", "contract_renewed", "contract_ended")
    ]
    assert kinds == ["hour_charged"] * 3 + ["contract_renewed"] * 3


def test_R14_a_last_partner_is_first_among_asks_of_one_price() -> None:
    play = market(cpus=1)
    play.machine("later", "m", 1)
    late = play.order("later", "ask", P, 1, machine="m")
    play.account("second", 10)
    play.order("second", "bid", P, 1)
    play.order("buyer", "bid", P, 1)
    assert [(buyer, seller) for _, buyer, seller, _ in play.running()] == [
        ("second", "seller"),
        ("buyer", "later"),
    ]
    assert late
    play.ask("second", "amend", order=3, size=0)
    play.wait(HOUR_US)
    assert [(buyer, seller) for _, buyer, seller, _ in play.running()] == [("buyer", "later")]


def test_R16_a_lost_seller_gives_the_hold_back_and_the_slot_is_matched_in_the_same_commit() -> None:
    play = market(cpus=1)
    play.machine("spare", "m", 1)
    play.order("spare", "ask", P + 1, 1, machine="m")
    play.order("buyer", "bid", P + 5, 1)
    play.wait(HOUR_US // 2)
    events = play.lost(("seller", "m1"))
    kinds = [event.kind for event in events]
    assert kinds[-5:] == ["party_lost", "hold_returned", "voted", "contract_ended", "contract_opened"]
    assert [(seller, price) for _, _, seller, price in play.running()] == [("spare", P + 1)]
    assert play.money("seller") == (0, 0)
    (vote,) = of(r.Voted, events)
    assert (vote.good, vote.weight, play.names[vote.about]) == (False, P, "seller")
    assert of(r.HourCharged, play.wait(HOUR_US // 2)) == [], "nothing is paid for the broken hour"


def test_R16_a_start_that_is_not_confirmed_breaks_the_contract() -> None:
    play = market(cpus=2)
    play.order("buyer", "bid", P, 2)
    assert play.code("seller", "sent", contract=1) == "R16/contract/unknown"
    for contract in (1, 2):
        assert play.code("buyer", "sent", contract=contract) == ""
    assert play.code("buyer", "sent", contract=1) == "R16/contract/already"
    assert play.code("buyer", "started", contract=1) == "R16/contract/unknown"
    assert play.code("seller", "started", contract=1) == ""
    assert play.code("seller", "started", contract=1) == "R16/contract/already"
    assert of(r.HoldReturned, play.wait(LOST_US - 10_000)) == []
    (returned,) = of(r.HoldReturned, play.wait(20_000))
    assert (returned.contract, returned.reason) == (2, "not started")


def test_R16_a_renewal_does_not_forget_that_the_start_is_not_confirmed() -> None:
    play = market(cpus=1)
    play.order("buyer", "bid", P, 1)
    play.wait(HOUR_US - LOST_US // 2)
    play.ask("buyer", "sent", contract=1)
    events = play.wait(LOST_US)
    assert len(of(r.HourCharged, events)) == len(of(r.ContractRenewed, events)) == 1
    (returned,) = of(r.HoldReturned, events)
    assert (returned.hour, returned.reason) == (2, "not started")


def test_R16_a_seller_who_leaves() -> None:
    play = market()
    play.order("buyer", "bid", P, 2)
    events = play.ask("seller", "leave", machine="m1")
    assert [event.reason for event in of(r.HoldReturned, events)] == ["left", "left"]
    assert play.running() == [] and play.money("buyer") == (10 * CREDIT, 0)
    assert play.code("seller", "leave", machine="nope") == "R6/machine/unknown"


def test_R17_a_buyer_who_vanishes_pays_the_hour_and_is_not_renewed() -> None:
    play = market()
    play.order("buyer", "bid", P, 1)
    play.lost(("buyer", CLIENT))
    assert len(play.running()) == 1
    events = play.wait(HOUR_US)
    assert len(of(r.HourCharged, events)) == 1 and play.running() == []
    play.back("buyer", CLIENT)
    assert len(play.running()) == 1


def test_R18_a_seller_who_behaves_badly_is_paid_and_voted_on() -> None:
    play = market()
    play.order("buyer", "bid", P, 1)
    play.wait(HOUR_US)
    assert play.code("buyer", "vote", contract=1, hour=1, good=False) == ""
    assert play.money("seller")[0] == P - 200


def test_R19_a_lost_machine_is_not_ready_until_it_is_back() -> None:
    play = market()
    play.lost(("seller", "m1"))
    play.order("buyer", "bid", P, 1)
    assert play.running() == []
    play.back("seller", "m1")
    assert len(play.running()) == 1


def test_R19_when_a_third_fall_silent_together_the_market_freezes_itself() -> None:
    play = Play()
    play.account("buyer", 10)
    for name in "abcdef":
        play.machine(name, "m", 1)
        play.order(name, "ask", P, 1, machine="m")
    play.order("buyer", "bid", P, 6)
    (frozen,) = of(r.Frozen, play.lost(("a", "m"), ("b", "m")))
    assert len(frozen.missing) == 2 and len(play.running()) == 6
    assert play.wait(HOUR_US) == []
    events = play.back("a", "m")
    assert len(of(r.Unfrozen, events)) == 1
    assert [play.names[event.account] for event in of(r.PartyLost, events)] == ["b"]
    assert len(play.running()) == 5
    play.back("b", "m")
    assert len(play.running()) == 6
    play.lost(("a", "m"), ("b", "m"))
    events = play.ask("operator", "unfreeze", reason="they are gone")
    assert len(of(r.PartyLost, events)) == 2 and len(play.running()) == 4
    assert of(r.Frozen, play.lost(("c", "m"))) == [], "one alone is its own fault"


def test_R19_one_seller_alone_and_idle_machines_freeze_nobody() -> None:
    play = market(cpus=2)
    play.order("buyer", "bid", P, 2)
    for name in ("x", "y", "z"):
        play.machine("crowd", name)
        play.machine(f"idle-{name}", "m")
    assert of(r.Frozen, play.lost(("crowd", "x"), ("crowd", "y"), ("idle-x", "m"), ("idle-y", "m"))) == []
    play.order("crowd", "ask", P, 2, machine="z")
    play.order("buyer", "bid", P, 2)
    play.back("crowd", "y")
    play.order("crowd", "ask", P, 2, machine="y")
    play.order("buyer", "bid", P, 2)
    assert len(play.running()) == 6
    assert of(r.Frozen, play.lost(("crowd", "z"), ("crowd", "y"))) == [], "both are one seller's"


def test_R19_a_missing_machine_that_leaves_is_missed_no_more() -> None:
    play = Play()
    play.account("buyer", 10)
    for name in "ab":
        play.machine(name, "m", 1)
        play.order(name, "ask", P, 1, machine="m")
    play.order("buyer", "bid", P, 2)
    assert len(of(r.Frozen, play.lost(("a", "m"), ("b", "m")))) == 1
    play.ask("a", "leave", machine="m")
    assert play.state.frozen
    assert len(of(r.Unfrozen, play.ask("b", "leave", machine="m"))) == 1


def test_R20_an_outage_is_frozen_time_and_an_old_writer_is_ignored() -> None:
    play = market()
    play.order("buyer", "bid", P, 1)
    play.wait(HOUR_US // 2)
    play.time_ns += 3 * HOUR_US * 1000
    play.own("epoch")
    assert play.own("tick") == []
    assert of(r.HourCharged, play.wait(HOUR_US // 2 - 10_000)) == []
    play.send(play.message("exchange", "tick", {"epoch": 1}))
    assert (
        play.send(play.message("exchange", "lost", {"epoch": 1, "parties": [[play.public("seller"), "m1"]]}))
        == []
    )
    play.time_ns += 20_000_000
    assert len(of(r.HourCharged, play.own("tick"))) == 1
    assert play.code("buyer", "tick", epoch=2) != ""


def test_R20_one_tick_moves_five_seconds_at_most_and_never_back() -> None:
    play = Play()
    play.time_ns += 60 * 10**9
    play.own("tick")
    assert play.engine.now_us == 5_000_000
    play.time_ns -= 30 * 10**9
    play.own("tick")
    assert play.engine.now_us == 5_000_000


def test_R21_freeze_halt_and_abort() -> None:
    play = market(cpus=2)
    play.order("buyer", "bid", P, 1)
    for kind in ("freeze", "halt", "abort"):
        assert play.code("buyer", kind, reason="mine") == "R21/operator/not-yours"
    assert play.code("operator", "halt", reason="care") == ""
    assert play.code("operator", "halt", reason="care") == "R21/halt/already"
    play.order("buyer", "bid", P, 1)
    assert len(play.running()) == 1
    assert len(of(r.ContractRenewed, play.wait(HOUR_US))) == 1
    assert play.code("operator", "resume", reason="well") == ""
    assert len(play.running()) == 2
    assert play.code("operator", "resume", reason="well") == "R21/resume/already"
    events = play.ask("operator", "abort", reason="the end")
    assert [event.reason for event in of(r.HoldReturned, events)] == ["aborted"] * 2
    assert of(r.Voted, events) == [] and play.running() == [] and play.state.halted == "the end"


def test_R22_a_freeze_stops_market_time() -> None:
    play = market()
    play.order("buyer", "bid", P, 1)
    play.wait(HOUR_US // 2)
    play.ask("operator", "freeze", reason="benchmark")
    assert play.code("operator", "freeze", reason="again") == "R22/freeze/already"
    assert play.wait(2 * HOUR_US) == []
    assert play.lost(("seller", "m1")) == []
    play.ask("operator", "unfreeze", reason="done")
    assert play.code("operator", "unfreeze", reason="again") == "R22/unfreeze/already"
    assert of(r.HourCharged, play.wait(HOUR_US // 2 - 10_000)) == []
    assert len(of(r.HourCharged, play.wait(20_000))) == 1


def test_R26_each_side_votes_once_until_a_day_after() -> None:
    hour = 600_000_000
    play = market(hour_us=hour, lost_us=hour // 10)
    play.order("buyer", "bid", P, 1)
    assert play.code("buyer", "vote", contract=1, hour=1, good=True) == "R26/hour/unknown"
    play.wait(hour)
    play.account("stranger")
    assert play.code("stranger", "vote", contract=1, hour=1, good=True) == "R26/hour/unknown"
    before = play.state.accounts[play.public("seller")].reputation
    assert play.code("buyer", "vote", contract=1, hour=1, good=True) == ""
    assert play.state.accounts[play.public("seller")].reputation > before
    assert play.code("buyer", "vote", contract=1, hour=1, good=True) == "R26/hour/already"
    assert play.code("seller", "vote", contract=1, hour=1, good=False) == ""
    assert play.state.accounts[play.public("buyer")].reputation < 500_000
    play.wait(24 * hour + 10_000)
    assert play.code("buyer", "vote", contract=1, hour=1, good=True) == "R26/hour/unknown"
    assert play.code("buyer", "vote", contract=1, hour=2, good=True) == ""


def test_R26_no_counterparty_is_more_than_a_tenth_and_alone_allowed_weighs_nothing() -> None:
    assert share({"friend": [10**12, 0]}) == 549_999, "a tenth of the total, and no more"
    assert share({"friend": [10**12, 0], "other": [0, 10**12]}) == 500_000
    assert share({f"b{n}": [10**11, 0] for n in range(10)}) > 999_999 - 10
    for weights in ([5 * 10**6, 4 * 10**5, 10**4], [10**9] * 9 + [1], [3], list(range(1, 10**7, 10**5))):
        counted = [min(weight, largest_counted(sorted(weights, reverse=True))) for weight in weights]
        assert max(counted) * 10 <= PRIOR + sum(counted), weights
    assert share({}) == 500_000
    play = market()
    play.order("buyer", "bid", P, 1, only=[play.public("seller")])
    play.wait(HOUR_US)
    (vote,) = of(r.Voted, play.ask("buyer", "vote", contract=1, hour=1, good=True))
    assert vote.weight == 0


def test_R27_a_screen_sees_reputation_at_once() -> None:
    play = market(cpus=2)
    play.order("buyer", "bid", P, 1)
    play.account("picky", 10)
    play.order("picky", "bid", P, 1, minimums={"reputation": 500_001})
    play.wait(HOUR_US)
    assert [buyer for _, buyer, _, _ in play.running()] == ["buyer"]
    play.ask("buyer", "vote", contract=1, hour=1, good=True)
    assert [buyer for _, buyer, _, _ in play.running()] == ["buyer", "picky"]


def test_R29_a_runtime_is_a_flag_like_any_other() -> None:
    play = Play()
    play.machine("old", "m", 1, flags=("python/3.9",))
    play.order("old", "ask", P, 1, machine="m")
    play.account("buyer", 10)
    play.order("buyer", "bid", P, 1, flags=["python/3.11"])
    assert play.running() == [] and play.money("buyer")[1] == 0


def test_R35_rules_1_refuse_a_false_signature_and_remember_it_nowhere() -> None:
    play = market(rules=1)
    honest = play.message("buyer", "bid", {"session": 5, "number": 1, "price": P, "size": 1})
    forged = encode(play.key("seller"), honest.subject, {"session": 5, "number": 1, "price": P, "size": 1})
    altered = honest.data.replace(b'"size":1', b'"size":4')
    for data in (forged, altered, b"", b"x" * 200, honest.data[:86], honest.data[:87] + b"[]"):
        said = answer(play.send(honest._replace(sequence=len(play.requests) + 1, data=data)))
        assert said.code in ("R35/signature/false", "R35/message/unreadable") and said.number == 0
    assert answer(play.send(honest._replace(sequence=len(play.requests) + 1))).code == ""
    assert len(play.running()) == 1


def test_R35_a_false_signature_suspends_the_account_and_undoes_nothing() -> None:
    play = market()
    play.order("buyer", "bid", P, 1)
    play.order("buyer", "bid", P // 2, 3)
    assert len(play.running()) == 1
    play.own("suspend", account=play.public("buyer"), request=play.requests[-1].sequence)
    assert [event.reason for event in of(r.OrderClosed, [e for _, e in play.events])] == ["suspended"] * 2
    assert len(play.running()) == 1, "what runs goes on to its hour's end"
    assert play.code("buyer", "bid", price=P, size=1) == "R35/account/suspended"
    assert play.own("suspend", account=play.public("buyer"), request=1) == [], "once is enough"
    assert play.code("operator", "reinstate", account=play.public("seller"), reason="x") == (
        "R35/account/not-suspended"
    )
    assert play.code("operator", "reinstate", account=play.public("buyer"), reason="x") == ""
    assert play.code("buyer", "bid", price=P, size=1) == ""
    play.check()


def test_R35_a_false_signature_in_the_operators_name_freezes_the_market() -> None:
    play = market()
    play.own("suspend", account=play.public("operator"), request=7)
    assert "request 7" in play.state.frozen and not play.state.suspended
    assert play.own("suspend", account=play.public("operator"), request=7) == []
    assert play.own("suspend", account=play.public("exchange"), request=9), "the reason is the newest"
    assert play.code("operator", "unfreeze", reason="looked into it") == ""


def test_R35_how_far_signatures_are_checked_only_rises() -> None:
    play = market()
    for through, says in ((3, 3), (2, 3), (10**9, 3), (5, 5)):
        play.own("checked", through=through)
        assert play.state.checked == says


def test_R34_rules_change_by_a_request_and_never_back() -> None:
    play = market(rules=1)
    assert play.state.rules == 1
    assert play.code("buyer", "orders", orders=[{"kind": "bid", "price": P, "size": 1}]) == "R12/kind/unknown"
    assert of(r.RulesChanged, play.own("rules", version=2))
    assert play.own("rules", version=1) == [] and play.state.rules == 2
    assert of(r.OrdersAnswered, play.ask("buyer", "orders", orders=[{"kind": "bid", "price": P, "size": 1}]))


def test_R12_many_orders_in_one_request_are_done_one_by_one() -> None:
    play = market()
    (said,) = of(
        r.OrdersAnswered,
        play.ask(
            "buyer",
            "orders",
            orders=[
                {"kind": "bid", "price": P, "size": 1},
                {"kind": "bid", "price": P, "size": 0},
                {"kind": "fly"},
                7,
                {"kind": "amend", "order": 2, "size": 0},
                {"kind": "bid", "price": 10**12, "size": 1},
                {"kind": "bid", "price": P // 2, "size": 2, "minimums": {"memory_mb": 10}},
                {"kind": "bid", "price": P // 2, "size": 9_999},
            ],
        ),
    )
    assert [answer[0] for answer in said.answers] == [
        "", "R5/size/form", "R12/kind/unknown", "R12/orders/not-an-object", "", "R11/price/unfunded", "",
        "R12/orders/too-many",
    ]  # fmt: skip
    assert said.answers[0][1:] == (2, [[1, P]], 0, P) and said.answers[6][1:] == (3, [], 2, P)
    assert len(play.running()) == 1
    play.check()


def test_R12_what_many_orders_match_fits_in_one_answer() -> None:
    """An amendment that says no size may match as many slots as its order has."""
    play = market()
    first = play.order("buyer", "bid", P // 2, 6_000)
    amend = {"kind": "amend", "order": first, "price": P // 4}
    orders = [
        amend,
        {"kind": "amend", "order": first, "price": P // 2},
        {"kind": "bid", "price": 1, "size": 1},
    ]
    (said,) = of(r.OrdersAnswered, play.ask("buyer", "orders", orders=orders))
    assert [answer[0] for answer in said.answers] == ["", "R12/orders/too-many", "R12/orders/too-many"]


def test_R12_many_orders_are_answered_once() -> None:
    play = market()
    first = play.ask("buyer", "orders", orders=[{"kind": "bid", "price": P, "size": 1}])
    again = play.send(play.requests[-1]._replace(sequence=len(play.requests) + 1))
    assert again == [first[-1]] and len(play.running()) == 1


def test_R12_a_session_remembers_a_bounded_number_of_orders() -> None:
    """What is forgotten for it is refused, never done again; a restored market does the same."""
    play = market()
    nothing = [{"kind": "bid", "price": -1, "size": 1}] * MOST_ORDERS
    sent = []
    for _ in range(MOST_ANSWERS // MOST_ORDERS + 3):
        play.ask("buyer", "orders", orders=nothing)
        sent.append(play.requests[-1])
    session = play.state.sessions[play.public("buyer")][play.session]
    assert session.orders <= MOST_ANSWERS and len(session.answers) == MOST_ANSWERS // MOST_ORDERS
    play.check()
    again = Engine(restore(list(rows(play.state))))
    for stored, known in ((sent[0], False), (sent[2], False), (sent[3], True), (sent[-1], True)):
        for engine in (play.engine, again):
            (event,) = engine.decide(admit(stored._replace(sequence=10**6), 2))
            assert isinstance(event, r.OrdersAnswered) == known, stored.sequence
            if isinstance(event, r.Answered):
                assert event.code == "R12/number/old"


def test_R34_a_change_of_rules_that_the_exchange_did_not_sign_is_refused() -> None:
    play = market(rules=1)
    for version in (1, 2, 3):
        stored = play.message("exchange", "rules", {"epoch": 1, "version": version})
        forged = stored._replace(data=stored.data[:86].swapcase() + stored.data[86:])
        assert answer(play.send(forged)).code == "R35/signature/false"
    assert play.own("rules", version=3) == [] and play.state.rules == 1, "one after the other"
    for version in range(2, RULES + 1):
        play.own("rules", version=version)
    stored = play.message("exchange", "rules", {"epoch": 1, "version": RULES + 1})
    forged = stored._replace(data=b"A" * 86 + stored.data[86:])
    assert answer(play.send(forged)).code == "R35/signature/false"
    with pytest.raises(NewerRulesError):
        play.own("rules", version=RULES + 1)
