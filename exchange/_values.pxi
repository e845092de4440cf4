# Part of _book.pyx: Python's values into C's, and what refuses a single call into an error.

cdef uint64_t hash_key(void *book) noexcept:
    """Something that is not the same in every process; only where things lie in tables depends on it."""
    cdef uint64_t h = <uint64_t><size_t>book * <uint64_t>0x9E3779B97F4A7C15 ^ <uint64_t><size_t><void *>BadBookValue
    h = (h ^ h >> 32) * <uint64_t>0xD6E8FEB86659FD93
    return (h ^ h >> 32) * <uint64_t>0xD6E8FEB86659FD93


cdef object exact(object value):
    """An int, and nothing that could have ideas of its own: no code of others runs when it is looked at."""
    return value if PyLong_CheckExact(value) else int.__pos__(index(value))


cdef void show(Rows *shown, int64_t price, int64_t open) noexcept nogil:
    """Add open slots to the last level, or begin one."""
    if not shown.size or shown.rows[shown.size - 1].price != price:
        say(shown, 0, 0, 0, 0, 0, price, 0)
    shown.rows[shown.size - 1].order += open


cdef list levels_of(Rows *shown, int64_t most):
    """(price, open) of each level; frees them."""
    cdef int64_t at
    try:
        return [(shown.rows[at].price, shown.rows[at].order) for at in range(min(most, shown.size))]
    finally:
        release_memory(shown.rows)


cdef int64_t whole(str field, object value, int64_t low, int64_t high) except? -1:
    """`exchange.book.checked` at the speed of C where all is well."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow != 0 or number < low or number > high:
        checked(field, value, low, high)
    return number


cdef int64_t fitting(str field, object value, int64_t low, int64_t high) except? -1:
    """An argument of a single call; the rules say whether it is in its range, this only whether it fits."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow != 0 or number < low or number > high:
        raise BadBookValue(f"{field} is {index(value)}: out of its range")
    return number


cdef int64_t named_order(object order) except? -1:
    cdef int overflow = 0
    cdef int64_t id = PyLong_AsLongLongAndOverflow(order, &overflow)
    if overflow:
        raise UnknownOrder(index(order))
    return id


cdef int read_numbers(int32_t *into, str field, object numbers) except -1:
    """`exchange.book.checked_numbers` at the speed of C where all is well."""
    cdef int overflow = 0, i
    cdef int64_t number
    if len(numbers) != 16:
        checked_numbers(field, numbers)
    for i in range(16):
        number = PyLong_AsLongLongAndOverflow(numbers[i], &overflow)
        if overflow != 0 or number < INT32_MIN or number > INT32_MAX:
            checked_numbers(field, numbers)
        into[i] = <int32_t>number
    return 0


cdef int read_flags(int32_t *into, object flags) except -1:
    cdef bytes raw = int.to_bytes(flags, 64, "little")
    memcpy(into, <const char *>raw, 64)
    return 0


cdef void *array(void *old, size_t have, size_t entries, size_t size) except NULL:
    cdef void *more = zeroed(old, have, entries, size)
    if more == NULL:
        raise MemoryError(f"no memory for {entries} entries of {size} bytes in the book")
    return more


cdef object refusal(const Request *request, const Result *row):
    """The error for a single call."""
    order = row.order
    if row.code == UNKNOWN:
        return UnknownOrder(order)
    if row.code == FINISHED:
        return FinishedOrder(order)
    if row.code == DUPLICATE:
        return DuplicateOrder(order)
    if row.code == WRONG_SIDE:
        return BadBookValue(f"order {order}: {SAYS[WRONG_SIDE]}")
    if row.code == BAD_VALUE:
        values = (request.order, request.other, request.price, request.spend, request.expires, request.size,
                  request.owner, request.screen, request.kind, request.terms)
        return BadBookValue(says_of(request.kind == DO_BID, REQUEST_FIELDS[row.other][0], values[row.other]))
    return OrderRefused(row.code, f"order {order} is refused: {SAYS[row.code]}")
