"""The compiled book, for cimport: `Book.core` and the functions of `exchange._orders`, `_search`, `_match` and
`_rules` on it need no lock of Python's; `done` is for C code that only has the capsule (`__pyx_capi__`)."""

cimport cython
from libc.stdint cimport int32_t, int64_t

from exchange._orders cimport Core
from exchange._rules cimport Request, Rows


@cython.final
cdef class Results:
    cdef Rows out
    cdef Py_ssize_t exports, shape


@cython.final
cdef class Book:
    cdef Core core
    cdef Rows scratch
    cdef dict interned  # Screen -> its tag
    cdef list screens  # by tag: Screen or None
    cdef object lately  # the screen that was interned last, plain, and ...
    cdef int32_t lately_tag  # ... its tag

    cdef int room_for_order(self, int64_t order) except -1
    cdef int room_for_account(self, int64_t account) except -1
    cdef int room_for_machine(self, int64_t machine) except -1
    cdef int32_t known_machine(self, object machine) except -1
    cdef int32_t known_account(self, object account, int64_t least) except? -1
    cdef int64_t new_id(self, object order) except -1
    cdef void enter(self, int32_t slot) noexcept
    cdef int32_t slot_of(self, object order) except 0
    cdef int32_t slot_of_bid(self, object order, str has) except 0
    cdef object plain(self, object screen)
    cdef int check_new(self, object screen) except -1
    cdef int32_t intern(self, object screen) except -1
    cdef int forget_idle(self) except -1
    cdef int check_settled(self) except -1
    cdef int do_in_more_room(self, const Request *request, int32_t position, Rows *out) except -1
    cdef list matches(self, const Request *request, int32_t *gone)

cdef int done(Book book, const Request *requests, int64_t count, Results into) except -1
