"""Long answers come in pages: this reads them all, as of one moment."""

from typing import Any

from events.client import Client, NoAnswerError

MOST_TRIES = 20


async def whole(client: Client, what: str, **arguments: Any) -> dict[str, Any]:
    """A query's answer with the rows of all its pages. Raises QueryError, NoAnswerError.

    Where the account's feed moved between two pages they are read again, so that no event is in one page
    and not in another: who follows the feed from the answer's numbers misses nothing. Of a statement, the
    lines of all pages and the last one's closing balance.
    """
    for _ in range(MOST_TRIES):
        first = page = await client.query(what, **arguments)
        while page.get("more") and page["feed"] == first["feed"]:
            page = await client.query(what, after=page["more"], **arguments)
            if page["feed"] != first["feed"]:
                break
            if what == "statement":
                first["result"]["lines"] += page["result"]["lines"]
                first["result"]["closing"] = page["result"]["closing"]
            else:
                first["result"] += page["result"]
        if page["feed"] == first["feed"]:
            first.pop("more", None)
            return first
    raise NoAnswerError(f"query {what}: the account changes faster than its {what} can be read; try again")
