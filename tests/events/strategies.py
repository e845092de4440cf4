"""Values near the borders of what requests and events may be."""

import typing
from typing import Any

from hypothesis import strategies as st

from events import requests as q
from events.keys import Key
from events.profile import SCREEN_NUMBERS, Screen
from events.records import Event

KEYS = [Key.make() for _ in range(6)]
PUBLIC = [key.public for key in KEYS]

accounts = st.sampled_from(PUBLIC)
flags = st.sampled_from(["avx2", "x86_64", "native/x86_64-linux", "python/3.11", "wasm/wasi-p1", "0", "c++"])
any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def altered_key(key: str) -> list[str]:
    """What looks like an account's key and is none, or only just."""
    return [key[:-1], key + "A", key.lower(), "A" + key[1:], key[:-1] + ("A" if key[-1] != "A" else "B")]


def near(form: q.Form) -> st.SearchStrategy[Any]:
    """Values that a form takes, and values just beyond its borders."""
    if isinstance(form, q.Integer):
        edges = [form.low - 1, form.low, form.low + 1, form.high - 1, form.high, form.high + 1]
        return st.sampled_from([*edges, str(form.low), float(form.low), True, False])
    if isinstance(form, q.Text):
        seeds = ["a", "client", "a-b_c", "avx2", "9", "", "A", "-a", "_", "a b", "a\n", "\x7f", "é", "a" * 31]
        return st.sampled_from([*seeds, "a" * 32, "a" * 33, "a" * 40, "a" * 41, "é" * 200, "a" * 201]) | (
            st.from_regex(form.pattern, fullmatch=True)
        )
    if isinstance(form, q.Account):
        return accounts | st.sampled_from(altered_key(PUBLIC[0]))
    if isinstance(form, q.Choice):
        return st.sampled_from([*form.words, ""])
    if isinstance(form, q.Truth):
        return st.sampled_from([True, False, 0, 1, "true", None])
    if isinstance(form, q.Many):
        item = near(form.of)
        full = [f"a{n}" for n in range(form.most + 1)]
        texts = st.sampled_from([full, full[:-1], full[:-2] + full[:1]])
        lists = st.lists(item, max_size=3)
        return lists | texts if isinstance(form.of, q.Text) else lists
    if isinstance(form, q.Numbers):
        names = st.sampled_from([*form.names, "bogomips"])
        numbers = st.sampled_from([-1, 0, 1, q.INT32, q.INT32 + 1, 1.0, True, "1"])
        return st.dictionaries(names, numbers, max_size=3)
    if isinstance(form, q.Orders):
        order = st.fixed_dictionaries({"kind": st.sampled_from(["bid", "ask", "amend", "open"])})
        many = [{"kind": "bid"}] * (form.most + 1)
        return st.lists(order | any_json, max_size=3) | st.sampled_from([many, many[1:]])
    assert isinstance(form, q.Parties), form
    pair = st.tuples(near(q.Account()), near(q.Text(q.NAME))).map(list)
    long = [[PUBLIC[0], "a"]] * (form.most + 1)
    return st.lists(pair | pair.map(lambda two: two[:1]), max_size=3) | st.sampled_from([long, long[1:]])


def good(form: q.Form) -> st.SearchStrategy[Any]:
    """Values that a form takes."""
    return near(form).filter(form.holds)


@st.composite
def bodies(draw: st.DrawFn, kind: q.Kind) -> dict[str, Any]:
    """Bodies of a kind of request: good, but for at most two members."""
    odd = draw(st.sets(st.sampled_from([member.name for member in kind.members]), max_size=2))
    body = {}
    for member in kind.members:
        if member.name in odd:
            value = draw(near(member.form) | any_json | st.just(...))
        elif member.default is not q.REQUIRED and draw(st.booleans()):
            continue
        else:
            value = draw(good(member.form))
        if value is not ...:
            body[member.name] = value
    if draw(st.integers(0, 9)) == 0:
        body[draw(st.sampled_from(["Price", "more", "", "kind"]))] = 1
    return body


@st.composite
def screens(draw: st.DrawFn) -> Screen:
    """Screens of few words, so that pairs of them often lie within each other."""
    some = st.lists(accounts, max_size=2, unique=True).map(lambda keys: tuple(sorted(keys)))
    minimums = draw(st.dictionaries(st.sampled_from(SCREEN_NUMBERS), st.integers(0, 3)))
    ordered = {name: minimums[name] for name in SCREEN_NUMBERS if name in minimums}
    wanted = draw(st.lists(flags, max_size=2, unique=True))
    return Screen(ordered, tuple(sorted(wanted)), draw(some), draw(some))


_MEMBERS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**63 - 1),
    bool: st.booleans(),
    str: st.text(max_size=20),
    list[str]: st.lists(st.text(max_size=8), max_size=3),
    dict[str, int]: st.dictionaries(st.text(max_size=8), st.integers(0, q.INT32), max_size=3),
    list[list[str]]: st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=3),
    list[tuple[str, int, list[list[int]] | None, int, int]]: st.lists(
        st.tuples(
            st.text(max_size=8),
            st.integers(0, 9),
            st.none() | st.just([[1, 2]]),
            st.integers(0, 9),
            st.integers(0, 2**63 - 1),
        ),
        max_size=3,
    ),
    list[list[int]] | None: st.none() | st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=2)),
}


def events(record: type[Event]) -> st.SearchStrategy[Event]:
    """Events of one kind, by the types of their members."""
    hints = typing.get_type_hints(record)
    names = [name for name in hints if name not in ("kind", "PARTIES")]
    return st.builds(record, **{name: _MEMBERS[hints[name]] for name in names})
