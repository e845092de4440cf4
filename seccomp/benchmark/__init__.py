"""What a CPU does here for a jailed program: kernels of our own, seeded, answers checked (docs/benchmark.md).

`kernels.c` is the program, native and as wasm; `answers.py` finds the same answers another way; `scores.py`
runs copies of it in the jail and makes scores, `mips` and `mflops`, of the times in which right answers came.
"""

from seccomp.benchmark.scores import SECONDS, BenchmarkError, Score, measurable, measure, program_of

__all__ = ["SECONDS", "BenchmarkError", "Score", "measurable", "measure", "program_of"]
