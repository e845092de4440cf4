# Part of _book.pyx: Python's values into C's, and what refuses a single call into an error.

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
        raise BadBookValue(f"{field} is {value}: out of its range")
    return number


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
    cdef bytes raw = flags.to_bytes(64, "little")
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
        field = REQUEST_FIELDS[row.other][0]
        if field == "owner":
            field = "account" if request.kind == DO_BID else "machine"
        return BadBookValue(f"{field} is {values[row.other]}: out of its range")
    return OrderRefused(row.code, f"order {order} is refused: {SAYS[row.code]}")
