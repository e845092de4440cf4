"""Seeded stress: long mixed runs give the same from the compiled book, its twin, and in small from all pairs.

COREHOUR_STRESS_OPS sets the number of operations of each long run. Far longer ones: `make soak`.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.exchange.book_flow import STYLES, Flow

OPS = int(os.environ.get("COREHOUR_STRESS_OPS", "6000"))
SEED = 20261124
TOLD = {
    *("set_account", "set_machine", "set_ready", "set_number", "keep_screen", "drop_screen", "add_bid"),
    *("add_ask", "reprice", "rescreen", "set_open", "set_spend", "remove", "add_partner", "clear_partners"),
    *("next_match", "settled", "depth", "depth_for", "best", "quote_bid", "quote_ask"),
    *("UnknownOrder", "FinishedOrder", "DuplicateOrder", "BadBookValue"),
    *("match", "match of partners", "match of some of the slots had", "match at the resting bid's price"),
    *("match that money limits", "match that `spend` limits", "match through a screen"),
    *("match past a cheaper ask", "open", "halt", "freeze", "hour's end", "extreme price"),
    *("bid that sleeps", "ask that sleeps"),
}
ASKED = {
    *(f"RESTS of {terms} {side}" for terms in ("STANDING", "ONCE", "POST_ONLY") for side in ("BID", "ASK")),
    *(f"GONE of {terms} {side}" for terms in ("ONCE", "IOC", "FOK") for side in ("BID", "ASK")),
    *("GONE of MARKET BID", "RESTS of AMEND", "GONE of AMEND", "GONE of CANCEL", "EXPIRED of EXPIRE"),
    *(
        f"MATCH of {kind}"
        for kind in ("BID", "ASK", "AMEND", "CANCEL", "SETTLE", "ACCOUNT", "READY", "NUMBER")
    ),
    *(f"BID refused: {code}" for code in ("DUPLICATE", "FINISHED", "BAD_VALUE", "UNFUNDED", "NOT_WHOLE")),
    *(f"ASK refused: {code}" for code in ("DUPLICATE", "FINISHED", "BAD_VALUE", "NOT_WHOLE", "WOULD_MATCH")),
    *(f"AMEND refused: {code}" for code in ("UNKNOWN", "FINISHED", "BAD_VALUE", "WRONG_SIDE", "UNFUNDED")),
    *(f"RETURN refused: {code}" for code in ("UNKNOWN", "BAD_VALUE", "WRONG_SIDE")),
    *("BID refused: WOULD_MATCH", "CANCEL refused: UNKNOWN", "CANCEL refused: FINISHED"),
    *(f"{kind} refused: BAD_VALUE" for kind in ("ACCOUNT", "READY", "NUMBER", "no kind")),
    *("bid", "ask", "amend", "cancel", "bid: OrderRefused", "ask: OrderRefused", "amend: OrderRefused"),
    *("bid: DuplicateOrder", "bid: BadBookValue", "ask: BadBookValue", "amend: UnknownOrder"),
}
CROWDS = {
    *("more than 64 kinds", "more than 128 kinds", "more than 200 kinds", "more than 300 kept screens"),
    *("more than 64 screens of bids", "more than 128 screens of bids"),
}
RARE = {  # in short runs
    *("amend: UnknownOrder", "match that `spend` limits", "no kind refused: BAD_VALUE", "cancel"),
    *("ACCOUNT refused: BAD_VALUE", "READY refused: BAD_VALUE", "NUMBER refused: BAD_VALUE"),
    *("RETURN refused: WRONG_SIDE", "AMEND refused: WRONG_SIDE", "AMEND refused: BAD_VALUE"),
    *("RETURN refused: UNKNOWN", "FinishedOrder", "BID refused: FINISHED", "ASK refused: FINISHED"),
    "RETURN refused: BAD_VALUE",
}


def test_long_mixed_runs_agree_with_the_twin() -> None:
    seen: Counter[str] = Counter()
    for style in STYLES:
        flow = Flow(SEED, style)
        flow.run(OPS, checks=10)
        seen.update(flow.seen)
    missing = {what for what in TOLD | ASKED | CROWDS if not seen[what]}
    assert not missing, f"never happened: {missing}"


@pytest.mark.parametrize("seed", range(3))
def test_short_mixed_runs_agree_with_all_pairs(seed: int) -> None:
    seen: Counter[str] = Counter()
    for style in STYLES:
        flow = Flow(seed, style, oracle=True)
        flow.run(1100)
        seen.update(flow.seen)
    missing = {what for what in (TOLD | ASKED) - RARE if not seen[what]}
    assert not missing, f"never happened: {missing}"
