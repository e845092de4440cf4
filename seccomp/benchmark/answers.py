"""The kernels' right answers, found another way than by kernels.c: in plain Python, some ms a piece."""

import struct
from collections.abc import Callable
from functools import cache
from itertools import compress
from operator import mul

WORD = (1 << 64) - 1
WEYL = 0x9E3779B97F4A7C15
NEXT_PIECE = 0xD1B54A32D192ED03
WIDTH = 131_072
ROOT = 92_684
STEPS = 16_384
TABLE = 1024
N = 64
LENGTH = 262_144
PATTERN = 256
PASSES = 16


class Dice:
    """splitmix64: what each piece of work is made from."""

    def __init__(self, seed: int) -> None:
        self._state = seed & WORD

    def word(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + WEYL) & WORD
        z = self._state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & WORD
        return z ^ z >> 31

    def double(self) -> float:
        """From -1 to below 1."""
        return (self.word() >> 11) * 2.0**-52 - 1.0


def answer(kernel: str, seed: int, piece: int) -> int:
    """The answer to piece number `piece` of what a kernel was asked with `seed`."""
    return _ANSWERS[kernel](Dice(seed + piece * NEXT_PIECE))


@cache
def _small_primes() -> tuple[int, ...]:
    is_prime = bytearray([1]) * ROOT
    for n in range(2, int(ROOT**0.5) + 1):
        if is_prime[n]:
            is_prime[n * n :: n] = bytes(len(range(n * n, ROOT, n)))
    return tuple(n for n in range(3, ROOT) if is_prime[n])


def _sieve(dice: Dice) -> int:
    """The sum of the primes in a range; each small prime crosses out all its odd multiples there."""
    first = (1 << 32) + (dice.word() >> 32 | 1)
    is_prime = bytearray([1]) * WIDTH
    for prime in _small_primes():
        # of the numbers first + 2 * i, the first that the prime divides
        i = -first * ((prime + 1) // 2) % prime
        is_prime[i::prime] = bytes(len(range(i, WIDTH, prime)))
    return sum(compress(range(first, first + 2 * WIDTH, 2), is_prime)) & WORD


def _mix(dice: Dice) -> int:
    table = [dice.word() for _ in range(TABLE)]
    x, y = dice.word() | 1, 0
    for _ in range(STEPS):
        x ^= x << 13 & WORD
        x ^= x >> 7
        x ^= x << 17 & WORD
        y = (y + table[x % TABLE]) * WEYL & WORD
        if y >> 63:
            x = (x + (y >> 32 | 1)) & WORD
        else:
            table[(y >> 32) % TABLE] ^= x
    return _stirred([y], x)


def _matrix(dice: Dice) -> int:
    """In whole numbers, which is what the doubles stand for."""
    left, right = ([_small_row(dice) for _ in range(N)] for _ in range(2))
    columns = list(zip(*right, strict=True))
    return _stirred([sum(map(mul, row, column)) & WORD for row in left for column in columns])


def _small_row(dice: Dice) -> list[int]:
    words = [dice.word() for _ in range(N // 16)]
    return [(word >> 4 * k & 15) - 8 for word in words for k in range(16)]


def _lu(dice: Dice) -> int:
    """Python's floats are IEEE doubles, and it rounds each operation by itself, too."""
    rows = [[dice.double() for _ in range(N)] for _ in range(N)]
    for k in range(N):
        pivot = max(range(k, N), key=lambda i: (abs(rows[i][k]), -i))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        top = rows[k][k + 1 :]
        for row in rows[k + 1 :]:
            factor = row[k] / rows[k][k]
            row[k:] = [factor, *(x - factor * y for x, y in zip(row[k + 1 :], top, strict=True))]
    return _stirred([_bits(x) for row in rows for x in row])


def _triad(dice: Dice) -> int:
    """The arrays repeat a pattern, and the answer is a sum: one pattern says all."""
    drawn = [dice.double() for _ in range(2 * PATTERN)]
    b, c = drawn[::2], drawn[1::2]
    for _ in range(PASSES):
        s = dice.double()
        b = [x + s * y for x, y in zip(b, c, strict=True)]
    return sum(map(_bits, b)) * (LENGTH // PATTERN) & WORD


def _stirred(words: list[int], hash_: int = 0) -> int:
    for word in words:
        hash_ = ((hash_ << 7 & WORD | hash_ >> 57) ^ word) * WEYL & WORD
    return hash_


def _bits(value: float) -> int:
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return int(bits)


_ANSWERS: dict[str, Callable[[Dice], int]] = {
    "sieve": _sieve,
    "mix": _mix,
    "matrix": _matrix,
    "lu": _lu,
    "triad": _triad,
}
