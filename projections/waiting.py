"""Who waits for an answer: a few questions of each account, answered in turn."""

import asyncio
from collections import OrderedDict, deque
from typing import NamedTuple

MOST_PER_ACCOUNT = 8  # a client asks one after the other; an account may have several clients
MOST_WAITING = 4096  # of all accounts
MOST_QUESTION_BYTES = 4096  # arguments are a few numbers and a key


class TooManyError(Exception):
    """A question that is not taken; the text is one line for its asker."""


class Question(NamedTuple):
    """A query as it came, and the inbox that its answer goes to."""

    account: str
    what: str
    data: bytes
    inbox: str


class Waiting:
    """Questions that wait, in bounded memory. An account's are in order; accounts take turns, so that who
    asks much waits for himself. All O(1)."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Question]] = OrderedDict()  # none is empty; whose turn is first
        self._count = 0
        self._news = asyncio.Event()

    def put(self, question: Question) -> None:
        """Let a question wait. Raises TooManyError."""
        if len(question.data) > MOST_QUESTION_BYTES:
            raise TooManyError(
                f"arguments: {len(question.data)} bytes, at most {MOST_QUESTION_BYTES} are read"
            )
        line = self._lines.get(question.account)
        if line is not None and len(line) >= MOST_PER_ACCOUNT:
            raise TooManyError(
                f"one question at a time: {MOST_PER_ACCOUNT} of this account wait already; "
                "ask again when they are answered"
            )
        if self._count >= MOST_WAITING:
            raise TooManyError(f"{MOST_WAITING} questions wait already; ask again in some seconds")
        if line is None:
            line = self._lines[question.account] = deque()
        line.append(question)
        self._count += 1
        self._news.set()

    async def next(self) -> Question:
        """Take the oldest question of the account whose turn it is; wait for one."""
        while not self._lines:
            self._news.clear()
            await self._news.wait()
        account, line = self._lines.popitem(last=False)
        question = line.popleft()
        if line:
            self._lines[account] = line  # behind all others
        self._count -= 1
        return question
