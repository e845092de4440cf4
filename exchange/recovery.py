"""Rebuilding the market's state from its commits, and checking that they agree with it (R34)."""

from typing import NamedTuple

from events.commit import FIRST, Commit
from events.records import BadRecordError
from exchange.state import State


class Place(NamedTuple):
    """Where in the log a state stands: the last commit folded with its hash, the last request that it
    answered, and the sequence in JOURNAL of the message that completed it. Zeros: before the first.
    """

    number: int = 0
    hash: str = FIRST
    last: int = 0
    sequence: int = 0


def fold_commit(state: State, commit: Commit) -> None:
    """Fold a commit's events and compare the digest. Raises BadRecordError. O(events)."""
    for _, event in commit.events:
        state.fold(event)
    digest = state.digest.take()
    if digest != commit.digest:
        raise BadRecordError(
            f"commit {commit.number} (requests {commit.first} to {commit.last}): its events give the digest "
            f"{digest}, it says {commit.digest}"
        )
