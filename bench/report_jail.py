"""The jail's part of docs/performance.md, from the suite `jail`'s last results."""

from __future__ import annotations

from bench.jail_compute import FUNCTION_PAIRS, FUNCTION_ROUNDS, PAIRS
from bench.jail_scores import TIMES
from bench.tables import chapter

TEXT = """\
# The jail

Measured by `make bench-jail`, results in `bench/results/jail.json`.

Machine: {cpu}, {cpus} cores, {memory_gib} GiB, Linux {kernel}, Python {python}. Date: {date}.

## What was asked of the jail

{goals}
## How the jail was measured

- **A start** is from asking for it until the first byte of the program's output is read, by the same
  Python process; 200 of each, all ways in turns; figures are medians. `bare` is `posix_spawn` of a static
  executable that writes one byte; bubblewrap starts the same file with every namespace unshared, an empty
  root and no capabilities. The jail puts Landlock, the filter, limits and a keeper around it besides, and
  copies the executable into memory each time. Python is a function in an interpreter that has numpy. A
  warm wasm module was compiled before by the same node, a cold one by nobody.
- **Steady compute** is the sieve and the matrix product of the benchmark's own kernels
  (`seccomp/benchmark/kernels.c`), and for Python a sieve in a bytearray and numpy's product, 700 by 700, on
  one thread. The two of a pair are asked in turns, on one CPU, and must give the same answers; the ratio is
  the median over {pairs} pairs of questions, for Python over {function_pairs} pairs of runs, each the median
  of {rounds} rounds. Machine code is `cc -O2`, the module clang's at -O2, with 128-bit SIMD.
- **The benchmark of a machine** ([benchmark.md](benchmark.md)) is measured {times} times in a row; a figure
  is how far the score that lies farthest from their median is away from it.
- **What starts leave** are processes and open descriptors of the node and of all below it, after 1,000
  starts over before, and their memory in RAM.

{tables}
## All other figures of the jail

{others}
## How to repeat the jail's figures

```
make bench-jail                       # some minutes; the machine must have nothing else to do
```

- `bench/jail_start.py` measures starts and what they leave, `bench/jail_compute.py` steady compute,
  `bench/jail_scores.py` the benchmark of a machine.
- `make toolchains` brings bubblewrap and clang's parts for wasm; what is not there is left out.

"""


def jail_part() -> str:
    """The chapter; "" where the suite has no results of this form."""
    return chapter(
        "jail", TEXT, pairs=PAIRS, function_pairs=FUNCTION_PAIRS, rounds=FUNCTION_ROUNDS, times=TIMES
    )
