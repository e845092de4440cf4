"""Screens: as text, and one within the other (R6, R9)."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from events.profile import SCREEN_NUMBERS, BadScreenError, Screen, parse_screen
from tests.events.strategies import PUBLIC, accounts, flags, screens

NUMBERS = st.dictionaries(st.sampled_from(SCREEN_NUMBERS), st.integers(0, 3))
MACHINES = st.tuples(NUMBERS, st.sets(flags, max_size=4), accounts)


def narrower(one: Screen, other: Screen) -> Screen:
    """What demands all that both demand."""
    minimums = {name: max(s.minimums.get(name, 0) for s in (one, other)) for name in SCREEN_NUMBERS}
    only = set(one.only) & set(other.only) if one.only and other.only else {*one.only, *other.only}
    if not only and one.only:
        only = {PUBLIC[0]}
    blocked = {*one.blocked, *other.blocked} | (only - set(other.only) if other.only else set())
    flags = {*one.flags, *other.flags}
    return Screen(minimums, *(tuple(sorted(words)) for words in (flags, only, blocked)))


@given(screens())
def test_a_screen_comes_back_from_its_text(screen: Screen) -> None:
    assert parse_screen(str(screen)) == screen
    assert Screen.of(screen.body()) == screen


def test_the_order_of_words_does_not_matter() -> None:
    one = parse_screen(f"avx2 memory_mb>=512 only={PUBLIC[0]} x86_64 jail>=2 block={PUBLIC[1]}")
    two = parse_screen(f"block={PUBLIC[1]} jail>=2 x86_64  memory_mb>=512\tonly={PUBLIC[0]} avx2 avx2")
    assert one == two and str(one) == str(two)
    assert one.minimums == {"memory_mb": 512, "jail": 2}


@pytest.mark.parametrize(
    "word",
    [
        *("bogomips>=5", "memory_mb>=", "memory_mb>=-1", "memory_mb>=2147483648", "memory_mb>=1.5"),
        *("memory_mb>512", "AVX2", "only=x", f"block={PUBLIC[0][:-1]}", "only=", ">=3", "=", "!avx2"),
    ],
)
def test_a_word_that_cannot_be_read_is_named(word: str) -> None:
    with pytest.raises(BadScreenError, match="screen: "):
        parse_screen(f"avx2 {word}")


@pytest.mark.parametrize("text", ["memory_mb >= 512", "memory_mb >=512", "memory_mb>= 512"])
def test_spaces_around_a_sign_are_explained(text: str) -> None:
    with pytest.raises(BadScreenError, match="no spaces go around >=, as in memory_mb>=512"):
        parse_screen(text)


@settings(max_examples=200, deadline=None)
@given(screens(), screens(), st.lists(MACHINES, min_size=1, max_size=10))
def test_within_means_that_what_passes_one_passes_the_other(
    narrow: Screen, wide: Screen, machines: list[tuple[dict[str, int], set[str], str]]
) -> None:
    narrow = narrow if narrow.is_within(wide) else narrower(narrow, wide)
    assert narrow.is_within(wide)
    for machine in machines:
        if narrow.passes(*machine):
            assert wide.passes(*machine), (str(narrow), str(wide), machine)


@settings(max_examples=200, deadline=None)
@given(screens(), screens())
def test_not_within_means_that_some_machine_tells_them_apart(narrow: Screen, wide: Screen) -> None:
    """The other direction, where `narrow` lets anybody pass at all."""
    assume(not narrow.is_within(wide))
    allowed = [key for key in (*PUBLIC, "U-another") if narrow.passes(narrow.minimums, narrow.flags, key)]
    assume(allowed)
    assert not all(wide.passes(narrow.minimums, narrow.flags, key) for key in allowed)


@given(screens(), screens(), screens())
def test_within_is_an_order(a: Screen, b: Screen, c: Screen) -> None:
    assert a.is_within(a)
    assert a.is_within(Screen())
    if a.is_within(b) and b.is_within(c):
        assert a.is_within(c)
