"""The live log's wording: one calm line for each thing that happened in a commit."""

from collections import Counter
from collections.abc import Iterator

from events.cli import credits


def many(count: int, word: str) -> str:
    """A count with its word: `1 contract`, `2 contracts`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def told(
    seen: Counter[str], *, running: int, earned: int, total: int, frozen: str, ask: int
) -> Iterator[str]:
    """Lines for the kinds of events that were seen, with their counts; money in micro-credits."""
    hours = many(seen["hour_charged"], "hour")
    lines = {
        "party_back": "the market hears this machine: it is ready",
        "party_lost": "the market does not hear this machine any more",
        "contract_opened": f"opened {many(seen['contract_opened'], 'contract')}; {running} run",
        "hour_charged": f"charged {hours}: {credits(earned)} earned, {credits(total)} in all",
        "contract_renewed": f"renewed {many(seen['contract_renewed'], 'contract')}",
        "hold_returned": f"not paid: {many(seen['hold_returned'], 'hour')} (R16)",
        "contract_ended": f"ended {many(seen['contract_ended'], 'contract')}; {running} run",
        "frozen": f"the market is frozen: {frozen}; programs stand still (R22)",
        "unfrozen": "the market goes on",
        "order_closed": f"the ask {ask} was closed: nothing new will be sold; stop and run again",
    }
    return (line for kind, line in lines.items() if seen[kind])
