"""Group commit: requests in, at most one commit out (R33-R35). Used by the writer and by tests alike."""

from collections.abc import Sequence

from events.commit import FIRST, Commit, encode
from events.log import Stored
from events.records import Event
from events.wire import RequestsHash, sha256
from exchange.admission import admit
from exchange.engine import Engine


class Batcher:
    """Decides requests and packs what happened.

    A commit ends with the last request that led to events; what came after it and changed nothing is kept
    for the next, or for whoever starts again behind this commit. So where a batch ends changes no event.
    """

    def __init__(self, engine: Engine, number: int = 0, previous: str = FIRST, last: int = 0) -> None:
        self.engine = engine
        self.number, self.previous, self.last = number, previous, last
        self._quiet = RequestsHash()  # over the requests since the last commit
        self._first = last + 1
        self.taken = 0  # of the last batch, how many requests were decided

    def decide(
        self, requests: Sequence[Stored], most_events: int | None = None
    ) -> tuple[Commit, bytes] | None:
        """Decide a batch, or its first requests where these make `most_events`; returns the commit with its
        body, or None where nothing changed.

        The engine's state is ahead of the log until the commit is appended: tell nobody before.
        """
        events: list[tuple[int, Event]] = []
        engine = self.engine
        covered, hexdigest = 0, ""
        self.taken = len(requests)
        for position, stored in enumerate(requests):
            self._quiet.add(*stored)
            happened = engine.decide(admit(stored, engine.state.rules))
            if happened:
                events += [(stored.sequence, event) for event in happened]
                covered, hexdigest = position + 1, self._quiet.hex()
                if most_events is not None and len(events) >= most_events:
                    self.taken = covered
                    break
        if not covered:
            return None
        commit = Commit(
            self.number + 1,
            self.previous,
            engine.state.rules,
            self._first,
            requests[covered - 1].sequence,
            hexdigest,
            engine.state.digest.take(),
            tuple(events),
        )
        body = encode(commit)
        self.number, self.previous, self.last = commit.number, sha256(body), commit.last
        self._first = commit.last + 1
        self._quiet = RequestsHash()
        for stored in requests[covered : self.taken]:
            self._quiet.add(*stored)
        return commit, body
