"""The notary: it checks every signature in INTAKE, right behind the exchange, and suspends false ones (R35).

`python -m exchange.notary --server URL --creds FILE [--archive DIR]`, with the exchange's key.

It keeps nothing of its own. What it found stands in INTAKE, as requests of the exchange's: `suspend` names an
account and its false request, `checked` says up to where all signatures are checked, and every false one
before that has its `suspend` in the log. Whoever starts begins behind the last `checked`.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import nats.errors
import uvloop
from nats.aio.client import Client as Nats
from nats.js.errors import APIError, NotFoundError

from events import subjects
from events.archive import Archive, ArchiveError
from events.collecting import rarely
from events.keys import SIGNATURE_CHARACTERS, BadKeyError, Key
from events.log import (
    LogGapError,
    NotAdmittedError,
    Reader,
    Stored,
    UnreachableError,
    connect,
)
from events.requests import decode_body, encode
from exchange.priority import stand_back, stand_back_for_good
from exchange.signatures import Checked, Checker, Verdict, check

PATIENCE_S = 15.0  # for a server that does not answer yet
LOOK_S = 1.0  # how long nothing may come before it looks whether something is to be said
CHECKED_S = 5.0  # between two `checked`, at least
OWN = 10_000  # so many requests of the exchange's own are worth a `checked` by themselves
AGAIN_S = 5.0  # a `suspend` that is not in the log by then is said again
END_S = 4.0
AGAIN = (".reinstate", ".unfreeze")  # requests after which somebody may be accused again
NOTARY_RULES = 2  # from these rules on the market admits requests before their signatures are checked
EXPECTED = (ArchiveError, BadKeyError, UnreachableError, NotAdmittedError, LogGapError)
log = logging.getLogger("notary")


@dataclass(slots=True)
class Accused:
    """An account with a false signature: under which request, when we said so, whether that is in the log."""

    request: int
    said: float = -AGAIN_S
    stored: bool = False


class Findings:
    """What follows from the messages that were checked, in their order. Does no I/O.

    `through` is what `checked` may say; at most one entry for each account. `in_force`: whether the rules
    leave signatures to the notary; before, the market itself refused false ones.
    """

    def __init__(self, exchange: str, through: int, in_force: bool) -> None:
        self._exchange, self._own = exchange, subjects.intake(exchange, "")
        self.accused: dict[str, Accused] = {}
        self.done = self.proved = through  # all checked; all checked, and the log says so
        self.in_force = in_force
        self._others = 0  # the last message that is not the exchange's own

    def take(self, checked: Checked) -> list[Accused]:
        """Fold a batch; returns who is accused anew. O(messages)."""
        found: list[Accused] = []
        for stored, verdict in zip(checked.batch, checked.verdicts, strict=True):
            self.done = stored.sequence
            if verdict == Verdict.FALSE:
                self._others = stored.sequence
                account = stored.subject.split(".")[1]
                if self.in_force and account not in self.accused:
                    self.accused[account] = accused = Accused(stored.sequence)
                    found.append(accused)
            elif verdict == Verdict.TRUE and stored.subject.startswith(self._own):
                self._hear(stored, stored.subject.removeprefix(self._own))
            else:
                self._others = stored.sequence
                if verdict == Verdict.TRUE and stored.subject.endswith(AGAIN):
                    self._may_be_again(stored)
        return found

    @property
    def through(self) -> int:
        """Up to where everything is checked and every `suspend` stored."""
        return min([self.done + 1, *self._waiting()]) - 1

    def is_worth_saying(self) -> bool:
        """Whether `through` tells more than what the exchange said itself, and will not do so better soon."""
        news = self._others > self.proved and not self._waiting()
        return self.in_force and (news or self.through - self.proved >= OWN)

    def _waiting(self) -> list[int]:
        """The requests of those accused whose `suspend` is not stored."""
        return [accused.request for accused in self.accused.values() if not accused.stored]

    def _hear(self, stored: Stored, kind: str) -> None:
        """A request of our own came by: what it says is in the log."""
        if kind not in ("checked", "suspend", "rules"):
            return
        body = decode_body(stored.data[SIGNATURE_CHARACTERS + 1 :]) or {}
        match body:
            case {"through": int(through)} if kind == "checked":
                self.proved = max(self.proved, through)
            case {"account": str(account), "request": int(request)} if kind == "suspend":
                self.accused.setdefault(account, Accused(request)).stored = True
            case {"version": int(version)} if kind == "rules":
                self.in_force = version >= NOTARY_RULES

    def _may_be_again(self, stored: Stored) -> None:
        """Who is reinstated may be accused again; so may the exchange and the operator, in whose name a false
        signature froze the market, after an `unfreeze`. Whether the asker may do so is the market's to say:
        where it did nothing, another `suspend` does nothing either.
        """
        _, sender, kind = stored.subject.split(".")
        whom: list[object] = [sender, self._exchange]
        if kind == "reinstate":
            whom = [(decode_body(stored.data[SIGNATURE_CHARACTERS + 1 :]) or {}).get("account")]
        for account in whom:
            if isinstance(account, str) and account in self.accused and self.accused[account].stored:
                del self.accused[account]


class Notary:
    """Follows INTAKE and speaks for the exchange's key."""

    def __init__(self, nc: Nats, key: Key, checker: Checker, archive: Archive | None = None) -> None:
        self._nc, self._key, self._checker, self._archive = nc, key, checker, archive
        self._said_checked = 0.0

    async def run(self) -> None:
        """Check for ever. Raises LogGapError, UnreachableError."""
        start, in_force, end = await self._where_to_begin()
        findings = Findings(self._key.public, start - 1, in_force)
        log.info("checking signatures from request %d on, %d are waiting", start, max(0, end - start + 1))
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_behind = True
        async with (
            Reader(self._nc, subjects.INTAKE, start, self._archive) as reader,
            aclosing(self._checker.check(_batches(reader))) as verdicts,
        ):
            async for checked in verdicts:
                for accused in findings.take(checked):
                    log.info("request %d: the signature is not its account's", accused.request)
                if is_behind and findings.done >= end:
                    log.info("checked to request %d after %.2f s", findings.done, loop.time() - began)
                    is_behind = False
                if not is_behind:  # else the `suspend` may stand further on, and a `reinstate` behind it
                    await self._suspend(findings, loop.time())
                await self._tell(findings, loop.time())

    async def _suspend(self, findings: Findings, now: float) -> None:
        """Suspend whom the log does not know suspended yet; what gets lost is said again."""
        for account, accused in findings.accused.items():
            if not accused.stored and now - accused.said >= AGAIN_S:
                log.info("suspending %s for request %d", account, accused.request)
                accused.said = now
                await self._ask("suspend", account=account, request=accused.request)

    async def _tell(self, findings: Findings, now: float) -> None:
        """Say now and then how far everything is checked."""
        if now - self._said_checked >= CHECKED_S and findings.is_worth_saying():
            self._said_checked = now
            await self._ask("checked", through=findings.through)

    async def _ask(self, kind: str, **body: object) -> None:
        """A request of the exchange's own."""
        subject = subjects.intake(self._key.public, kind)
        with contextlib.suppress(nats.errors.Error):  # not connected: it is said again
            await self._nc.publish(subject, encode(self._key, subject, body))

    async def _where_to_begin(self) -> tuple[int, bool, int]:
        """The first request to check, whether the rules ask for it, and where INTAKE ended before.

        Waits for the server. Raises UnreachableError, LogGapError.
        """
        js = self._nc.jetstream()
        while True:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                try:
                    there = (await js.stream_info(subjects.INTAKE)).state
                    archived = self._archive.end(subjects.INTAKE) if self._archive else 0
                    first = 1 if there.first_seq <= archived + 1 else there.first_seq
                    return await self._begin_in(first, there.last_seq)
                except NotFoundError:
                    raise LogGapError(f"the server has no stream {subjects.INTAKE}") from None
                except APIError:
                    pass  # it is starting
            if self._nc.is_closed:
                raise UnreachableError("the connection was closed")
            await asyncio.sleep(0.2)

    async def _begin_in(self, first: int, end: int) -> tuple[int, bool, int]:
        """The same, with the ends of INTAKE known."""
        said = await self._own("checked")
        if said is not None:
            through = (decode_body(said.data[SIGNATURE_CHARACTERS + 1 :]) or {}).get("through")
            if type(through) is int and 0 <= through < said.sequence:
                return max(first, through + 1), True, end
        rules = await self._own("rules", first=True)
        if rules is not None and first <= 1:
            return rules.sequence, False, end
        if first > 1:  # the log before is in an archive: it was kept by these rules
            return first, True, end
        return end + 1, False, end

    async def _own(self, kind: str, first: bool = False) -> Stored | None:
        """The last request (or the first) of a kind that the exchange's key signed; None if there is none.

        One that it did not sign is no word of ours.
        """
        subject = subjects.intake(self._key.public, kind)
        archived = None if self._archive is None else self._archive.one_of(subjects.INTAKE, subject, first)
        live = await self._live(subject, first)
        stored = (archived or live) if first else (live or archived)
        if stored is None or check([stored]).verdicts != bytes([Verdict.TRUE]):
            return None
        return stored

    async def _live(self, subject: str, first: bool) -> Stored | None:
        """The last message (or the first) on a subject that the server has."""
        js = self._nc.jetstream()
        try:
            if first:
                message = await js.get_msg(subjects.INTAKE, 1, subject, next=True)
            else:
                message = await js.get_last_msg(subjects.INTAKE, subject)
        except NotFoundError:
            return None
        assert message.seq is not None
        return Stored(message.seq, 0, message.subject or "", message.data or b"")


async def _batches(reader: Reader) -> AsyncIterator[list[Stored]]:
    """What comes, for ever; now and then nothing, so that what got lost is said again."""
    while True:
        yield await reader.next_batch(timeout=LOOK_S)


async def serve(server: str, key: Key, archive: Path | None = None) -> None:
    """Check until SIGTERM or SIGINT. Raises what ends it otherwise."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        loop.call_later(END_S, os._exit, 1)  # whatever hangs
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        before = None if archive is None else Archive(archive)
        nc = await connect(server, key, name="notary", patience=PATIENCE_S)
        try:
            async with Checker() as checker:
                await Notary(nc, key, checker, before).run()
        finally:
            await nc.close()
    except asyncio.CancelledError:
        log.info("stopped")


def main() -> int:
    """The command line; exit status 0 when it was asked to stop, 1 after an error, which is one line."""
    parser = argparse.ArgumentParser(prog="exchange.notary", description="Checks the signatures in INTAKE.")
    parser.add_argument("--server", required=True, metavar="URL", help="the log's server")
    parser.add_argument("--creds", required=True, type=Path, metavar="FILE", help="the exchange's seed file")
    parser.add_argument("--archive", type=Path, metavar="DIR", help="behind which the log goes on")
    arguments = parser.parse_args()
    rarely()
    stand_back()
    stand_back_for_good()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        uvloop.run(serve(arguments.server, Key.load(arguments.creds), arguments.archive))
    except EXPECTED as error:
        print(f"notary: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
