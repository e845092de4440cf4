"""What a round comes to."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Result:
    """What was done in a round: faults by name, points that were hit, and what the market did meanwhile."""

    faults: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    market: dict[str, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
