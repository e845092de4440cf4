"""The feed: who is told what, numbered without gaps, and in messages that fit."""

from collections import defaultdict
from typing import Any

from events.records import ClockMoved, Deposited, EpochOpened, Event, Frozen
from events.wire import loads
from projections.feed import MESSAGE_BYTES, to_publish
from projections.queries import reply
from projections.store import Store, rebuild
from tests.projections.journal import BUYER, HOUR, OPERATOR, OTHER, SELLER, commits, opening, trading


def feed(store: Store, account: str, what: str = "feed", since: int = 0) -> Any:
    return loads(reply(store, account, what, b'{"since":%d}' % since))


def test_each_is_told_what_names_him_and_everybody_what_names_nobody() -> None:
    groups = [*opening(), *trading()]
    with rebuild(commits(*groups)) as store:
        for account in (BUYER.public, SELLER.public, OTHER.public, OPERATOR.public):
            told = feed(store, account)["result"]
            expected = {
                number: [event.wire() for event in group if account in event.accounts()]
                for number, group in enumerate(groups, 1)
            }
            expected = {number: events for number, events in expected.items() if events}
            assert {message["commit"]: message["events"] for message in told} == expected
            assert [message["n"] for message in told] == list(range(1, len(expected) + 1))
        market = feed(store, OTHER.public, "market_feed")
        assert [[event["kind"] for event in message["events"]] for message in market["result"]] == [
            ["market_opened", "epoch_opened"],
            ["frozen", "unfrozen"],
        ]
        assert [message["now_us"] for message in market["result"]] == [0, HOUR + 5]
        assert (market["feed"], market["market"], market["commit"]) == (1, 2, len(groups))


def test_since() -> None:
    with rebuild(commits(*opening(), *trading())) as store:
        whole = feed(store, BUYER.public)
        assert whole["feed"] == len(whole["result"]) > 3
        assert feed(store, BUYER.public, since=2)["result"] == whole["result"][2:]
        assert feed(store, BUYER.public, since=99)["result"] == []
        cut = loads(reply(store, BUYER.public, "feed", b'{"since":1,"most":2}'))
        assert (cut["result"], cut["more"]) == (whole["result"][1:3], 3)


def test_what_is_published_is_what_is_asked() -> None:
    with rebuild(commits(*opening(), *trading())) as store:
        with store.transaction() as connection:
            messages, late = list(to_publish(connection, 0)), list(to_publish(connection, 5))
        assert late == [message for message in messages if loads(message[1])["commit"] > 5]
        told: dict[str, list[Any]] = defaultdict(list)
        for subject, data in messages:
            told[subject].append(loads(data))
        for account in (BUYER.public, SELLER.public, OTHER.public, OPERATOR.public):
            assert told.pop(f"feed.{account}") == feed(store, account)["result"]
        assert told.pop("feed.market") == feed(store, BUYER.public, "market_feed")["result"]
        assert not told


def test_a_commit_that_says_much_takes_several_messages() -> None:
    many: list[Event] = [Deposited(BUYER.public, 1 + n, "x" * 190) for n in range(5000)]
    with rebuild(commits(*opening(), many)) as store:
        told: list[Any] = []
        while True:
            answer = feed(store, BUYER.public, since=told[-1]["n"] if told else 0)
            told += answer["result"]
            if not answer.get("more"):
                break
            assert answer["more"] == told[-1]["n"]
        with store.transaction() as connection:
            sizes = [len(data) for _, data in to_publish(connection, 2)]
    assert [message["n"] for message in told] == list(range(1, len(told) + 1))
    assert [event for message in told if message["commit"] == 3 for event in message["events"]] == [
        event.wire() for event in many
    ]
    assert len(sizes) > 5
    assert max(sizes) < MESSAGE_BYTES + 1000


def test_the_clock_is_told_to_nobody() -> None:
    with rebuild(commits(*opening(), [ClockMoved(5, 5)], [ClockMoved(9, 9), Frozen("x", [])])) as store:
        (opened, frozen) = feed(store, BUYER.public, "market_feed")["result"]
        assert opened["events"][1] == EpochOpened(1).wire()
        assert (frozen["commit"], frozen["now_us"], len(frozen["events"])) == (4, 9, 1)
