"""Many signatures at once, without the interpreter's lock: so threads check on as many cores as there are.

The check itself is libsodium's, at the address that is given; nothing is decided here but how the signature
is spelt. Every length is checked before a byte is read: what comes in is from strangers.
"""

from libc.stdint cimport uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

ctypedef int (*Open)(
    uint8_t *content, unsigned long long *length,
    const uint8_t *signed, unsigned long long signed_length, const uint8_t *key,
) noexcept nogil

cdef enum:
    UNREADABLE = 0
    TRUE = 1
    FALSE = 2
    CHARACTERS = 86  # of a signature: base64url without padding ...
    SIGNATURE = 64  # ... and its bytes
    KEY = 32
    NO_VALUE = 255

cdef struct Item:
    const uint8_t *key  # NULL: the subject names none
    const uint8_t *prefix
    size_t prefix_length
    const uint8_t *data
    size_t length

cdef uint8_t VALUES[256]  # what a character of base64url is worth

cdef void _fill() noexcept:
    """Fill the table; everything else is worth nothing."""
    cdef const char *alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    cdef int value
    memset(VALUES, NO_VALUE, sizeof(VALUES))
    for value in range(64):
        VALUES[<uint8_t> alphabet[value]] = value


_fill()


cdef int _decode(const uint8_t *text, uint8_t *signature) noexcept nogil:
    """The 64 bytes that 86 characters spell: FALSE for a wrong spelling, UNREADABLE where they are no ASCII."""
    cdef uint8_t seen = 0, wrong = 0, value
    cdef unsigned int bits = 0
    cdef int place, at = 0
    for place in range(CHARACTERS):
        seen |= text[place]
        value = VALUES[text[place]]
        wrong |= value
        bits = bits << 6 | (value & 63)
        if place & 3:  # a byte is whole; after the first character of four there are but six bits
            signature[at] = bits >> (6 - 2 * (place & 3)) & 255
            at += 1
    if seen & 128:
        return UNREADABLE
    return FALSE if wrong & 128 or bits & 15 else TRUE  # the last four bits mean nothing: they must be 0


cdef int _check(Open check_one, const Item *item, uint8_t *room) noexcept nogil:
    """One message; `room` holds signature, prefix and content in a row, as libsodium takes them."""
    cdef size_t length
    cdef int spelt
    if item.key == NULL or item.length <= CHARACTERS or item.data[CHARACTERS] != 10:
        return UNREADABLE
    spelt = _decode(item.data, room)
    if spelt != TRUE:
        return spelt
    length = item.length - CHARACTERS - 1
    memcpy(room + SIGNATURE, item.prefix, item.prefix_length)
    memcpy(room + SIGNATURE + item.prefix_length, item.data + CHARACTERS + 1, length)
    length += SIGNATURE + item.prefix_length
    return TRUE if check_one(NULL, NULL, room, length, item.key) == 0 else FALSE


def check(uintptr_t check_one, list messages) -> bytes:
    """For each (key or None, prefix, data), bytes all: 0 unreadable, 1 true, 2 false. O(bytes).

    `check_one` is the address of libsodium's `crypto_sign_open`. Raises TypeError, ValueError, MemoryError.
    """
    cdef tuple held = tuple(messages)  # nobody else changes it while the lock is not ours
    cdef Py_ssize_t count = len(held), place
    cdef size_t most = 0
    cdef bytearray verdicts = bytearray(count)
    cdef uint8_t *said = verdicts
    cdef uint8_t *room = NULL
    cdef Item *items = <Item *> malloc((count + 1) * sizeof(Item))
    cdef Item *item
    cdef bytes key, prefix, data
    if items == NULL:
        raise MemoryError
    try:
        for place in range(count):
            item = items + place
            key, prefix, data = <tuple?> held[place]
            if key is not None and len(key) != KEY:
                raise ValueError("a key has 32 bytes")
            item.key = NULL
            if key is not None:
                item.key = key
            item.prefix = prefix
            item.prefix_length = len(prefix)
            item.data = data
            item.length = len(data)
            most = max(most, item.prefix_length + item.length)
        room = <uint8_t *> malloc(SIGNATURE + most)
        if room == NULL:
            raise MemoryError
        with nogil:
            for place in range(count):
                said[place] = _check(<Open> check_one, items + place, room)
    finally:
        free(room)
        free(items)
    return bytes(verdicts)
