"""Whether the projections are what a fresh fold of the log gives, as of the commit that they have read."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from events.chain import Chain
from events.commit import FIRST, Commit, decode
from events.source import Log
from projections.store import SCHEMA, Store, StoreError, batches, digest

STORE = "projections.sqlite"
DELETE = "the log is right: delete that file, `exchange up` rebuilds it"
KEEP = "the log's end is missing, or this is an older copy of it: keep that file, it is the witness"
TOGETHER = 500  # commits that are folded at once


async def check_store(
    log: Log, path: Path, progress: Callable[[int, int], None] = lambda done, whole: None
) -> dict[str, Any]:
    """{"store", "commit", "ok", "what", "advice"}: compares digests; `what` says what is wrong. Only reads.

    Needs room for two copies of the store in the temporary directory. Raises StoreError, Disagreement,
    LogGapError, ArchiveError.
    """
    with tempfile.TemporaryDirectory(prefix="corehour-") as folder, _copy(path, Path(folder)) as kept:
        number, hash_ = kept.cursor()
        result = {"store": str(path), "commit": number, "ok": False, "what": "", "advice": DELETE}
        with Store(Path(folder) / "fresh.sqlite") as fresh:
            last = await _fold(log, fresh, number, progress)
            if last != (number, hash_):
                result["what"] = (
                    f"it has read up to commit {number}, which is another in this log"
                    if last[0] == number
                    else f"it has read up to commit {number}; the log ends at commit {last[0]}"
                )
                if last[0] < number:
                    result["advice"] = KEEP
            elif digest(kept) != digest(fresh):
                result["what"] = f"it differs from a fresh fold of commits 1 to {number}"
            else:
                result["ok"] = True
    return result


async def _fold(log: Log, store: Store, until: int, progress: Callable[[int, int], None]) -> tuple[int, str]:
    """Fold commits up to a number; returns number and hash of the last."""
    chain, waiting = Chain(), list[Commit]()
    if not until:
        return 0, FIRST
    async for stored in log.journal(1, (await log.ends()).journal):
        whole = chain.take(stored)
        if whole is not None:
            waiting.append(decode(whole.body))
        if len(waiting) >= TOGETHER or chain.place.number == until:
            _apply(store, waiting)
            progress(chain.place.number, until)
        if chain.place.number == until:
            break
    _apply(store, waiting)
    return chain.place.number, chain.place.hash


def _apply(store: Store, commits: list[Commit]) -> None:
    for batch in batches(commits):
        store.apply(batch)
    commits.clear()


@contextlib.contextmanager
def _copy(path: Path, folder: Path) -> Iterator[Store]:
    """A copy of a store as of one moment, taken for reading only. Raises StoreError."""
    copied = folder / "kept.sqlite"
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(copied)) as target,
        ):
            source.backup(target)
            (version,) = target.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    if version != SCHEMA:
        raise StoreError(f"{path}: it is of another version of the program; `exchange up` rebuilds it")
    with Store(copied) as store:
        yield store
