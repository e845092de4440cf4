"""The invariants of the compiled book, checked on its state as plain Python (`Book._state` gives it)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from exchange.book import ASK, BID

State = dict[str, Any]
Row = dict[str, Any]
LIVE, TOUCHED = 0, 1


def check_state(state: State) -> None:
    """Raise AssertionError, with the state, where an invariant is broken. O(orders)."""
    try:
        _check_orders(state)
        _check_owners(state)
        _check_screens(state)
        _check_partners(state)
        for side in (BID, ASK):
            _check_tree(state, state["live"][side], side, LIVE)
            _check_tree(state, state["touched"][side], side, TOUCHED)
    except (AssertionError, KeyError, IndexError) as broken:
        dump = "\n".join(f"{name}: {value}" for name, value in state.items())
        raise AssertionError(f"{type(broken).__name__}: {broken}\n{dump}") from broken


def _used(state: State) -> dict[int, Row]:
    return {slot: row for slot, row in enumerate(state["orders"]) if slot and row["id"] >= 0}


def _may_match(state: State, row: Row) -> bool:
    if row["side"] == ASK:
        return row["open"] > 0 and bool(state["machines"][row["owner"]]["ready"])
    account = state["accounts"][row["owner"]]
    return row["open"] > 0 and bool(account["present"]) and account["free"] >= row["price"]


def _check_orders(state: State) -> None:
    """Every order is found by its id, live exactly while it may match, touched only while live."""
    orders, used = state["orders"], _used(state)
    assert state["slots"] == {row["id"]: slot for slot, row in used.items()}, "ids and slots differ"
    assert state["count"] == len(used), f"{len(used)} orders, count is {state['count']}"
    for row in used.values():
        assert bool(row["live"]) == _may_match(state, row), f"order {row['id']}: live is {row['live']}"
        assert row["live"] or not row["touched"], f"order {row['id']} is touched and not live"
    slot, free = state["orders_free"], 0
    while slot:
        assert slot not in used and not orders[slot]["live"], f"free slot {slot} is used"
        slot, free = orders[slot]["owner_after"], free + 1
        assert free < len(orders), "the free slots run in a circle"
    assert free + len(used) == len(orders) - 1, f"{free} free and {len(used)} used of {len(orders) - 1} slots"
    assert not state["cursor"] or orders[state["cursor"]]["live"], "the cursor stands on no live bid"


def _check_owners(state: State) -> None:
    """Every order is once in its owner's list, within the bounds of its account's prices."""
    orders, listed = state["orders"], Counter[int]()
    for side, owners in ((BID, state["accounts"]), (ASK, state["machines"])):
        for owner, entry in owners.items():
            slot, before = entry["orders"], 0
            while slot:
                row = orders[slot]
                assert (row["side"], row["owner"], row["owner_before"]) == (side, owner, before), (
                    f"slot {slot} in the list of owner {owner}"
                )
                if side == BID:
                    assert entry["lowest"] <= row["price"] <= entry["highest"], f"bounds of account {owner}"
                listed[slot] += 1
                assert listed[slot] == 1, f"slot {slot} is listed twice"
                slot, before = row["owner_after"], slot
    assert listed.keys() == _used(state).keys(), "orders without an owner's list"


def _check_screens(state: State) -> None:
    """Every screen is stored once, and counts its bids."""
    counts = Counter(row["screen"] for row in _used(state).values() if row["side"] == BID)
    stored = {screen: at for at, screen in enumerate(state["screens"]) if screen is not None}
    assert state["interned"] == stored, "the screens stored and those interned differ"
    for at, screen in enumerate(state["screens"]):
        if at:
            assert (screen is None) == (counts[at] == 0) == (at in state["screens_free"]), f"screen {at}"
            assert state["bids_of_screens"][at] == counts[at], f"screen {at} has {counts[at]} bids"


def _check_partners(state: State) -> None:
    """Every partner entry in use is once in its bid's list and once in its ask's."""
    orders, partners, used = state["orders"], state["partners"], _used(state)
    taken = {entry for entry, row in enumerate(partners) if entry and row["slots"]}
    for side in (BID, ASK):
        listed = []
        for slot, row in used.items():
            entry, before = row["partners"], 0
            while entry and row["side"] == side:
                assert partners[entry]["orders"][side] == slot, f"partner entry {entry} of slot {slot}"
                assert partners[entry]["before"][side] == before, f"partner entry {entry} after {before}"
                assert partners[entry]["slots"] > 0, f"partner entry {entry} counts none"
                listed.append(entry)
                assert len(listed) <= len(taken), "the partners run in a circle"
                entry, before = partners[entry]["after"][side], entry
        assert sorted(listed) == sorted(taken), f"partner entries of side {side}: {listed}, taken {taken}"
    pairs = Counter((partners[e]["orders"][BID], partners[e]["orders"][ASK]) for e in taken)
    assert all(n == 1 for n in pairs.values()), f"partners twice: {pairs}"
    assert all(orders[b]["side"] == BID and orders[a]["side"] == ASK for b, a in pairs), f"sides of {pairs}"


def _check_tree(state: State, tree: Row, side: int, which: int) -> None:
    """The tree, walked in order, is its list: exactly the side's live (or touched) orders, the best first."""
    orders = state["orders"]
    word = "live" if which == LIVE else "touched"

    def links(slot: int) -> Row:
        row: Row = orders[slot]["links"][which]
        return row

    def key(slot: int) -> tuple[int, int, int]:
        row = orders[slot]
        return (-row["price"] if side == BID else row["price"], row["place"], row["id"])

    wanted = sorted((s for s, row in _used(state).items() if row["side"] == side and row[word]), key=key)
    listed: list[int] = []
    walked: list[int] = []
    above: list[int] = []
    slot = tree["first"]
    while slot:
        assert links(slot)["before"] == (listed[-1] if listed else 0), f"{word} list before slot {slot}"
        listed.append(slot)
        assert len(listed) <= len(wanted), f"{word} list of side {side}: {listed}, not {wanted}"
        slot = links(slot)["after"]
    assert listed == wanted, f"{word} list of side {side}: {listed}, not {wanted}"
    slot = tree["root"]
    while slot or above:
        while slot:
            above.append(slot)
            assert len(above) <= len(wanted), f"{word} tree of side {side} has a circle"
            slot = links(slot)["left"]
        walked.append(above.pop())
        assert len(walked) <= len(wanted), f"{word} tree of side {side}: {walked}, not {wanted}"
        slot = links(walked[-1])["right"]
    assert walked == wanted, f"{word} tree of side {side}: {walked}, not {wanted}"
