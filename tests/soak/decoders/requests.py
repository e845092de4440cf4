"""A raw message of INTAKE: admission, the table of requests, and the engine's refusals."""

import functools
import re
from typing import Any

from pydantic import ValidationError

from events import records as r
from events import subjects
from events.commit import RULES
from events.keys import SIGNATURE_CHARACTERS, Key, is_signed, raw_key
from events.log import Stored
from events.refusals import explain
from events.requests import IN_ORDERS, KINDS, check, decode_body, model, signed_bytes, split
from events.wire import dumps, loads
from exchange.admission import admit, admit_order
from exchange.decision import NewerRulesError
from exchange.entries import rows
from exchange.notary import Findings
from exchange.signatures import Checked, Verdict
from exchange.signatures import check as check_signatures
from exchange.state import State
from tests.market.history import TRADERS, History
from tests.market.play import Play, key_of
from tests.soak.decoders import Check, Target, assert_known, assert_line

NAMES = sorted(KINDS)
WHO = (*TRADERS, "operator", "exchange", "stranger")
STEPS_NS = (0, 1000, 10**6, 10**9, 4_900_000_000, 10**10, -(10**9))
VERDICTS = {"R35/message/unreadable": Verdict.UNREADABLE, "R35/signature/false": Verdict.FALSE}
SEQUENCE, TIME_NS = 7, 1_700_000_000_000_000_000
NEXT = b'"number":777777777'  # stands for the account's next number, so that a message can be a new one
UNSIGNED = b"A" * SIGNATURE_CHARACTERS + b"\n"  # the rules of today leave signatures to the notary
EVERY = 64  # all entries of the state are looked at after so many refusals


@functools.cache
def history() -> History:
    """A market with orders, contracts, votes, and all kinds of requests."""
    return History(3).run()


def accepts(kind: str, body: Any) -> bool:
    """Whether pydantic's model takes it."""
    try:
        model(kind).model_validate(body)
    except ValidationError:
        return False
    return True


# -- the raw message


def message_seeds() -> list[bytes]:
    return [stored.subject.encode() + b"\0" + stored.data for stored in history().requests[::3]]


# What older rules may refuse and newer ones take, which know more kinds, and more numbers of a profile.
OLDER = {
    "R35/signature/false",
    "R12/kind/unknown",
    "R6/minimums/form",
    "R9/minimums/form",
    "R24/numbers/form",
}


def check_message(data: bytes) -> None:
    """Subject, a zero byte, and the message: a request that is what it says, or one clear refusal."""
    name, _, message = data.partition(b"\0")
    stored = Stored(SEQUENCE, TIME_NS, name.decode("utf-8", "replace"), message)
    request = admit(stored, 1)
    assert request == admit(stored, 1)
    (verdict,) = check_signatures([stored]).verdicts
    assert verdict == VERDICTS.get(request.refusal, Verdict.TRUE)
    Findings(key_of("exchange").public, 0, True).take(Checked([stored], bytes([verdict])))
    later = admit(stored, RULES)
    if request.refusal not in OLDER:
        assert later == request
    if later.refusal:
        assert_known(later.refusal)
    elif later.kind != "orders":
        assert accepts(later.kind, loads(later.content))
    assert (request.sequence, request.time_ns) == (SEQUENCE, TIME_NS)
    if request.refusal in ("R35/message/unreadable", "R35/signature/false"):
        assert (request.session, request.number, request.content, request.body) == (0, 0, b"", {})
    else:
        signed = split(message)
        assert signed is not None and signed[1] == request.content
        raw = raw_key(request.account)
        assert raw is not None and stored.subject == subjects.intake(request.account, request.kind)
        assert is_signed(raw, signed[0], signed_bytes(stored.subject, request.content))
        assert 0 <= request.session < 1 << 53 and 0 <= request.number < 1 << 53
    if request.refusal:
        assert_known(request.refusal)
        assert_line(explain(request.refusal))
    else:
        assert accepts(request.kind, loads(request.content))


# -- the body, against pydantic's model


def body_seeds() -> list[bytes]:
    seeds = set()
    for stored in history().requests:
        kind = stored.subject.rsplit(".", 1)[1]
        if kind in KINDS:
            seeds.add(bytes([NAMES.index(kind)]) + stored.data.partition(b"\n")[2])
    return sorted(seeds)[::2]


def check_body(data: bytes) -> None:
    """A byte for the kind, and JSON: the table and the model agree, and what is valid is whole."""
    kind = KINDS[NAMES[(data[0] if data else 0) % len(NAMES)]]
    body = decode_body(data[1:])
    if body is None:
        return
    code = check(kind, body)
    given = loads(data[1:])
    assert (code == "") == accepts(kind.name, given), (code, given)
    if code:
        assert_known(code)
        assert_line(explain(code))
        return
    assert set(body) == {member.name for member in kind.members}
    assert check(kind, dict(body)) == ""
    if kind.name != "orders":
        assert {name: body[name] for name in given} == given
    for order in given.get("orders", ()):
        check_order(order)


def check_order(order: Any) -> None:
    """One of many orders: refused by name, or what the model of its kind takes."""
    whole = {"session": 1, "number": 1, **order} if isinstance(order, dict) else {}
    whole.pop("kind", None)
    kind, body, code = admit_order(order, RULES)
    assert (code == "") == (kind in IN_ORDERS and accepts(kind, whole)), (code, whole)
    if code:
        assert_known(code)
    else:
        assert loads(dumps(body)) == body


# -- the engine


def entries(state: State) -> dict[tuple[Any, ...], bytes]:
    """Every entry of the state, as the digest takes it. O(entries)."""
    state.digest.take()
    return {tuple(key): dumps(values) for key, values in map(loads, rows(state))}


class Market:
    """A market that is asked whatever the bytes say."""

    def __init__(self) -> None:
        self.play: Play = History(3).run()
        self.refused = 0

    def __call__(self, data: bytes) -> None:
        """Bytes for who asks, for what, and for the time that passes; then the request's JSON."""
        play, state = self.play, self.play.state
        who, kind, step = (data[:3] + b"\0\0\0")[:3]
        name = WHO[who % len(WHO)]
        play.time_ns += STEPS_NS[step % len(STEPS_NS)]
        number = play.numbers[name] = play.numbers.get(name, 0) + 1
        content = data[3:].replace(NEXT, b'"number":%d' % number)
        subject = subjects.intake(play.public(name), [*NAMES, "fly"][kind % (len(NAMES) + 1)])
        stored = Stored(len(play.requests) + 1, play.time_ns, subject, UNSIGNED + content)
        self.refused += 1
        before = entries(state) if self.refused % EVERY == 0 else None
        try:
            events = play.send(stored)
        except NewerRulesError:  # who knows no better than to go on must stop
            assert name == "exchange" and admit(stored, RULES).kind == "rules"
            return
        answers = [event for event in events if isinstance(event, r.Answered | r.OrdersAnswered)]
        assert state.total() == 0
        if not answers:
            assert name == "exchange" and admit(stored, RULES).refusal == ""
            return
        (answer,) = answers
        codes = [answer.code] if isinstance(answer, r.Answered) else [one[0] for one in answer.answers]
        for code in filter(None, codes):
            assert_known(code)
        if all(codes):
            assert_unchanged(state, answer, events, before)


def assert_unchanged(
    state: State,
    answer: r.Answered | r.OrdersAnswered,
    events: list[r.Event],
    before: dict[tuple[Any, ...], bytes] | None,
) -> None:
    """A refused request left nothing but its answer; and the clock, which ticks before it had moved."""
    others = [event for event in events if event is not answer]
    assert all(isinstance(event, r.ClockMoved) for event in others), events
    if before is not None:
        after = entries(state)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        allowed = {"answer"} | ({"market", "hour"} if others else set())
        assert all(key[0] in allowed for key in changed), changed
        assert all(key[1] == answer.account for key in changed if key[0] == "answer"), changed
        assert state.digest.take() == state.digest.fresh()


def request_seeds() -> list[bytes]:
    play, seeds = history(), set()
    for stored in play.requests:
        _, account, kind = stored.subject.split(".")
        if kind not in KINDS:
            continue
        content = stored.data.partition(b"\n")[2]
        content = re.sub(rb'"number":\d+', NEXT, content)
        seeds.add(bytes([WHO.index(play.names[account]), NAMES.index(kind), 1]) + content)
    return sorted(seeds)


# -- keys and signatures


def check_key(data: bytes) -> None:
    """Text of a key, a zero byte, a signature, a zero byte, what is signed: true in one spelling alone."""
    text, _, rest = data.partition(b"\0")
    name = text.decode("utf-8", "replace")
    raw = raw_key(name)
    if raw is None:
        return
    assert len(raw) == 32 and name.isascii() and name == name.upper()
    signature, _, signed = rest.partition(b"\0")
    spelled = signature.decode("utf-8", "replace")
    if is_signed(raw, spelled, signed):
        ours = {key.public: key for key in _keys()}
        assert name in ours and ours[name].sign(signed) == spelled


@functools.cache
def _keys() -> list[Key]:
    return [key_of(name) for name in ("one", "two")]


def key_seeds() -> list[bytes]:
    return [
        b"\0".join((key.public.encode(), key.sign(signed).encode(), signed))
        for key in _keys()
        for signed in (b"", b"a", b"\xffcorehour\n", b"x" * 300)
    ]


def check_subject(data: bytes) -> None:
    """A subject of INTAKE is taken apart as it was put together, or not at all."""
    subject = data.decode("utf-8", "replace")
    found = subjects.parse_intake(subject)
    if found is None:
        assert subject.count(".") != 2 or not subject.startswith("intake.")
    else:
        assert subjects.intake(*found) == subject and "." not in found[0] + found[1]


def subject_seeds() -> list[bytes]:
    return [
        b"intake.a.b",
        b"intake..",
        b"feed.a",
        *(stored.subject.encode() for stored in history().requests[:9]),
    ]


def _stateless(check: Check) -> Any:
    return lambda: check


TARGETS = [
    Target("message", _stateless(check_message), message_seeds, 60),
    Target("body", _stateless(check_body), body_seeds, 150),
    Target("request", Market, request_seeds, 50, fresh=1000),
    Target("key", _stateless(check_key), key_seeds, 80, json=False),
    Target("subject", _stateless(check_subject), subject_seeds, 80, json=False),
]
