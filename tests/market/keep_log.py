"""Keeps a log of the present version of the rules: `python -m tests.market.keep_log`.

`tests/logs/rules-N` is a log as the program of that time wrote it. It is made once, when the rules of that
version are done, and never again: `test_versions.py` holds every later program to it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from events.archive import Archive
from events.commit import RULES, parts
from events.subjects import COMMIT
from events.wire import Stored
from tests.market.history import History

LOGS = Path(__file__).resolve().parent.parent / "logs"
SEED, STEPS = 4, 400
SIZES = [1, 7, 30, 2, 100]  # of the batches


def main() -> int:
    """Write the log. Exit status 1 if there is one."""
    place = LOGS / f"rules-{RULES}"
    if place.exists():
        print(f"{place} is there, and stays as it is", file=sys.stderr)
        return 1
    history = History(SEED).run(STEPS)
    archive = Archive(place)
    archive.append_requests(history.requests)
    archive.append_journal(_messages(history))
    (place / "lock").unlink()
    print(f"{place}: {len(history.requests)} requests, {len(history.events)} events")
    return 0


def _messages(history: History) -> Iterator[Stored]:
    sequence = 0
    for body, _ in history.batched(SIZES):
        for part in parts(body):
            sequence += 1
            yield Stored(sequence, history.time_ns, COMMIT, part)


if __name__ == "__main__":
    sys.exit(main())
