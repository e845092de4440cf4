# Part of _book.pyx: all that the book holds, as plain Python, for exchange.book_check.

cdef list heap_of(const Heap *heap):
    cdef int32_t at
    return [heap.entries[at] for at in range(heap.size)]


cdef dict state_of(Book book):
    cdef Core *core = &book.core
    cdef size_t i
    cdef int32_t tag
    cdef int side
    cdef int32_t row[32]
    cdef Tags *tags
    cdef list sides = []
    cdef Demand *demand
    for side in range(2):
        tags = &core.relation.sides[side]
        rows = {}
        for tag in range(tags.top):
            read_row(tags, tag, row)
            rows[tag] = {
                "ranked": [tags.tags[tag].runs.row[i] for i in range(<size_t>tags.tags[tag].runs.size)],
                "rest": heap_of(&tags.tags[tag].runs.rest),
                "holders": tags.tags[tag].holders,
                "strays": tags.tags[tag].strays,
                "top": tags.prices[tag],
                "top_place": tags.tops[tag].place,
                "where": tags.where[tag],
                "used": bool(tags.used[tag // BLOCK] >> (tag % BLOCK) & 1),
                "row": tuple(row),
                "accepted": None if side == BID or tags.tags[tag].accepted == NULL else [
                    i for i in range(64 * <size_t>tags.tags[tag].words)
                    if tags.tags[tag].accepted[i // 64] >> (i % 64) & 1],
                "is_current": tags.tags[tag].since == core.relation.changes,
                "words": tags.tags[tag].words,
            }
        sides.append({"tags": rows, "best": heap_of(&tags.best), "unused": tags.unused,
                      "named": [tags.named[tag] for tag in range((tags.top + BLOCK - 1) // BLOCK)]})
    demands = []
    for tag in range(core.relation.sides[BID].top):
        demand = &core.relation.demands[tag]
        demands.append({
            "row": tuple([demand.row[i] for i in range(32)]),
            "named": demand.named,
            "kept": demand.kept,
            "idle": demand.idle,
            "accounts": None if demand.accounts == NULL else (
                [demand.accounts[i] for i in range(<size_t>demand.only)],
                [demand.accounts[<size_t>demand.only + i] for i in range(<size_t>demand.blocked)]),
            "passes": demand.passes,
            "few": None if demand.few == NULL else sorted([demand.few[i] for i in range(<size_t>demand.passes)]),
            "passing": None if demand.passing == NULL else [
                i for i in range(<size_t>core.relation.sides[ASK].room)
                if demand.passing[i // BLOCK] >> (i % BLOCK) & 1],
        })
    return {
        "orders": {i: core.orders[i] for i in range(core.orders_room) if core.orders[i].there},
        "links": {i: core.links[i] for i in range(core.orders_room) if core.orders[i].there},
        "partners_of": {i: core.partners_of[i] for i in range(core.orders_room) if core.orders[i].there},
        "runs": {i: core.runs.runs[i] for i in range(1, <size_t>core.runs.top)},
        "in_runs": {i: core.runs.where[i] for i in range(1, <size_t>core.runs.top)},
        "table": [core.runs.table[i].run for i in range(core.runs.mask + 1 if core.runs.mask else 0)
                  if core.runs.table[i].run],
        "listed": core.runs.listed,
        "count_runs": core.runs.count,
        "empty": core.runs.empty,
        "in_touched": {i: core.in_touched[i] for i in range(core.orders_room) if core.in_touched[i]},
        "in_renewals": {i: core.in_renewals[i] for i in range(core.orders_room) if core.in_renewals[i]},
        "in_expiry": {i: core.in_expiry[i] for i in range(core.orders_room) if core.in_expiry[i]},
        "accounts": {i: core.accounts[i] for i in range(core.accounts_room) if core.accounts[i].known},
        "machines": {i: core.machines[i] for i in range(core.machines_room) if core.machines[i].known},
        "partners": [core.partners[i] if i else None for i in range(<size_t>core.partners_top)],
        "touched": [heap_of(&core.touched[side]) for side in range(2)],
        "renewals": heap_of(&core.renewals),
        "expiry": heap_of(&core.expiry),
        "hungry": heap_of(&core.hungry),
        "hungry_since": core.hungry_since,
        "sides": sides,
        "demands": demands,
        "kinds": core.relation.kinds,
        "words": core.relation.words,
        "accepted_words": core.relation.accepted_words,
        "room_words": core.relation.sides[ASK].room // BLOCK,
        "count": core.count,
        "last_place": core.last_place,
        "screens": list(book.screens),
        "interned": dict(book.interned),
    }
