"""A Python program is a copy of a process that started other buyers' programs: nothing of theirs is in it."""

import asyncio

import pytest

from seccomp import Limits, Runtime
from tests.seccomp.running import Outcome, run, runtime_at

# Looks in all memory around its objects for its input, the last letter of which has one bit turned round, and
# never puts what it looks for together, or it would find that.
SPY = b"""
def f(data):
    try:
        import ctypes
    except ImportError:
        return "no ctypes"
    import gc
    call = ctypes.CDLL(None)
    gc.unfreeze()
    pages = {id(one) >> 12 for one in gc.get_objects()}
    pages = {page + more for page in pages for more in range(-16, 17)}
    found = looked = 0
    for page in pages:
        at = ctypes.c_void_p(page << 12)
        if call.madvise(at, ctypes.c_size_t(4096), 0) == 0 and call.write(2, at, ctypes.c_size_t(1)) == 1:
            looked += 1
            for piece in ctypes.string_at(page << 12, 4096).split(data[:-1])[1:]:
                found += piece[:1] != b"" and piece[0] == data[-1] ^ 1
    return f"{found} {looked > 1000}"
"""
NAME = "a_name_that_tells_of_the_work_of_another"


async def _look_for(runtime: Runtime, text: str) -> Outcome:
    hidden = text[:-1].encode() + bytes([ord(text[-1]) ^ 1])  # or it would find its own input
    return await run(runtime, SPY, ["f", "bytes"], hidden, Limits(256))


def test_it_does_not_find_what_another_buyer_called_his_function() -> None:
    async def go() -> tuple[Outcome, Outcome]:
        async with runtime_at("A", "python") as runtime:
            for _ in range(3):
                other = await run(runtime, f"def {NAME}(d): return d".encode(), [NAME, "bytes"])
                assert other.exit.status == 0, other
            there = await _look_for(runtime, "_keep_own_frames")  # a name of the code that calls it
            return await _look_for(runtime, NAME), there

    found, there = asyncio.run(go())
    if found.stdout == b"no ctypes":
        pytest.skip("no numpy, which brings ctypes: a Python program cannot look around in its memory")
    assert not there.stdout.startswith(b"0 "), "the control failed: it finds nothing at all"
    assert found.stdout == b"0 True", found
