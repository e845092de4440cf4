"""What a person is told of a request that its form forbids: the table's words, never a library's."""

from typing import Any

import pytest

from events.client import BadRequestError, validate
from events.keys import Key
from events.requests import INT32

NUMBERED = {"session": 1, "number": 1}
KEY = Key.make().public


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "bid",
            {"price": 10**12 + 1, "size": 1},
            "price: must be a whole number from 1 to 1000000000000 micro-credits, "
            "that is 0.000001 to 1000000.000000 credits",
        ),
        (
            "account",
            {"account": KEY, "name": "Bob"},
            "name: must be 1 to 32 of a-z, 0-9, _ and -, the first a letter or digit "
            "(`[a-z0-9][a-z0-9_-]{0,31}`)",
        ),
        ("account", {"account": "bob", "name": "bob"}, "account: must be an account's public key"),
        ("account", {"account": "U" + "A" * 55, "name": "bob"}, "account: the key's checksum is wrong"),
        ("bid", {"price": 1}, "size: is missing; it must be a whole number from 1 to 10000"),
        ("bid", {"price": 1, "size": 1, "flags": ["a", "A"]}, "flags: must be a list of at most 512"),
        ("bid", {"price": 1, "size": 1, "flags": ["a", "a"]}, "flags: the same value stands twice"),
        ("bid", {"price": 1, "size": 1, "minimums": {"jail": INT32 + 1}}, "minimums: must be an object with"),
        ("vote", {"contract": 1, "hour": 1, "good": 1}, "good: must be true or false"),
        (
            "leave",
            {"machine": "m", "colour": 1},
            "colour: no such member; there are session, number,",
        ),
        ("lost", {"epoch": 1, "parties": []}, "parties: must be a list of 1 to 1000 pairs ["),
    ],
)
def test_a_member_and_what_it_must_be_are_named(kind: str, body: dict[str, Any], said: str) -> None:
    numbered = {} if kind == "lost" else NUMBERED
    with pytest.raises(BadRequestError) as caught:
        validate(kind, numbered | body)
    assert str(caught.value).startswith(f"{kind}: {said}")
