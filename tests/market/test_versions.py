"""A log written by an older version of the program replays and audits, to the byte (R34)."""

from itertools import islice

import pytest

from events.archive import Archive
from events.commit import RULES, Assembler, decode, encode
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.recovery import fold_commit
from exchange.state import State
from tests.market.keep_log import LOGS

VERSIONS = range(1, RULES + 1)


def bodies(version: int) -> list[bytes]:
    assembler = Assembler()
    messages = Archive(LOGS / f"rules-{version}").journal()
    return [body for message in messages if (body := assembler.add(message.data)) is not None]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_log_of_every_version_is_decided_again_byte_for_byte(version: int) -> None:
    batcher = Batcher(Engine())
    requests = Archive(LOGS / f"rules-{version}").requests()
    for body in bodies(version):
        commit = decode(body)
        assert encode(commit) == body
        done = batcher.decide(list(islice(requests, commit.last - commit.first + 1)))
        assert done is not None
        assert done[1] == body, f"commit {commit.number}"
    assert batcher.engine.state.rules == version
    assert batcher.number > 10


@pytest.mark.parametrize("version", VERSIONS)
def test_a_log_of_every_version_is_folded_to_its_digests(version: int) -> None:
    state = State()
    for body in bodies(version):
        fold_commit(state, decode(body))
    assert state.total() == 0 and len(state.accounts) > 5


def test_there_is_a_log_of_every_version_and_no_other() -> None:
    assert sorted(path.name for path in LOGS.iterdir()) == [f"rules-{version}" for version in VERSIONS]
