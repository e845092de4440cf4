"""What a call costs that does nothing: the methods of a book with its arguments, each of them empty."""

from libc.stdint cimport int32_t, int64_t


cdef class Empty:
    cpdef list bid(
        self,
        int64_t order,
        int32_t account,
        int64_t price,
        int32_t size,
        int32_t screen=0,
        int32_t terms=0,
        int64_t spend=0,
        int64_t expires=0,
    ):
        return []

    cpdef list ask(
        self, int64_t order, int32_t machine, int64_t price, int32_t size, int32_t terms=0, int64_t expires=0
    ):
        return []

    cpdef int cancel(self, int64_t order):
        return 0
