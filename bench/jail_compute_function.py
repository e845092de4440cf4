"""Steady compute for bench/jail_compute.py, as a Python function: sieve or matrix product, so many rounds."""

import time

import numpy as np


def sieve() -> int:
    numbers = 3_000_000
    prime = bytearray([1]) * numbers
    prime[0] = prime[1] = 0
    for i in range(2, int(numbers**0.5) + 1):
        if prime[i]:
            prime[i * i :: i] = bytes(len(range(i * i, numbers, i)))
    return sum(prime)


def matrix() -> int:
    side = 700
    a = np.arange(side * side, dtype=np.float64).reshape(side, side) % 11
    b = np.arange(side * side, dtype=np.float64).reshape(side, side) % 13
    return int(np.trace(a @ b))


def compute(kernel: str, rounds: int) -> dict[str, object]:
    run = sieve if kernel == "sieve" else matrix
    answer, taken = run(), []
    for _ in range(rounds):
        begun = time.monotonic_ns()
        assert run() == answer
        taken.append(time.monotonic_ns() - begun)
    return {"answer": answer, "ns": taken}
