"""The invariants of the compiled book, checked on its state as plain Python (`Book._state` gives it)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from exchange.book import ASK, BID, INDEX_BITS, INT32_MIN

State = dict[str, Any]
Row = dict[str, Any]
INT64_MAX = 2**63 - 1
ONCE, PARTNERED = 1, 2  # bits of an order's traits
NOT_KNOWN = -(2**63)  # key of a touched ask whose best bid has not been looked for


def check_state(state: State) -> None:
    """Raise AssertionError, with the state, where an invariant is broken. O(orders + screens * kinds)."""
    try:
        _check_orders(state)
        _check_owners(state)
        _check_runs(state)
        for side in (BID, ASK):
            _check_tags(state, side)
            _check_touched(state, side)
        _check_screens(state)
        _check_kinds(state)
        _check_passing(state)
        _check_partners(state)
        _check_expiry(state)
        _check_hungry(state)
    except (AssertionError, KeyError, IndexError) as broken:
        dump = "\n".join(f"{name}: {value}" for name, value in state.items())
        raise AssertionError(f"{type(broken).__name__}: {broken}\n{dump}") from broken


def _there(state: State) -> dict[int, Row]:
    return {slot: row for slot, row in state["orders"].items() if row["there"] == 2}


def _open(row: Row) -> int:
    return max(0, int(row["size"]) - int(row["running"]))


def _may_match(state: State, slot: int) -> bool:
    row = state["orders"][slot]
    if row["side"] == ASK:
        return _open(row) > 0 and bool(state["machines"][row["owner"]]["ready"])
    account = state["accounts"][row["owner"]]
    least = min(account["free"], row["spend"])
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
        assert row["there"] == 2 or not (row["live"] or row["traits"] & PARTNERED), (
            f"slot {slot} is empty and in use"
        )
    for slot, row in there.items():
        assert bool(row["live"]) == _may_match(state, slot), f"order {row['id']}: live is {row['live']}"
        assert row["size"] >= 0 and row["running"] >= 0, f"order {row['id']}: size and running"
        assert row["place"] <= state["last_place"], f"order {row['id']}: place behind the last"
        assert not row["traits"] & ONCE or row["running"] == 0, (
            f"order {row['id']} is sold once and has running slots"
        )


def _check_owners(state: State) -> None:
    """Every order is once in its owner's list, known to the bounds of its account's money."""
    orders, listed = state["orders"], Counter[int]()
    for side, owners in ((BID, state["accounts"]), (ASK, state["machines"])):
        for owner, entry in owners.items():
            slot, before = entry["orders"], 0
            assert side == ASK or entry["taken"] == 0, f"a quote left something with account {owner}"
            while slot:
                row = orders[slot]
                links = state["links"][slot]
                assert (row["side"], row["owner"], links["owner_before"]) == (side, owner, before), (
                    f"slot {slot} in the list of owner {owner}"
                )
                if side == BID:
                    paid = row["price"] <= entry["free"]
                    known = row["price"] <= entry["awake"] if paid else row["price"] >= entry["asleep"]
                    assert known, f"bounds of account {owner}: {entry}, a bid of {row['price']}"
                listed[slot] += 1
                assert listed[slot] == 1, f"slot {slot} is listed twice"
                slot, before = links["owner_after"], slot
    assert listed.keys() == _there(state).keys(), "orders without an owner's list"


def _check_heap(what: str, heap: list[Row], where: dict[int, int] | None, ids: Iterable[int]) -> None:
    """No entry precedes the one above it, each is once, and knows its place."""
    for at, entry in enumerate(heap):
        above = heap[(at - 1) // 4] if at else entry
        assert (above["price"], above["place"]) <= (entry["price"], entry["place"]), (
            f"{what}: {entry} is below {above}"
        )
        assert where is None or where[entry["id"]] == at + 1, f"{what}: place of {entry}"
    assert sorted(entry["id"] for entry in heap) == sorted(ids), f"{what}: who is in it"


def _check_runs(state: State) -> None:
    """Every live order is once in a run of its tag and price, by places; listed runs are found."""
    orders, links = state["orders"], state["links"]
    seen: set[int] = set()
    runs = {at: run for at, run in state["runs"].items() if run["tag"] >= 0}
    for at, run in runs.items():
        slot, before, shown = run["first"], 0, 0
        assert slot or run["listed"], f"run {at} is empty and can't be found"
        while slot:
            row = orders[slot]
            assert row["live"] and slot not in seen, f"slot {slot} in run {at}"
            seen.add(slot)
            assert (row["run"], row["side"], row["tag"], _key(row)[0]) == (
                at,
                run["side"],
                run["tag"],
                run["price"],
            ), f"order {row['id']} in run {at}"
            assert links[slot]["before"] == before, f"run {at}: before slot {slot}"
            assert not before or orders[before]["place"] < row["place"], f"run {at}: places at slot {slot}"
            assert row["place"] <= run["newest"], f"run {at}: newest is {run['newest']}"
            shown += _open(row)
            slot, before = links[slot]["after"], slot
        assert run["open"] == shown, f"run {at} has {shown} open slots, not {run['open']}"
        assert not run["first"] or run["last"] == before, f"run {at}: last is {run['last']}"
    live = {slot for slot, row in _there(state).items() if row["live"]}
    assert seen == live, f"live orders in no run: {live - seen}"
    listed = [(run["side"], run["tag"], run["price"]) for run in runs.values() if run["listed"]]
    assert len(listed) == len(set(listed)) == state["listed"], "runs that are listed"
    assert sorted(state["table"]) == sorted(at for at, run in runs.items() if run["listed"]), "table of runs"
    assert state["count_runs"] == len(runs), f"{len(runs)} runs, not {state['count_runs']}"
    assert state["empty"] == sum(not run["first"] for run in runs.values()), "runs that are empty"


def _check_tags(state: State, side: int) -> None:
    """A tag's heap holds its runs by their first orders, a side's heap its tags by their best runs."""
    tags, orders = state["sides"][side]["tags"], state["orders"]
    runs: dict[int, list[int]] = {}
    for at, run in state["runs"].items():
        if run["tag"] >= 0 and run["side"] == side:
            runs.setdefault(run["tag"], []).append(at)
            assert tags[run["tag"]]["used"], f"run {at} has a tag that nobody holds"
    for tag, row in tags.items():
        heap = [*reversed(row["ranked"]), *row["rest"]]
        _check_heap(f"rest of tag {tag}", row["rest"], state["in_runs"], [e["id"] for e in row["rest"]])
        assert sorted(e["id"] for e in heap) == sorted(runs.get(tag, [])), f"runs of tag {tag} of side {side}"
        keys = [(e["price"], e["place"]) for e in heap[: len(row["ranked"]) + 1]]
        assert keys == sorted(keys), f"row of tag {tag} of side {side}: {keys}"
        assert row["ranked"] or not heap, f"row of tag {tag} of side {side} is empty"
        assert all(state["in_runs"][e["id"]] == -1 for e in row["ranked"]), f"places in the row of tag {tag}"
        strays = sum(not state["runs"][entry["id"]]["listed"] for entry in heap)
        assert row["strays"] == strays, f"tag {tag} of side {side}: {strays} strays"
        for entry in heap:
            run = state["runs"][entry["id"]]
            assert entry["price"] == run["price"], f"price of run {entry['id']}"
            if run["first"]:
                order = orders[run["first"]]
                assert (entry["place"], entry["account"]) == (order["place"], _account(state, order)), (
                    f"key of run {entry['id']}"
                )
        assert row["top"] == (heap[0]["price"] if heap else INT64_MAX), f"top of tag {tag}, side {side}"
        assert not heap or row["top_place"] == heap[0]["place"], f"place of the top of tag {tag}, side {side}"
        assert bool(row["where"]) == bool(heap), f"tag {tag} of side {side} in the heap of tags"
    best = state["sides"][side]["best"]
    _check_heap(f"best of side {side}", best, {t: row["where"] for t, row in tags.items()}, runs)
    for entry in best:
        top = tags[entry["id"]]["ranked"][-1]
        assert (entry["price"], entry["place"]) == (top["price"], top["place"]), f"best: {entry}, not {top}"


def _check_touched(state: State, side: int) -> None:
    """Who is touched is live; a bid stands by its own key, an ask by its best bid's."""
    orders, heap = state["orders"], state["touched"][side]
    mine = [slot for slot in state["in_touched"] if orders[slot]["side"] == side]
    _check_heap(f"touched of side {side}", heap, state["in_touched"], mine)
    for entry in heap:
        row = orders[entry["id"]]
        assert row["there"] == 2 and row["live"], f"order {row['id']} is touched and not live"
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
        flags = [
            int.from_bytes(screen.flags.to_bytes(64, "little")[i : i + 4], "little") for i in range(0, 64, 4)
        ]
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
    assert len({row["row"] for row in used.values()}) == len(used) == state["kinds"], (
        "kinds that are the same"
    )
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
            assert demand["few"] in (None, true), f"screen {at}: the few that pass are {demand['few']}"
    screens = {at: row for at, row in state["sides"][BID]["tags"].items() if row["used"]}
    kept = 0
    for kind, row in state["sides"][ASK]["tags"].items():
        if row["used"] and row["accepted"] is not None:
            kept += row["words"]
            true = [at for at, screen in screens.items() if _passes(row["row"], screen["row"])]
            assert not row["is_current"] or row["accepted"] == true, (
                f"kind {kind}: {row['accepted']}, not {true}"
            )
    assert state["accepted_words"] == kept, f"{kept} words of kinds, {state['accepted_words']} are counted"
    assert state["words"] == words, f"{words} words are remembered, {state['words']} are counted"


def _check_partners(state: State) -> None:
    """Every partner entry is once in the lists of its bid and ask; live bids with some are in renewals."""
    orders, partners, there = state["orders"], state["partners"], _there(state)
    taken = {entry for entry, row in enumerate(partners) if entry and row["slots"]}
    for side in (BID, ASK):
        listed = []
        for slot, row in there.items():
            entry, before = state["partners_of"][slot] if row["traits"] & PARTNERED else 0, 0
            assert entry or not row["traits"] & PARTNERED, f"slot {slot} has no partners"
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
    bids = [
        slot
        for slot, row in there.items()
        if row["side"] == BID and row["live"] and row["traits"] & PARTNERED
    ]
    _check_heap("renewals", state["renewals"], state["in_renewals"], bids)
    assert sorted(state["in_renewals"]) == sorted(bids), "places in renewals"
    for entry in state["renewals"]:
        assert (entry["price"], entry["place"]) == _key(orders[entry["id"]]), f"renewals: key of {entry}"


def _check_hungry(state: State) -> None:
    """Screens that may have a bid for a touched ask stand in order."""
    _check_heap("hungry", state["hungry"], None, {entry["id"] for entry in state["hungry"]})


def _check_expiry(state: State) -> None:
    """Who expires is in the heap of those that do, by when."""
    expires = {slot: row["expires"] for slot, row in _there(state).items() if row["expires"]}
    _check_heap("expiry", state["expiry"], state["in_expiry"], expires)
    assert sorted(state["in_expiry"]) == sorted(expires), "places in expiry"
    for entry in state["expiry"]:
        wanted = (expires[entry["id"]], state["orders"][entry["id"]]["id"])
        assert (entry["price"], entry["place"]) == wanted, f"expiry: {entry}"
