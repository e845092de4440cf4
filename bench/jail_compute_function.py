"""Steady compute for bench/jail_compute.py, as a Python function: sieve or matrix product, so many rounds."""

import time

import numpy as np


def sieve(seed: int) -> int:
    numbers = 3_000_000 + seed
    prime = bytearray([1]) * numbers
    prime[0] = prime[1] = 0
    for i in range(2, int(numbers**0.5) + 1):
        if prime[i]:
            prime[i * i :: i] = bytes(len(range(i * i, numbers, i)))
    return sum(prime)


def matrix(seed: int) -> int:
    side = 700
    a = np.arange(side * side, dtype=np.float64).reshape(side, side) % 11
    b = np.arange(side * side, dtype=np.float64).reshape(side, side) % (seed % 50 + 2)
    return int(np.trace(a @ b))


def compute(kernel: str, seed: int, rounds: int) -> dict[str, object]:
    run = sieve if kernel == "sieve" else matrix
    answer, taken = run(seed), []
    for _ in range(rounds):
        begun = time.monotonic_ns()
        assert run(seed) == answer
        taken.append(time.monotonic_ns() - begun)
    return {"answer": answer, "ns": taken}
