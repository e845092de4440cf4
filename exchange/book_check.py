"""The invariants of the compiled book, checked on its state as plain Python (`Book._state` gives it)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from exchange.book import ASK, BID, INDEX_BITS, INT32_MIN

State = dict[str, Any]
Row = dict[str, Any]
INT64_MAX = 2**63 - 1
NOT_KNOWN = -(2**63)  # key of a touched ask whose best bid has not been looked for


def check_state(state: State) -> None:
    """Raise AssertionError, with the state, where an invariant is broken. O(orders + screens * kinds)."""
    try:
        _check_orders(state)
        _check_owners(state)
        for side in (BID, ASK):
            _check_tags(state, side)
            _check_levels(state, side)
            _check_touched(state, side)
        _check_screens(state)
        _check_kinds(state)
        _check_passing(state)
        _check_partners(state)
        _check_expiry(state)
    except (AssertionError, KeyError, IndexError) as broken:
        dump = "\n".join(f"{name}: {value}" for name, value in state.items())
        raise AssertionError(f"{type(broken).__name__}: {broken}\n{dump}") from broken


def _there(state: State) -> dict[int, Row]:
    return {slot: row for slot, row in state["orders"].items() if row["there"]}


def _open(row: Row) -> int:
    return max(0, int(row["size"]) - int(row["running"]))


def _spend(state: State, slot: int) -> int:
    return int(state["bounds"][slot]["spend"]) if state["orders"][slot]["bounded"] else INT64_MAX


def _may_match(state: State, slot: int) -> bool:
    row = state["orders"][slot]
    if row["side"] == ASK:
        return _open(row) > 0 and bool(state["machines"][row["owner"]]["ready"])
    account = state["accounts"][row["owner"]]
    least = min(account["free"], _spend(state, slot))
    return _open(row) > 0 and bool(account["present"]) and least >= row["price"]


def _key(row: Row) -> tuple[int, int]:
    return (row["price"] if row["side"] == ASK else -row["price"], row["place"])


def _account(state: State, row: Row) -> int:
    return int(row["owner"] if row["side"] == BID else state["machines"][row["owner"]]["account"])


def _check_orders(state: State) -> None:
    """Every order is at its index, and live exactly while it may match."""
    there = _there(state)
    assert state["count"] == len(there), f"{len(there)} orders, count is {state['count']}"
    for slot, row in state["orders"].items():
        assert row["id"] & ((1 << INDEX_BITS) - 1) == slot - 1, f"slots differ: order {row['id']} in {slot}"
        assert row["there"] or not (row["live"] or row["partners"]), f"slot {slot} is empty and in use"
    for slot, row in there.items():
        assert bool(row["live"]) == _may_match(state, slot), f"order {row['id']}: live is {row['live']}"
        assert row["size"] >= 0 and row["running"] >= 0, f"order {row['id']}: size and running"
        assert row["place"] <= state["last_place"], f"order {row['id']}: place behind the last"
        assert not row["once"] or row["running"] == 0, f"order {row['id']} is sold once and has running slots"


def _check_owners(state: State) -> None:
    """Every order is once in its owner's list, within the bounds of its account's prices."""
    orders, listed = state["orders"], Counter[int]()
    for side, owners in ((BID, state["accounts"]), (ASK, state["machines"])):
        for owner, entry in owners.items():
            slot, before = entry["orders"], 0
            assert side == ASK or entry["taken"] == 0, f"a quote left something with account {owner}"
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
    assert listed.keys() == _there(state).keys(), "orders without an owner's list"


def _check_heap(what: str, heap: list[Row], where: dict[int, int] | None, ids: Iterable[int]) -> None:
    """No entry precedes the one above it, each is once, and knows its place."""
    for at, entry in enumerate(heap):
        above = heap[(at - 1) // 4] if at else entry
        assert (above["price"], above["place"], above["id"]) <= (
            entry["price"],
            entry["place"],
            entry["id"],
        ), f"{what}: {entry} is below {above}"
        assert where is None or where[entry["id"]] == at + 1, f"{what}: place of {entry}"
    assert sorted(entry["id"] for entry in heap) == sorted(ids), f"{what}: who is in it"


def _check_tags(state: State, side: int) -> None:
    """A tag's heap holds its live orders, a side's heap its tags by their best."""
    tags, orders = state["sides"][side]["tags"], state["orders"]
    live: dict[int, list[int]] = {}
    for slot, row in _there(state).items():
        if row["side"] == side:
            assert tags[row["tag"]]["used"], f"order {row['id']} has a tag that nobody holds"
            if row["live"]:
                live.setdefault(row["tag"], []).append(slot)
    for tag, row in tags.items():
        heap = row["orders"]
        _check_heap(f"tag {tag} of side {side}", heap, state["in_tag"], live.get(tag, []))
        for entry in heap:
            order = orders[entry["id"]]
            assert (entry["price"], entry["place"]) == _key(order), f"key of order {order['id']}"
            assert entry["account"] == _account(state, order), f"account of order {order['id']}"
        assert row["top"] == (heap[0]["price"] if heap else INT64_MAX), f"top of tag {tag}, side {side}"
        assert bool(row["where"]) == bool(heap), f"tag {tag} of side {side} in the heap of tags"
    best = state["sides"][side]["best"]
    _check_heap(f"best of side {side}", best, {t: row["where"] for t, row in tags.items()}, live)
    for entry in best:
        top = tags[entry["id"]]["orders"][0]
        assert (entry["price"], entry["place"]) == (top["price"], top["place"]), f"best: {entry}, not {top}"
    slots = [entry["id"] for row in tags.values() for entry in row["orders"]]
    mine = [slot for slot in state["in_tag"] if orders[slot]["side"] == side]
    assert sorted(slots) == sorted(mine), f"places in tags of side {side}"


def _check_levels(state: State, side: int) -> None:
    """What is shown at each price is the sum of the live orders'."""
    levels = state["levels"][side]
    shown: Counter[int] = Counter()
    orders: Counter[int] = Counter()
    for row in _there(state).values():
        if row["side"] == side and row["live"]:
            shown[_key(row)[0]] += _open(row)
            orders[_key(row)[0]] += 1
    found = {level["price"]: (level["open"], level["orders"]) for level in levels["levels"]}
    assert found == {price: (shown[price], orders[price]) for price in shown}, f"levels of side {side}"
    places = {entry["id"]: where for entry, where in zip(levels["prices"], levels["where"], strict=True)}
    _check_heap(f"prices of side {side}", levels["prices"], places, places)
    for level, entry in zip(levels["levels"], levels["prices"], strict=True):
        assert level["price"] == entry["price"], f"level {level}, entry {entry}"


def _check_touched(state: State, side: int) -> None:
    """Who is touched is live; a bid stands by its own key, an ask by its best bid's."""
    orders, heap = state["orders"], state["touched"][side]
    mine = [slot for slot in state["in_touched"] if orders[slot]["side"] == side]
    _check_heap(f"touched of side {side}", heap, state["in_touched"], mine)
    for entry in heap:
        row = orders[entry["id"]]
        assert row["there"] and row["live"], f"order {row['id']} is touched and not live"
        if side == BID:
            assert (entry["price"], entry["place"]) == _key(row), f"key of touched order {row['id']}"
        else:
            assert entry["account"] or entry["price"] == NOT_KNOWN, f"key of touched order {row['id']}"


def _check_screens(state: State) -> None:
    """Every screen is stored once, counts its holders, and asks what it says."""
    counts = Counter(row["tag"] for row in _there(state).values() if row["side"] == BID)
    stored = {screen: at for at, screen in enumerate(state["screens"]) if screen is not None}
    assert state["interned"] == stored, "the screens stored and those interned differ"
    side = state["sides"][BID]
    named = [0] * len(side["named"])
    for at, screen in enumerate(state["screens"]):
        tag, demand = side["tags"][at], state["demands"][at]
        assert (screen is not None) == tag["used"], f"screen {at} is used"
        if screen is None:
            continue
        assert tag["holders"] == counts[at] + demand["kept"], f"screen {at} has {tag['holders']} holders"
        assert tag["holders"] or demand["idle"], f"screen {at} has no holder and is not idle"
        flags = [int.from_bytes(screen.flags.to_bytes(64, "little")[i : i + 4], "little") for i in range(0, 64, 4)]
        row = [*screen.minimums, *(word - (word >> 31 << 32) for word in flags)]
        assert list(demand["row"]) == list(tag["row"]) == row, f"row of screen {at}"
        asks = sum(1 << i for i, n in enumerate(row) if n != (INT32_MIN if i < 16 else 0))
        assert demand["named"] == asks, f"columns of screen {at}"
        accounts = (sorted(screen.only), sorted(screen.blocked))
        assert (demand["accounts"] or ([], [])) == accounts, f"accounts of screen {at}"
        named[at // 64] |= asks
    assert side["named"] == named, f"columns of blocks {side['named']}, not {named}"


def _check_kinds(state: State) -> None:
    """Every profile is one kind, with the machines that have it."""
    machines = Counter(machine["kind"] for machine in state["machines"].values())
    kinds = state["sides"][ASK]["tags"]
    used = {tag: row for tag, row in kinds.items() if row["used"]}
    assert {tag: row["holders"] for tag, row in used.items()} == machines, "machines of kinds"
    assert len({row["row"] for row in used.values()}) == len(used) == state["kinds"], "kinds that are the same"
    for row in _there(state).values():
        if row["side"] == ASK:
            kind = state["machines"][row["owner"]]["kind"]
            assert row["tag"] == kind, f"kind of order {row['id']}: {row['tag']}, not {kind}"


def _passes(machine: tuple[int, ...], screen: tuple[int, ...]) -> bool:
    return all(have >= want for have, want in zip(machine[:16], screen[:16], strict=True)) and all(
        want & ~have == 0 for have, want in zip(machine[16:], screen[16:], strict=True)
    )


def _check_passing(state: State) -> None:
    """What screens remember is true."""
    kinds = {tag: row["row"] for tag, row in state["sides"][ASK]["tags"].items() if row["used"]}
    words = 0
    for at, demand in enumerate(state["demands"]):
        if demand["passing"] is not None:
            words += state["room_words"]
            true = [kind for kind, row in kinds.items() if _passes(row, demand["row"])]
            assert demand["passing"] == true, f"screen {at}: {demand['passing']}, not {true}"
            assert demand["passes"] == len(true), f"screen {at}: {demand['passes']} kinds pass"
    assert state["words"] == words, f"{words} words are remembered, {state['words']} are counted"


def _check_partners(state: State) -> None:
    """Every partner entry is once in its bid's list and once in its ask's; live bids with some are in renewals."""
    orders, partners, there = state["orders"], state["partners"], _there(state)
    taken = {entry for entry, row in enumerate(partners) if entry and row["slots"]}
    for side in (BID, ASK):
        listed = []
        for slot, row in there.items():
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
    bids = [slot for slot, row in there.items() if row["side"] == BID and row["live"] and row["partners"]]
    _check_heap("renewals", state["renewals"], state["in_renewals"], bids)
    assert sorted(state["in_renewals"]) == sorted(bids), "places in renewals"
    for entry in state["renewals"]:
        assert (entry["price"], entry["place"]) == _key(orders[entry["id"]]), f"renewals: key of {entry}"


def _check_expiry(state: State) -> None:
    """Who expires is in the heap of those that do, by when."""
    expires = {
        slot: state["bounds"][slot]["expires"]
        for slot, row in _there(state).items()
        if row["bounded"] and state["bounds"][slot]["expires"]
    }
    _check_heap("expiry", state["expiry"], state["in_expiry"], expires)
    assert sorted(state["in_expiry"]) == sorted(expires), "places in expiry"
    for entry in state["expiry"]:
        wanted = (expires[entry["id"]], state["orders"][entry["id"]]["id"])
        assert (entry["price"], entry["place"]) == wanted, f"expiry: {entry}"
