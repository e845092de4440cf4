"""Machines and screens for the screened flows: who there is, and screens that pass a wanted share of them.

A machine has a base (its hardware: 15 numbers and some flags) and a reputation, which is the last number. All
machines of one base and one reputation are of one kind. Good machines are good in most of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from exchange.book import INT32_MIN, NUMBERS, Screen

Array = npt.NDArray[Any]
REPUTATION: Final = NUMBERS - 1
FLAGS: Final = 32  # that occur
LEVELS: Final = 5  # of reputation: 0, 100 ... 400
MOST: Final = 1_000  # of a number, but for the rare bases
RARE: Final = 300  # bases that have one machine each


class Demand(NamedTuple):
    """A screen as what it names: `numbers` as (attribute, at least), and `flags`."""

    numbers: tuple[tuple[int, int], ...]
    flags: tuple[int, ...] = ()

    def screen(self) -> Screen:
        minimums = [INT32_MIN] * NUMBERS
        for attribute, least in self.numbers:
            minimums[attribute] = least
        return Screen(tuple(minimums), sum(1 << flag for flag in self.flags))

    def reputation(self) -> int:
        """The least reputation, INT32_MIN if none is asked."""
        return dict(self.numbers).get(REPUTATION, INT32_MIN)


@dataclass
class Sellers:
    """Bases by row; machines by their base and reputation."""

    numbers: Array  # [base, attribute], the last one unused
    flags: Array  # [base, flag]
    quality: Array  # [base], 0..1
    base: Array  # [machine]
    reputation: Array  # [machine]

    def bases_passing(self, demand: Demand) -> Array:
        """Which bases pass, reputation apart."""
        passing: Array = np.ones(len(self.numbers), dtype=bool)
        for attribute, least in demand.numbers:
            if attribute != REPUTATION:
                passing &= self.numbers[:, attribute] >= least
        for flag in demand.flags:
            passing &= self.flags[:, flag]
        return passing

    def passing(self, demand: Demand) -> Array:
        """Which machines pass."""
        passing: Array = self.bases_passing(demand)[self.base] & (self.reputation >= demand.reputation())
        return passing

    def profile(self, machine: int) -> tuple[list[int], int]:
        """The numbers and flags of a machine."""
        numbers = self.numbers[self.base[machine]].tolist()
        numbers[REPUTATION] = int(self.reputation[machine])
        return numbers, sum(1 << flag for flag in np.flatnonzero(self.flags[self.base[machine]]).tolist())

    def kinds(self) -> int:
        """How many distinct kinds there are."""
        return len(np.unique(self.base.astype("<i8") << 32 | self.reputation.astype("<i8")))


def few_kinds(machines: int, seed: int = 3, bases: int = 2_000) -> Sellers:
    """About five times `bases` kinds: each base at five reputations, some more usual; and RARE."""
    dice = np.random.default_rng(seed)
    quality = dice.random(bases + RARE)
    numbers = MOST * (0.5 * quality[:, None] + 0.5 * dice.random((bases + RARE, NUMBERS)))
    for rare in range(bases, bases + RARE):  # in four of its numbers it is beyond the others
        numbers[rare, dice.permutation(REPUTATION)[:4]] = MOST + dice.integers(1, 100, 4)
    weights = dice.lognormal(0, 1, bases)
    weights[:] = weights / weights.sum()
    base: Array = np.concatenate(
        (dice.choice(bases, machines - RARE, p=weights), np.arange(bases, bases + RARE))
    ).astype("<i4")
    return Sellers(
        numbers=numbers.astype("<i4"),
        flags=dice.random((bases + RARE, FLAGS)) < 0.3 + 0.6 * quality[:, None],
        quality=quality,
        base=base,
        reputation=(100 * dice.integers(0, LEVELS, machines)).astype("<i4"),
    )


def all_distinct(machines: int, seed: int = 5) -> Sellers:
    """Every machine is its own base: all numbers are random."""
    dice = np.random.default_rng(seed)
    numbers = dice.integers(0, 1_000_000, (machines, NUMBERS)).astype("<i4")
    return Sellers(
        numbers=numbers,
        flags=dice.random((machines, FLAGS)) < 0.6,
        quality=numbers[:, :REPUTATION].mean(axis=1) / 1_000_000,
        base=np.arange(machines, dtype="<i4"),
        reputation=numbers[:, REPUTATION].copy(),
    )


class Screens:
    """Finds screens among sellers; each call gives one that was not given before."""

    def __init__(self, sellers: Sellers, seed: int = 9) -> None:
        self.sellers, self.dice = sellers, Random(seed)
        self.sorted = np.sort(sellers.numbers, axis=0)
        self.given: set[Demand] = set()
        self.distinct = len(sellers.numbers) == len(sellers.base)
        self.rare = range(len(sellers.numbers) - RARE, len(sellers.numbers))
        self.extremes: dict[int, Array] = {}

    def count(self, demand: Demand) -> int:
        return int(np.count_nonzero(self.sellers.passing(demand)))

    def new(self, make: Callable[[], Demand | None]) -> Demand:
        while (demand := make()) is None or demand in self.given:
            pass
        self.given.add(demand)
        return demand

    def share(self, part: float) -> Demand:
        """A screen that passes `part` of the machines, a fifth more or less: 2 to 4 numbers, 0 to 2 flags."""
        return self.new(lambda: self._share(part))

    def _share(self, part: float) -> Demand | None:
        sellers, dice = self.sellers, self.dice
        attributes = dice.sample(range(REPUTATION), dice.randint(2, 4))
        flags = tuple(sorted(dice.sample(range(FLAGS), dice.randint(0, 2))))
        usual: tuple[tuple[int, int], ...] = ()
        among = sellers.base
        if dice.random() < 0.3:  # reputation in the place of one of them
            attributes.pop()
            least = int(np.quantile(sellers.reputation, dice.uniform(0.2, 0.7), method="nearest"))
            usual = ((REPUTATION, least),)
            among = sellers.base[sellers.reputation >= least]
        weights = np.bincount(among, minlength=len(sellers.numbers)) / len(sellers.base)
        low, high = 0.0, 1.0
        for _ in range(18):
            at = (low + high) / 2
            row = min(int(at * len(self.sorted)), len(self.sorted) - 1)
            named = tuple((a, int(self.sorted[row, a])) for a in sorted(attributes))
            demand = Demand(named + usual, flags)
            found = float(weights[sellers.bases_passing(demand)].sum())
            if 0.8 * part <= found <= 1.2 * part:
                return demand
            low, high = (at, high) if found > part else (low, at)
        return None

    def single(self) -> Demand:
        """A screen that one machine passes."""
        return self.new(self._single)

    def _single(self) -> Demand | None:
        """Of a rare base; or the machine that is best in the weakest of 3 or 4 weighted numbers."""
        sellers, dice = self.sellers, self.dice
        if not self.distinct:
            base = dice.choice(self.rare)
            beyond = np.flatnonzero(sellers.numbers[base, :REPUTATION] > MOST).tolist()
            attributes = sorted(dice.sample(beyond, dice.randint(2, 4)))
        else:
            attributes = sorted(dice.sample(range(REPUTATION), dice.randint(3, 4)))
            scores = [dice.uniform(0.7, 1.3) * self.extreme(a) for a in attributes]
            base = int(np.argmax(np.minimum.reduce(scores)))
        demand = Demand(tuple((a, int(sellers.numbers[base, a])) for a in attributes))
        return demand if self.count(demand) == 1 else None

    def extreme(self, attribute: int) -> Array:
        """How unusual every machine is in an attribute: the logarithm of how many have less."""
        if attribute not in self.extremes:
            values = self.sellers.numbers[:, attribute].astype(float)
            self.extremes[attribute] = -np.log1p(1e-9 - values / (values.max() + 1))
        return self.extremes[attribute]

    def none(self) -> Demand:
        """A screen that no machine passes, though many pass any one part of it."""
        return self.new(self._none)

    def _none(self) -> Demand | None:
        demand = self._single()
        if demand is None:
            return None
        at = self.dice.randrange(len(demand.numbers))
        numbers = [(a, least + (place == at)) for place, (a, least) in enumerate(demand.numbers)]
        raised = Demand(tuple(numbers))
        return raised if self.count(raised) == 0 else None
