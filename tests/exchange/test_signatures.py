"""Signatures of many messages, checked on all cores: what is true, false or unreadable, as for one (R35)."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import subjects
from events.keys import Key, is_signed, raw_key
from events.log import Stored
from events.requests import decode_body, encode, signed_bytes, split
from exchange.admission import admit
from exchange.signatures import Checked, Checker, Verdict, check
from tests.market.play import key_of

KEY, OTHER = key_of("ann"), key_of("bob")
SUBJECT = subjects.intake(KEY.public, "bid")
BODY = {"session": 1, "number": 1, "price": 7, "size": 1}
GOOD = encode(KEY, SUBJECT, BODY)
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the curve's group


def stored(data: bytes, subject: str = SUBJECT, sequence: int = 1) -> Stored:
    return Stored(sequence, 0, subject, data)


def plain(message: Stored) -> Verdict:
    """The same by the functions that check one message."""
    account, _ = subjects.parse_intake(message.subject) or ("", "")
    raw, signed = raw_key(account), split(message.data)
    if raw is None or signed is None or decode_body(signed[1]) is None:
        return Verdict.UNREADABLE
    is_true = is_signed(raw, signed[0], signed_bytes(message.subject, signed[1]))
    return Verdict.TRUE if is_true else Verdict.FALSE


def verdict(message: Stored) -> Verdict:
    """Ours; the same as the plain one, except that a true signature of what is no JSON is true."""
    ours = Verdict(check([message]).verdicts[0])
    readable = decode_body(message.data[87:]) is not None
    assert ours == plain(message) or (ours == Verdict.TRUE and not readable), message
    return ours


def signed(content: bytes, key: Key = KEY, subject: str = SUBJECT) -> bytes:
    return key.sign(signed_bytes(subject, content)).encode() + b"\n" + content


def test_what_is_true() -> None:
    assert verdict(stored(GOOD)) == Verdict.TRUE
    assert verdict(stored(signed(b"{}"))) == Verdict.TRUE
    assert verdict(stored(signed(b'{"a":"' + b"x" * 60_000 + b'"}'))) == Verdict.TRUE
    assert verdict(stored(signed(b"no JSON"))) == Verdict.TRUE


@pytest.mark.parametrize(
    "message",
    [
        stored(encode(OTHER, SUBJECT, BODY)),
        stored(GOOD, subjects.intake(OTHER.public, "bid")),
        stored(GOOD, subjects.intake(KEY.public, "ask")),
        stored(GOOD.replace(b'"price":7', b'"price":8')),
        stored(GOOD.replace(b":7", b": 7")),
        stored(b"A" * 86 + b"\n{}"),
        stored(b"-" * 86 + b"\n{}"),
    ],
)
def test_what_is_false(message: Stored) -> None:
    assert verdict(message) == Verdict.FALSE
    assert admit(message, 1).refusal == "R35/signature/false"
    assert check([message]).false() == [message]


@pytest.mark.parametrize(
    "message",
    [
        stored(b""),
        stored(GOOD[:86]),
        stored(GOOD[:87]),
        stored(GOOD[1:]),
        stored(GOOD[:86] + b" " + GOOD[87:]),
        stored("ü".encode() + GOOD[2:]),
        stored(b"A" * 86 + b"\n"),
        stored(b"A" * 86 + b"\nno JSON"),
        stored(b"A" * 86 + b"\n[]"),
        stored(GOOD, f"intake.{KEY.public[:-1]}.bid"),
        stored(GOOD, f"intake.{KEY.public[:-1]}B.bid"),
        stored(GOOD, f"intake.{KEY.public}"),
        stored(GOOD, f"intake.{KEY.public}.bid.x"),
        stored(GOOD, ""),
    ],
)
def test_what_accuses_nobody(message: Stored) -> None:
    assert verdict(message) == Verdict.UNREADABLE
    assert {admit(message, rules).refusal for rules in (1, 2)} == {"R35/message/unreadable"}
    assert check([message]).false() == []


def test_a_signature_has_one_spelling() -> None:
    last = ALPHABET.index(GOOD[85])
    assert last % 16 == 0, "the last four bits are none of the signature's"
    for other in range(1, 16):
        assert verdict(stored(GOOD[:85] + ALPHABET[last + other :][:1] + GOOD[86:])) == Verdict.FALSE
    seen = 0
    for number in range(40):
        data = signed(b'{"n":%d}' % number)
        for special, plain_one in ((b"-", b"+"), (b"_", b"/")):
            if special in data[:86]:
                seen += 1
                assert verdict(stored(data[:86].replace(special, plain_one) + data[86:])) == Verdict.FALSE
    assert seen


def test_a_signature_has_one_value() -> None:
    """The same s plus the group's order would pass a careless check, and be another message."""
    content = GOOD[87:]
    signature = base64.urlsafe_b64decode(GOOD[:86] + b"==")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    twin = signature[:32] + scalar.to_bytes(32, "little")
    assert verdict(stored(base64.urlsafe_b64encode(twin)[:86] + b"\n" + content)) == Verdict.FALSE


@given(
    st.integers(0, len(GOOD) - 1),
    st.integers(0, 255),
    st.sampled_from((SUBJECT, subjects.intake(OTHER.public, "bid"))),
)
@example(86, 13, SUBJECT)
def test_any_other_byte_is_seen(place: int, value: int, subject: str) -> None:
    data = GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    assert (verdict(stored(data, subject)) == Verdict.TRUE) == (data == GOOD and subject == SUBJECT)


@given(st.binary(max_size=200), st.text(max_size=80))
def test_bytes_of_any_kind_are_judged_as_one_by_one(data: bytes, subject: str) -> None:
    verdict(stored(data, subject.encode("utf-8", "replace").decode()))
    verdict(stored(data))
    verdict(stored((data + b"A" * 86)[:86] + b"\n" + data))


def mixed(count: int, dice: random.Random) -> list[Stored]:
    """Messages of three accounts, some false, some unreadable."""
    keys = [key_of(name) for name in ("ann", "bob", "eve")]
    result = []
    for number in range(1, count + 1):
        key = dice.choice(keys)
        subject = subjects.intake(key.public, "bid")
        data = encode(key, subject, BODY | {"number": number})
        chance = dice.random()
        if chance < 0.1:
            data = encode(dice.choice(keys), subject, BODY | {"number": number})
        elif chance < 0.2:
            data = data[dice.randrange(len(data)) :]
        result.append(stored(data, subject, number))
    return result


async def of(batches: Sequence[Sequence[Stored]]) -> AsyncIterator[Sequence[Stored]]:
    for batch in batches:
        yield batch


@pytest.mark.parametrize("seed", range(3))
def test_batches_come_back_in_order(seed: int) -> None:
    dice = random.Random(seed)
    messages = mixed(600, dice)
    cuts = [0, *sorted(dice.sample(range(1, 600), 40)), 600]
    batches = [messages[start:stop] for start, stop in pairwise(cuts)]
    batches.insert(3, [])

    async def all_of(workers: int) -> list[Checked]:
        async with Checker(workers) as checker:
            return [checked async for checked in checker.check(of(batches))]

    expected = [Checked(batch, bytes(map(plain, batch))) for batch in batches]
    assert {verdict for _, verdicts in expected for verdict in verdicts} == set(Verdict)
    for workers in (1, 2, 5):
        assert asyncio.run(all_of(workers)) == expected


def test_a_batch_is_answered_though_no_other_follows() -> None:
    async def one() -> Checked:
        async def batches() -> AsyncIterator[Sequence[Stored]]:
            yield [stored(GOOD)]
            await asyncio.Event().wait()

        async with asyncio.timeout(10), Checker() as checker:
            verdicts = checker.check(batches())
            first = await anext(verdicts)
            await verdicts.aclose()
            return first

    assert asyncio.run(one()).verdicts == bytes([Verdict.TRUE])


def test_only_a_few_batches_wait() -> None:
    async def read_ahead() -> int:
        given = 0

        async def batches() -> AsyncIterator[Sequence[Stored]]:
            nonlocal given
            while True:
                given += 1
                yield [stored(GOOD)]

        async with asyncio.timeout(10), Checker(2) as checker:
            verdicts = checker.check(batches())
            await anext(verdicts)
            await asyncio.sleep(0.2)
            await verdicts.aclose()
        return given

    assert asyncio.run(read_ahead()) < 10


def test_what_the_batches_raise_comes_behind_what_they_gave() -> None:
    async def broken() -> AsyncIterator[Sequence[Stored]]:
        yield [stored(GOOD)]
        raise LookupError("the log ends here")

    seen: list[Checked] = []

    async def read() -> None:
        async with asyncio.timeout(10), Checker() as checker:
            async for checked in checker.check(broken()):
                seen.append(checked)

    with pytest.raises(LookupError, match="ends here"):
        asyncio.run(read())
    assert len(seen) == 1
