"""Events, commits, refusals: the same after their way over the wire (R34, R35)."""

import ast
import re
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exchange
from events import commit as c
from events.records import BANK, EVENTS, FEES, MEMBERS, BadRecordError, Event, Frozen, event_of
from events.refusals import CODES, explain
from events.requests import KINDS
from events.terminal import MOST_TEXT
from events.wire import RequestsHash, dumps, loads, sha256
from tests.events.strategies import any_json, events

ALL = st.sampled_from(sorted(EVENTS)).flatmap(lambda kind: events(EVENTS[kind]))


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_every_event_comes_back_from_the_wire(kind: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(events(EVENTS[kind]))
    def comes_back(event: Event) -> None:
        data = dumps(event.wire())
        again = event_of(loads(data))
        assert again == event
        assert dumps(again.wire()) == data
        assert next(iter(event.wire())) == "kind"

    comes_back()


@settings(max_examples=200)
@given(ALL)
def test_what_moves_is_between_those_whom_the_event_names(event: Event) -> None:
    for source, source_purse, target, target_purse, _ in event.movements():
        for account in (source, target):
            assert account in (*event.accounts(), BANK, FEES)
        assert {source_purse, target_purse} <= {"free", "held"}


@given(any_json)
def test_what_is_no_event_is_a_bad_record(wire: Any) -> None:
    with pytest.raises(BadRecordError):
        event_of(wire)


EMPTY: dict[Any, Any] = {int: 0, str: "", bool: False, dict[str, int]: {}, list[list[int]] | None: None}
EMPTY |= {form: [] for form in (list[str], list[list[str]])}
EMPTY |= {typing.get_type_hints(EVENTS["orders_answered"])["answers"]: []}


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_an_event_with_a_member_too_many_or_too_few_is_a_bad_record(kind: str) -> None:
    hints = typing.get_type_hints(EVENTS[kind])
    wire: dict[str, Any] = {"kind": kind} | {name: EMPTY[hints[name]] for name in MEMBERS[kind]}
    event_of(wire)
    for name in MEMBERS[kind]:
        with pytest.raises(BadRecordError):
            event_of(wire | {name: 0.5})
    with pytest.raises(BadRecordError):
        event_of(wire | {"more": 1})
    del wire[MEMBERS[kind][0]]
    with pytest.raises(BadRecordError):
        event_of(wire)


# -- commits

COMMITS = st.builds(
    c.Commit,
    number=st.integers(1, 2**53),
    previous=st.binary(min_size=32, max_size=32).map(bytes.hex),
    rules=st.just(c.RULES),
    first=st.integers(1, 2**53),
    last=st.integers(1, 2**53),
    requests=st.binary(min_size=32, max_size=32).map(bytes.hex),
    digest=st.binary(min_size=16, max_size=16).map(bytes.hex),
    events=st.lists(st.tuples(st.integers(1, 2**53), ALL), max_size=5).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(COMMITS, st.integers(1, 400))
def test_a_commit_comes_back_from_its_parts(commit: c.Commit, size: int) -> None:
    body = c.encode(commit)
    messages = list(c.parts(body, size))
    assert all(len(message) <= size + c.PART_HEADER for message in messages)
    assembler = c.Assembler()
    bodies = [assembler.add(message) for message in messages]
    assert bodies[:-1] == [None] * (len(messages) - 1)
    assert bodies[-1] == body
    again = c.decode(body)
    assert again == msgspec.structs.replace(commit, hash=sha256(body))
    assert c.encode(again) == body


def test_parts_of_a_writer_that_died_count_for_nothing() -> None:
    dead, whole = list(c.parts(b"d" * 100, 30)), list(c.parts(b"w" * 70, 30))
    assembler = c.Assembler()
    for message in dead[:3]:
        assert assembler.add(message) is None
    assert [assembler.add(message) for message in whole] == [None, None, b"w" * 70]
    assert [assembler.add(message) for message in c.parts(b"next")] == [b"next"]


def test_parts_out_of_order_are_found() -> None:
    one, two, three = c.parts(b"x" * 90, 30)
    for order in ((two,), (one, three), (one, two, two), (one, two, three, three)):
        assembler = c.Assembler()
        for message in order[:-1]:
            assembler.add(message)
        with pytest.raises(BadRecordError, match=r"part \d of \d of a commit follows part \d of \d"):
            assembler.add(order[-1])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0\0\0\1\0\0\0",
        bytes(8),
        b"\0\0\0\0\0\0\0\1x",
        b"\0\0\0\2\0\0\0\1x",
        b"\0\0\0\1\0\1\0\0x",
    ],
)
def test_what_is_no_part_is_a_bad_record(message: bytes) -> None:
    with pytest.raises(BadRecordError, match="not a part"):
        c.Assembler().add(message)


@given(st.binary(max_size=100) | any_json.map(dumps))
def test_what_is_no_commit_is_a_bad_record(body: bytes) -> None:
    with pytest.raises(BadRecordError):
        c.decode(body)


def test_a_body_is_refused_in_one_line_whoever_reads_it() -> None:
    for body in (b'{"commit":', b"\xff", b"[" * 100_000, dumps({"commit": "a\nb\x1b[2J" * 200})):
        texts = set[str]()
        for read in (c.decode, c.heading):
            with pytest.raises(BadRecordError) as refused:
                read(body)
            texts.add(str(refused.value))
        (text,) = texts
        assert text.isprintable() and len(text) <= MOST_TEXT


def test_a_commit_of_other_rules_is_a_bad_record() -> None:
    wire = loads(c.encode(c.Commit(1, c.FIRST, c.RULES, 1, 1, "", "", ())))
    with pytest.raises(BadRecordError, match="made by rules"):
        c.decode(dumps(wire | {"rules": c.RULES + 1}))


def test_an_empty_body_is_one_part() -> None:
    assert list(c.parts(b"")) == [b"\0\0\0\1\0\0\0\1"]


@given(
    st.lists(
        st.tuples(st.integers(1, 2**63), st.integers(0, 2**63), st.text(max_size=5), st.binary(max_size=5)),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_the_hash_over_requests_sees_every_change(
    requests: list[tuple[int, int, str, bytes]], data: st.DataObject
) -> None:
    def hashed(those: list[tuple[int, int, str, bytes]]) -> str:
        over = RequestsHash()
        for request in those:
            over.add(*request)
        return over.hex()

    at = data.draw(st.integers(0, len(requests) - 1))
    sequence, time_ns, subject, body = requests[at]
    changes = [(sequence + 1, time_ns, subject, body), (sequence, time_ns + 1, subject, body)]
    changes += [(sequence, time_ns, subject + "x", body), (sequence, time_ns, subject, body + b"x")]
    changes += [(sequence, time_ns, subject + body.hex(), b"")] if body else []
    before = hashed(requests)
    for change in changes:
        assert hashed([*requests[:at], change, *requests[at + 1 :]]) != before
    assert hashed(requests[:at] + requests[at + 1 :]) != before
    assert hashed(requests) == before


# -- refusals

CODE = re.compile(r"R[0-9]+/[a-z_]+/[a-z-]+")


def codes_in(file: Path) -> set[str]:
    """Every refusal code that stands as a text in a source file."""
    return {
        node.value
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }


def test_every_code_that_the_market_answers_with_is_listed_and_no_other() -> None:
    folder = Path(exchange.__file__).parent
    raised = set().union(*(codes_in(file) for file in folder.glob("*.py")))
    assert len(raised) > 20
    assert raised | {"R12/member/unknown"} == set(CODES)  # that one is made by events.requests.check


def test_every_code_is_one_sentence_that_names_member_and_rule() -> None:
    forms = [
        f"{member.rule}/{member.name}/{reason}"
        for kind in KINDS.values()
        for member in kind.members
        for reason in ("missing", "form")
    ]
    for code in (*CODES, *forms):
        assert CODE.fullmatch(code)
        rule, member, _ = code.split("/")
        text = explain(code)
        assert f"({rule})" in text and text.startswith(member) and "\n" not in text
        if code in CODES:
            assert CODES[code] in text


def test_events_that_name_nobody_are_for_everybody() -> None:
    assert Frozen("x", [["U", "m"]]).accounts() == ()
    named = {kind for kind, record in EVENTS.items() if record.PARTIES}
    assert set(EVENTS) - named == {
        "market_opened", "epoch_opened", "clock_moved", "frozen", "unfrozen", "halted", "resumed",
        "rules_changed", "signatures_checked",
    }  # fmt: skip
