"""A store that nobody forces to the disk: kept where a process died, rebuilt where the machine did."""

import sqlite3
from pathlib import Path

import pytest

from projections.store import Store, digest, rebuild
from projections.unforced import mark_of, settled
from tests.projections.journal import commits, opening, trading

LOG = commits(*opening(), *trading())


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("one\n")
    return path


def fill(path: Path, boot: Path) -> None:
    """As a process does that dies: the mark stays."""
    session = settled(path, False, boot)
    session.__enter__()
    with Store(path, forced=False) as store:
        store.apply(LOG)
    assert mark_of(path).read_text() == "one"


@pytest.mark.parametrize("forced", [True, False])
def test_who_comes_after_a_dead_process_has_all_of_it(tmp_path: Path, boot: Path, forced: bool) -> None:
    path = tmp_path / "s"
    fill(path, boot)
    with settled(path, forced, boot), Store(path, forced=forced) as store, rebuild(LOG) as fresh:
        assert digest(store) == digest(fresh)
        assert mark_of(path).exists() is not forced
    assert not mark_of(path).exists()


@pytest.mark.parametrize("forced", [True, False])
def test_after_another_boot_it_is_empty_and_filled_anew(tmp_path: Path, boot: Path, forced: bool) -> None:
    path = tmp_path / "s"
    fill(path, boot)
    boot.write_text("two\n")
    with settled(path, forced, boot), Store(path, forced=forced) as store:
        assert store.cursor()[0] == 0
        store.apply(LOG)


def test_what_was_ended_in_order_survives_a_boot(tmp_path: Path, boot: Path) -> None:
    path = tmp_path / "s"
    with settled(path, False, boot), Store(path, forced=False) as store:
        store.apply(LOG)
    boot.write_text("two\n")
    with settled(path, False, boot), Store(path, forced=False) as store:
        assert store.cursor()[0] == len(LOG)


@pytest.mark.parametrize(("forced", "said"), [(True, 1), (False, 0)])
def test_sqlite_is_told(tmp_path: Path, forced: bool, said: int) -> None:
    with Store(tmp_path / "s", forced=forced) as store, store.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == said
    with sqlite3.connect(tmp_path / "s") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
