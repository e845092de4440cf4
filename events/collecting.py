"""The cyclic garbage collector in processes that keep much for long.

By itself it goes through all that there is whenever a quarter has been added: seconds for a million orders,
in the middle of the market's work. What we make has no cycles; what libraries make is young when it dies.
"""

import gc

YOUNG = 50_000  # objects more than before, and the youngest are gone through
OLDER = 20  # so many times, and those that stayed once
NEVER = 1_000_000_000


def rarely() -> None:
    """From now on go through young objects only, and not often; what is there already, never again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, NEVER)
