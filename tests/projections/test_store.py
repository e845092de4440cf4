"""The store: cursor and chain, rebuilding, and what is refused."""

import os
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from events.commit import Commit
from events.records import Deposited, HourCharged
from projections import store as module
from projections.feed import Message, to_publish
from projections.store import Progress, Store, StoreError, batches, digest, rebuild
from projections.tables import METADATA
from tests.projections.journal import BUYER, SELLER, commits, opening, trading

LOG = commits(*opening(), *trading())


def test_any_batches_give_the_same_rows(tmp_path: Path) -> None:
    with rebuild(LOG) as fresh:
        expected = digest(fresh)
    for size in (1, 2, 5, len(LOG)):
        with Store(tmp_path / f"{size}.sqlite") as live:
            for start in range(0, len(LOG), size):
                live.apply(LOG[start : start + size], Progress(start, start, "x", start))
                live._check()
            assert digest(live) == expected
    with rebuild(LOG[:-1]) as shorter:
        assert digest(shorter) != expected


def test_the_digest_sees_every_table() -> None:
    with rebuild(LOG) as store:
        seen = {digest(store)}
        for table in METADATA.sorted_tables:
            if table is module.PROGRESS:
                continue
            with store.transaction() as connection:
                assert connection.execute(table.select()).first() is not None, f"{table} is empty"
                connection.execute(table.delete())
            seen.add(digest(store))
        assert len(seen) == len(METADATA.tables)
        with store.transaction() as connection:
            connection.execute(module.PROGRESS.update(), {"published": 99})
        assert digest(store) in seen


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.sqlite"
    with Store(path) as store:
        assert store.cursor() == (0, "0" * 64)
        store.apply(LOG[:4], Progress(8, 4, LOG[3].hash, 3))
    with Store(path) as store:
        assert store.cursor() == (4, LOG[3].hash)
        assert store.progress() == Progress(8, 4, LOG[3].hash, 3)
        store.apply(LOG[4:])
        assert store.progress().published == 3
        with rebuild(LOG) as fresh:
            assert digest(store) == digest(fresh)


@pytest.mark.parametrize("wrong", [3, 5], ids=["again", "one left out"])
def test_a_commit_out_of_order_is_refused(tmp_path: Path, wrong: int) -> None:
    with Store(tmp_path / "s") as store:
        store.apply(LOG[:4])
        before = digest(store)
        with pytest.raises(
            StoreError, match=f"commit {wrong + 1} does not follow commit 4 .*delete the store"
        ):
            store.apply(LOG[wrong:])
        assert digest(store) == before


def test_a_broken_chain_is_refused_and_nothing_of_the_batch_is_kept(tmp_path: Path) -> None:
    forged = replace(LOG[5], previous="f" * 64)
    with Store(tmp_path / "s") as store:
        store.apply(LOG[:3])
        before = digest(store)
        with pytest.raises(StoreError, match="commit 6 does not follow commit 5"):
            store.apply([LOG[3], LOG[4], forged])
        assert digest(store) == before
        store.apply(LOG[3:])


def test_what_is_told_is_what_is_stored_whoever_dies_in_between(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.apply(LOG[:3])
        before = digest(store)
        told = store.tell(LOG[3:6])
        assert digest(store) == before
    with Store(tmp_path / "s") as store:  # the one before died, and its successor has other batches
        assert [message for commit in LOG[3:6] for message in again(store, commit)] == told
        with store.transaction() as connection:
            assert list(to_publish(connection, 3)) == told
        store.apply(LOG[6:])
        with rebuild(LOG) as fresh:
            assert digest(store) == digest(fresh)


def again(store: Store, commit: Commit) -> list[Message]:
    told = store.tell([commit])
    store.keep()
    return told


def test_what_cannot_be_stored_changes_nothing_and_comes_again(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, sqlite3.connect(tmp_path / "s") as spoiler:
        store.apply(LOG[:3])
        before = digest(store)
        spoiler.execute("CREATE TRIGGER full BEFORE INSERT ON orders BEGIN SELECT RAISE(ABORT, 'full'); END")
        spoiler.commit()
        with pytest.raises(sqlite3.IntegrityError, match="full"):
            store.apply(LOG[3:5])
        assert digest(store) == before
        spoiler.execute("DROP TRIGGER full")
        spoiler.commit()
        store.apply(LOG[3:])
        with rebuild(LOG) as fresh:
            assert digest(store) == digest(fresh)
    spoiler.close()


def test_two_that_write_one_store_are_found(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as one, Store(tmp_path / "s") as other:
        one.apply(LOG[:2])
        other.apply(LOG[2:4])
        expected = digest(other)
        with pytest.raises(StoreError, match="another process writes it"):
            one.apply(LOG[2:5])
        assert digest(one) == expected
        one.apply(LOG[4:])
        with rebuild(LOG) as fresh:
            assert digest(one) == digest(fresh)


def test_the_wal_goes_into_the_file_by_another_connection(tmp_path: Path) -> None:
    path = tmp_path / "s"
    wal = Path(f"{path}-wal")
    log = commits(*opening(), *[[Deposited(BUYER.public, 1, "x" * 190)] * 100 for _ in range(20)], [])
    with Store(path) as store, Store(path) as mover:
        store.leave_checkpoints()
        for commit in log[:-1]:
            store.apply([commit])
        grown = wal.stat().st_size
        pages, moved = mover.checkpoint()
        assert pages == moved > 100
        store.apply(log[-1:])
        assert wal.stat().st_size == grown  # it begins anew
        assert mover.checkpoint()[0] < pages
        with rebuild(log) as fresh:
            assert digest(store) == digest(fresh)


def test_money_that_was_not_held_is_refused() -> None:
    charge = HourCharged(1, 1, BUYER.public, SELLER.public, 5, 0)
    with rebuild(LOG[:2]) as store, pytest.raises(Exception, match="nothing_is_owed"):
        store.apply(commits(*opening(), [charge])[2:])


def test_a_store_of_another_schema_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with rebuild(LOG, path) as store:
        expected = digest(store)
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {module.SCHEMA + 1}")
        other.execute("CREATE TABLE old (x)")
        other.execute("DROP TABLE orders")
    other.close()
    with Store(path) as store:
        assert store.cursor()[0] == 0
        assert store.progress() == Progress()
        store.apply(LOG)
        assert digest(store) == expected


def test_nobody_but_its_owner_reads_it(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with Store(tmp_path / "store.sqlite") as store:
            store.apply(LOG)
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
            assert modes == dict.fromkeys(["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"], 0o600), (
                modes
            )
    finally:
        os.umask(umask)


def test_a_file_of_others_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
    theirs.close()
    with pytest.raises(StoreError, match="another program's database"):
        Store(path)
    with pytest.raises(StoreError, match="another program's database"):
        rebuild(LOG, path)
    text = tmp_path / "text"
    text.write_text("no database at all\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(text)
    with pytest.raises(StoreError, match=str(tmp_path)):
        Store(tmp_path)
    assert text.read_text().startswith("no database")


def test_rebuild_replaces(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path) as store:
        store.apply(LOG[:5])
    with rebuild(iter(LOG), path) as store, rebuild(LOG) as fresh:
        assert digest(store) == digest(fresh)


def test_batches_are_bounded_by_events() -> None:
    large = commits(*opening(), *[[Deposited(BUYER.public, 1, "x")] * 1500 for _ in range(5)])
    grouped = list(batches(large))
    assert [commit for batch in grouped for commit in batch] == large
    assert [len(batch) for batch in grouped] == [3, 1, 1, 1, 1]
