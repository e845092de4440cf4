"""Questions that wait: turns and bounds."""

import asyncio

import pytest

from projections import waiting as module
from projections.waiting import MOST_PER_ACCOUNT, MOST_QUESTION_BYTES, Question, TooManyError, Waiting


def question(account: str, what: str = "status", data: bytes = b"") -> Question:
    return Question(account, what, data, f"_INBOX.{account}.x")


def test_accounts_take_turns_and_each_is_answered_in_order() -> None:
    async def run() -> None:
        waiting = Waiting()
        for asked in ("a1", "a2", "a3", "b1", "b2", "c1"):
            waiting.put(question(asked[0], asked))
        order = [(await waiting.next()).what for _ in range(3)]
        waiting.put(question("c", "c2"))
        waiting.put(question("d", "d1"))
        order += [(await waiting.next()).what for _ in range(5)]
        assert order == ["a1", "b1", "c1", "a2", "b2", "c2", "d1", "a3"]

    asyncio.run(run())


def test_who_asks_too_much_is_refused_and_nobody_else() -> None:
    async def run() -> None:
        waiting = Waiting()
        for _ in range(MOST_PER_ACCOUNT):
            waiting.put(question("a"))
        with pytest.raises(TooManyError, match="one question at a time"):
            waiting.put(question("a"))
        waiting.put(question("b"))
        assert (await waiting.next()).account == "a"
        waiting.put(question("a"))

    asyncio.run(run())


def test_all_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)

    async def run() -> None:
        waiting = Waiting()
        for account in "abc":
            waiting.put(question(account))
        with pytest.raises(TooManyError, match="3 questions wait already"):
            waiting.put(question("d"))
        await waiting.next()
        waiting.put(question("d", data=b"x" * MOST_QUESTION_BYTES))
        await waiting.next()
        with pytest.raises(TooManyError, match="arguments: 4097 bytes"):
            waiting.put(question("e", data=b"x" * (MOST_QUESTION_BYTES + 1)))

    asyncio.run(run())


def test_a_question_that_comes_later_is_waited_for() -> None:
    async def run() -> None:
        waiting = Waiting()
        for what in ("first", "second"):
            next_one = asyncio.create_task(waiting.next())
            await asyncio.sleep(0)
            waiting.put(question("a", what))
            assert (await next_one).what == what

    asyncio.run(run())
