"""A job's journal: what is done stays done, whatever died; and what is not the same job is refused."""

import json
from pathlib import Path

import pytest

from buyer.job import BadJobError, Ended, Job, Unit
from buyer.journal import Journal
from buyer.results import Results, TooMuchError


def job(output: Path, *, resume: bool = False, program: bytes = b"p", inputs: str = "abc") -> Job:
    units = [Unit(name, name.encode()) for name in inputs]
    return Job(program, "native/x86_64-linux", ["x"], units, 2, 1000, output, resume=resume)


def test_what_was_noted_is_known_after_a_crash(tmp_path: Path) -> None:
    first = Journal(job(tmp_path))
    first.note_asking(5, 1)
    first.note_bid(7)
    first.note_crash("b", "killed by SIGSEGV")
    first.note_end("a", Ended(3, contract=9, cpu_us=11))
    first.note_asking(5, 4)
    first.close()
    with (tmp_path / ".buyer/journal.jsonl").open("ab") as file:
        file.write(b'{"unit":"c","status":0,"sig')  # torn by the crash
    second = Journal(job(tmp_path, resume=True))
    assert second.ended == {"a": Ended(3, contract=9, cpu_us=11)}
    assert second.crashes == {"b": 1}
    assert second.bids == [7]
    assert second.asking == (5, 4)
    second.note_end("c", Ended(0))
    second.close()
    lines = (tmp_path / ".buyer/journal.jsonl").read_text().splitlines()
    assert [json.loads(line).get("unit") for line in lines][-2:] == [None, "c"]


def test_a_refused_bid_is_asked_for_no_more_in_this_process(tmp_path: Path) -> None:
    journal = Journal(job(tmp_path))
    journal.note_asking(5, 1)
    journal.note_bid(0)
    assert journal.asking is None
    assert journal.bids == []
    journal.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"program": b"other"}, "the program"), ({"inputs": "abx"}, "--input")],
)
def test_resuming_another_job_is_refused_by_name(tmp_path: Path, change: dict[str, str], named: str) -> None:
    Journal(job(tmp_path)).close()
    with pytest.raises(BadJobError, match=f"--resume: {named}.* changed"):
        Journal(job(tmp_path, resume=True, **change))  # type: ignore[arg-type]


def test_an_input_with_other_content_is_another_job(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one")
    out = tmp_path / "out"
    one = Job(b"p", "r", [], [Unit("u", path)], 1, 1, out)
    Journal(one).close()
    path.write_bytes(b"two")
    with pytest.raises(BadJobError, match="inputs changed"):
        Journal(Job(b"p", "r", [], [Unit("u", path)], 1, 1, out, resume=True))


def test_an_unfinished_job_is_not_overwritten_and_a_finished_one_is(tmp_path: Path) -> None:
    journal = Journal(job(tmp_path, inputs="ab"))
    journal.note_end("a", Ended(0))
    journal.close()
    with pytest.raises(BadJobError, match="unfinished job, 1 of 2 units: --resume"):
        Journal(job(tmp_path, inputs="ab"))
    journal = Journal(job(tmp_path, inputs="ab", resume=True))
    journal.note_end("b", Ended(0))
    journal.close()
    again = Journal(job(tmp_path, inputs="xyz"))
    assert again.ended == {}
    again.close()


def test_one_directory_has_one_job_at_a_time(tmp_path: Path) -> None:
    journal = Journal(job(tmp_path))
    with pytest.raises(BadJobError, match="another `buyer run`"):
        Journal(job(tmp_path, resume=True))
    journal.close()


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / ".buyer").mkdir()
    (tmp_path / ".buyer/journal.jsonl").write_text('{"job": {}}\n')
    with pytest.raises(BadJobError, match="line 1 is not a journal's"):
        Journal(job(tmp_path, resume=True))


def test_an_output_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadJobError, match=r"--output: .*file"):
        Journal(job(tmp_path / "file"))


def test_results_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    journal = Journal(job(tmp_path))
    (tmp_path / "a.err").write_text("of an earlier run")
    results = Results(journal.partial, tmp_path, "a", 1, 1)
    results.write_output(b"half")
    assert not (tmp_path / "a").exists()
    results.discard()
    results = Results(journal.partial, tmp_path, "a", 2, 1)
    results.write_output(b"who")
    results.write_output(b"le")
    results.finish()
    results.discard()
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert not (tmp_path / "a.err").exists()
    results = Results(journal.partial, tmp_path, "b", 2, 1)
    results.write_errors(b"oh")
    results.finish()
    assert (tmp_path / "b").read_bytes() == b""
    assert (tmp_path / "b.err").read_bytes() == b"oh"
    assert list(journal.partial.iterdir()) == []
    journal.close()


def test_output_and_errors_together_have_a_bound(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()
    results = Results(partial, tmp_path, "a", 1, 1)
    results.write_output(bytes(1 << 19))
    results.write_errors(bytes(1 << 19))
    for write in (results.write_output, results.write_errors):
        with pytest.raises(TooMuchError, match="more than 1 MiB of output; --max-output allows more"):
            write(b"x")
    results.finish()
    assert [(tmp_path / name).stat().st_size for name in ("a", "a.err")] == [1 << 19, 1 << 19]


def names(*given: str) -> list[Unit]:
    return [Unit(name, b"") for name in given]


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([], "no file matches"),
        (names("a", "b", "a"), "two files are called 'a'"),
        (names("a", "a.err"), "a.err is the name of an input and of the errors"),
        (names(".buyer"), "cannot be the name"),
        (names("x/y"), "cannot be the name"),
    ],
)
def test_units_whose_results_would_collide_are_refused(tmp_path: Path, units: list[Unit], said: str) -> None:
    with pytest.raises(BadJobError, match=f"--input: .*{said}"):
        Job(b"p", "r", [], units, 1, 1, tmp_path)


def test_the_runtime_is_demanded_of_the_machine(tmp_path: Path) -> None:
    assert job(tmp_path).demands().flags == ("native/x86_64-linux",)
