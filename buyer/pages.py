"""Long answers come in pages: this reads them all, as of one moment."""

from typing import Any, NamedTuple

from events.client import Client, NoAnswerError

MOST_TRIES = 20


class Whole(NamedTuple):
    """All rows of a list, and the feed numbers as of which they are."""

    rows: list[dict[str, Any]]
    feed: int
    market: int


async def all_rows(client: Client, what: str, **arguments: Any) -> Whole:
    """Every row of a query's list. Raises QueryError, NoAnswerError.

    Where the account's feed moved between two pages they are read again, so that no event is in one page
    and not in another.
    """
    for _ in range(MOST_TRIES):
        answer = await client.query(what, **arguments)
        feed, market, rows = answer["feed"], answer["market"], list(answer["result"])
        while answer.get("more") and answer["feed"] == feed:
            answer = await client.query(what, after=answer["more"], **arguments)
            rows += answer["result"]
        if answer["feed"] == feed:
            return Whole(rows, feed, market)
    raise NoAnswerError(f"query {what}: the account changes faster than its {what} can be read; try again")
