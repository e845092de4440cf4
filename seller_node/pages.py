"""Long answers come in pages: this reads them all."""

from typing import Any

from events.client import Client


async def whole(client: Client, what: str, **arguments: Any) -> dict[str, Any]:
    """A query's first answer, with the rows of all pages in its result. Raises QueryError, NoAnswerError.

    Later pages may be as of a later moment than the first: who follows the feed from the numbers of the
    first hears of what changed between them. A statement's closing balance is the last page's.
    """
    answer = first = await client.query(what, **arguments)
    while answer.get("more"):
        answer = await client.query(what, after=answer["more"], **arguments)
        if what == "statement":
            first["result"]["lines"] += answer["result"]["lines"]
            first["result"]["closing"] = answer["result"]["closing"]
        else:
            first["result"] += answer["result"]
    return first
