"""Moments of a log as people type them: a commit's number, a time, or market time."""

import re
from datetime import UTC, datetime, timedelta

import typer

from projections.replay import Until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HELP = "A commit's number; a time, as 2026-11-27T10:00:00 (UTC; or +01:00 behind); market time, as +3600s."


def parse_moment(text: str) -> Until:
    """A commit, a time in ISO 8601 (UTC where it does not say), or `+SECONDSs` of market time.

    Raises typer.BadParameter (exit status 2).
    """
    if re.fullmatch(r"[0-9]{1,15}", text):
        if int(text) == 0:
            raise typer.BadParameter("0: commits are numbered from 1")
        return Until("commit", int(text))
    market = re.fullmatch(r"\+([0-9]{1,12})(?:\.([0-9]{1,6}))?s", text)
    if market:
        return Until("market", int(market[1]) * 1_000_000 + int((market[2] or "").ljust(6, "0")))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: give a commit's number, a time as 2026-11-27T10:00:00, or market time as +3600s"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return Until("time", (time - EPOCH) // MICROSECOND)


def spoken(tick_us: int) -> str:
    """A stored time in UTC, "-" where there is none yet."""
    try:
        return (EPOCH + tick_us * MICROSECOND).isoformat(timespec="seconds") if tick_us else "-"
    except OverflowError:  # behind the year 9999
        return f"{tick_us} µs after 1970"
