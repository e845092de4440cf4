"""The table of requests, its pydantic models, and what the bytes of a request become (R12, R35)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from events.commit import RULES
from events.keys import Key
from events.log import Stored
from events.requests import (
    KINDS,
    MOST_BYTES,
    NUMBER,
    Account,
    Many,
    Parties,
    check,
    decode_body,
    encode,
    model,
    signed_bytes,
    split,
)
from events.subjects import intake
from events.wire import dumps
from exchange.admission import admit
from tests.events.strategies import KEYS, PUBLIC, any_json, bodies, good

KIND_NAMES = sorted(KINDS)


def accepts(kind: str, body: dict[str, Any]) -> bool:
    try:
        model(kind).model_validate(body)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_table_and_the_model_accept_the_same_bodies(kind: str) -> None:
    seen = {True: 0, False: 0}

    @settings(max_examples=120, deadline=None)
    @given(bodies(KINDS[kind]))
    def agree(body: dict[str, Any]) -> None:
        wire = dumps(body)
        by_model = accepts(kind, json.loads(wire))
        read = decode_body(wire)
        assert read is not None
        code = check(KINDS[kind], read)
        assert (code == "") == by_model, (code, body)
        seen[by_model] += 1

    agree()
    assert seen[True] > 5 and seen[False] > 5, seen


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_each_wrong_member_is_named(kind: str) -> None:
    table = KINDS[kind]

    @settings(max_examples=15, deadline=None)
    @given(st.fixed_dictionaries({member.name: good(member.form) for member in table.members}))
    def named(body: dict[str, Any]) -> None:
        assert check(table, dict(body)) == ""
        for member in table.members:
            wrong: dict[str, Any] = body | {member.name: {"odd": []}}
            assert check(table, wrong) == f"{member.rule}/{member.name}/form"
            without = {name: value for name, value in body.items() if name != member.name}
            code = check(table, without)
            if code:
                assert code == f"{member.rule}/{member.name}/missing"
            else:
                assert without[member.name] == member.default
        assert check(table, body | {"zz": 1}) == "R12/member/unknown"

    named()


def test_defaults_are_not_shared_between_requests() -> None:
    base = {"session": 1, "number": 1, "price": 1, "size": 1}
    one: dict[str, Any] = dict(base)
    assert check(KINDS["bid"], one) == ""
    another: dict[str, Any] = dict(base)
    assert check(KINDS["bid"], another) == ""
    assert one == another == base | {
        "minimums": {}, "flags": [], "only": [], "blocked": [], "lifetime_us": 0,
    }  # fmt: skip
    assert check(KINDS["amend"], {"session": 1, "number": 1, "order": 1}) == ""


def test_every_form_that_holds_accounts_checks_their_checksum() -> None:
    key = PUBLIC[0]
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    for form, value in ((Account(), other), (Many(Account(), 2), [other]), (Parties(2), [[other, "a"]])):
        assert not form.holds(value)
        assert not form.holds(json.loads(json.dumps(value)))


# -- bytes


def message(kind: str = "bid", body: dict[str, Any] | None = None, key: Key = KEYS[0]) -> Stored:
    if body is None:
        body = {"session": 7, "number": 3, "price": 20000, "size": 2}
    subject = intake(key.public, kind)
    return Stored(12, 34_000, subject, encode(key, subject, body))


def test_a_good_message_becomes_a_request() -> None:
    stored = message()
    request = admit(stored, 1)
    assert request.refusal == ""
    assert (request.sequence, request.time_ns, request.account, request.kind) == (
        12,
        34_000,
        PUBLIC[0],
        "bid",
    )
    assert (request.session, request.number) == (7, 3)
    assert request.content == stored.data[87:]
    assert request.body["price"] == 20000 and request.body["flags"] == []


def test_every_altered_byte_is_found() -> None:
    stored = message()
    for position in range(len(stored.data)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128):
            data = bytearray(stored.data)
            data[position] ^= change
            request = admit(stored._replace(data=bytes(data)), 1)
            assert request.refusal in ("R35/signature/false", "R35/message/unreadable"), (position, change)
            assert (request.session, request.number, request.body) == (0, 0, {})


def test_a_changed_letter_of_the_content_is_a_false_signature() -> None:
    stored = message()
    data = stored.data.replace(b"20000", b"20001")
    assert admit(stored._replace(data=data), 1).refusal == "R35/signature/false"


def test_a_signature_holds_for_one_subject() -> None:
    stored = message()
    for subject in (intake(PUBLIC[0], "ask"), intake(PUBLIC[1], "bid")):
        assert admit(stored._replace(subject=subject), 1).refusal == "R35/signature/false"


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("=" * 86, "no base64"),
        ("A" * 86, "zeros"),
        ("\u00e9" * 43, "not ASCII"),
        ("+/" * 43, "base64, but not base64url"),
        ("!" * 86, "no alphabet's"),
    ],
)
def test_what_is_no_signature(signature: str, why: str) -> None:
    stored = message()
    data = signature.encode() + stored.data[86:]
    assert admit(stored._replace(data=data), 1).refusal.startswith("R35/"), why


def test_a_signature_has_one_spelling() -> None:
    """The last of the 86 characters carries two bits; the other four must be zero, and padding is none."""
    stored = message()
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    taken = []
    for letter in alphabet:
        data = stored.data[:85] + bytes([letter]) + stored.data[86:]
        if admit(stored._replace(data=data), 1).refusal == "":
            taken.append(letter)
    assert taken == [stored.data[85]]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"1", b"null", b'"text"', b"{", b"{}x", b"\xff{}", b"NaN", b"["]
)
def test_what_is_no_json_object_is_unreadable(content: bytes) -> None:
    subject = intake(PUBLIC[0], "bid")
    signature = KEYS[0].sign(signed_bytes(subject, content)).encode()
    request = admit(Stored(1, 1, subject, signature + b"\n" + content), 1)
    assert request.refusal == "R35/message/unreadable"


@pytest.mark.parametrize(
    ("body", "session", "number", "code"),
    [
        ({}, 0, 0, "R12/session/missing"),
        ({"session": 5}, 0, 0, "R12/number/missing"),
        ({"session": 5, "number": 0}, 0, 0, "R12/number/form"),
        ({"session": 5, "number": True}, 0, 0, "R12/number/form"),
        ({"session": 5, "number": 1.0}, 0, 0, "R12/number/form"),
        ({"session": -1, "number": 1}, 0, 0, "R12/session/form"),
        ({"session": NUMBER + 1, "number": 1}, 0, 0, "R12/session/form"),
        ({"session": NUMBER, "number": NUMBER}, NUMBER, NUMBER, "R5/price/missing"),
        ({"session": 5, "number": 1, "price": 2**70}, 5, 1, "R5/price/form"),
    ],
)
def test_where_the_number_cannot_be_read(body: dict[str, Any], session: int, number: int, code: str) -> None:
    subject = intake(PUBLIC[0], "bid")
    content = json.dumps(body).encode()
    data = KEYS[0].sign(signed_bytes(subject, content)).encode() + b"\n" + content
    request = admit(Stored(1, 1, subject, data), 1)
    assert (request.session, request.number, request.refusal) == (session, number, code)


def test_an_unknown_kind_keeps_its_number() -> None:
    request = admit(message("buy"), 1)
    assert (request.refusal, request.session, request.number) == ("R12/kind/unknown", 7, 3)


SUBJECTS = st.sampled_from(
    [intake(PUBLIC[0], kind) for kind in KIND_NAMES]
    + ["", "intake", "intake..", "intake.a.bid", f"intake.{PUBLIC[0]}.", f"feed.{PUBLIC[0]}", "intake.a.b.c"]
)


@settings(max_examples=300, deadline=None)
@given(SUBJECTS, st.binary(max_size=300) | st.binary(max_size=60).map(lambda rest: b"A" * 86 + b"\n" + rest))
def test_garbage_never_raises(subject: str, data: bytes) -> None:
    assert admit(Stored(1, 1, subject, data), 1).refusal.startswith("R35/")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KIND_NAMES), st.dictionaries(st.text(max_size=8), any_json, max_size=4), any_json)
def test_signed_garbage_never_raises(kind: str, body: dict[str, Any], odd: object) -> None:
    for member in KINDS[kind].members[:1]:
        body[member.name] = odd
    request = admit(message(kind, body), RULES)
    assert request.refusal == check(KINDS[kind], json.loads(dumps(body)))


def test_deep_json_is_refused() -> None:
    subject = intake(PUBLIC[0], "bid")
    content = b'{"price":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert len(content) < MOST_BYTES
    data = KEYS[0].sign(signed_bytes(subject, content)).encode() + b"\n" + content
    assert admit(Stored(1, 1, subject, data), 1).refusal.startswith("R")


@given(st.binary(max_size=200))
def test_split_gives_back_what_was_put_together(data: bytes) -> None:
    parts = split(data)
    if parts is not None:
        assert parts[0].encode() + b"\n" + parts[1] == data
        assert len(parts[0]) == 86
