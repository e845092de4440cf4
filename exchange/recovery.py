"""Rebuilding the market's state from its commits, and checking that they agree with it (R34)."""

from events.commit import Commit
from events.records import BadRecordError
from exchange.state import State


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
