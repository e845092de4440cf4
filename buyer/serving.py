"""One contract at work: dial its seller, run units one after the other, until the contract ends."""

import asyncio
import signal
from contextlib import suppress

from buyer.holdings import Contract
from buyer.job import Ended, Job, Unit
from buyer.journal import Journal
from buyer.market import Market, News
from buyer.results import Results, TooMuchError
from buyer.run import FaultError, LostError, Program, RefusedRunError, Session
from buyer.work import MOST_CRASHES, MOST_REFUSALS, Work
from events.client import RefusedError
from links.endpoint import Endpoint
from links.frames import CLOSE

LATE_US = 2_000_000  # of market time, by which our clock may be behind
REDIAL_S = (0.2, 5.0)  # after a link broke: the first pause, and the longest


def is_hours_end(ended: Ended, contract: Contract, now_us: int, hour_us: int) -> bool:
    """Whether a run was killed because its contract's last hour is over (R15), which is no crash. The seller
    may hear of that before us."""
    return ended.signal == signal.SIGKILL and now_us >= contract.until_us - min(LATE_US, hour_us // 10)


class Serving:
    """Runs a job's units on its contracts. `refused` is why the program can run nowhere, or ""."""

    def __init__(
        self, job: Job, market: Market, endpoint: Endpoint, journal: Journal, work: Work, news: News
    ) -> None:
        self.market, self.endpoint, self.journal, self.work, self.news = market, endpoint, journal, work, news
        self.output, self.max_output = job.output, job.max_output
        self.program = Program(job.program, job.runtime, job.arguments)
        self.units: dict[str, Unit] = {unit.name: unit for unit in job.units}
        self.refused = ""
        self._confirming: set[asyncio.Task[None]] = set()

    async def serve(self, contract: Contract) -> None:
        """Use the contract until cancelled: when it ended, or the job is over."""
        pause = REDIAL_S[0]
        while True:
            link = await self.endpoint.dial(contract.seller, contract.contract)
            session = Session(
                link, self.program, self.market.patience, lambda: self._program_arrived(contract)
            )
            try:
                while not link.closed and not session.refused and not self.refused:
                    name = self.work.take(contract.contract)
                    if name is None:
                        await self.news.wait(pause)
                        continue
                    await self._run(session, self.units[name], contract)
                    pause = REDIAL_S[0]
            except LostError as error:
                self.lose(contract, str(error))
            except FaultError as error:
                contract.fault = str(error)
                self.market.report("fault", contract=contract.contract, why=str(error))
                self.lose(contract, str(error))
            finally:
                link.abort("given up", tell=CLOSE)
            await asyncio.sleep(pause)
            pause = min(2 * pause, REDIAL_S[1])

    async def _run(self, session: Session, unit: Unit, contract: Contract) -> None:
        """One unit. Raises LostError; FaultError, the unit still running or crashed; OSError of our files."""
        number = contract.contract
        self.market.report("unit_started", unit=unit.name, contract=number, machine=contract.machine)
        results = Results(self.journal.partial, self.output, unit.name, number, self.max_output)
        try:
            contract.used = True
            ended = await self._watched(session, unit, results)
            contract.used = True  # the hour may be another by now
            self.work.refusals = 0
            if is_hours_end(ended, contract, self.market.now_us(), self.market.hour_us):
                raise LostError("its hour ended")
            if ended.signal:
                self._crash(contract, ended, results)
            else:
                results.finish()
                self.work.end(number, ended)
                self._ended(unit.name, ended)
        except RefusedRunError as error:
            self.work.refusals += 1
            if self.work.refusals >= MOST_REFUSALS:
                self.refused = str(error)
            self._crash(contract, Ended(1, 0, f"refused: {error}", number), results)
        except TooMuchError as error:
            self._crash(contract, Ended(1, 0, str(error), number), None)
            raise FaultError(str(error)) from error
        except asyncio.CancelledError:
            self.work.release(number)
            raise
        finally:
            results.discard()
            self.news.tell()

    async def _watched(self, session: Session, unit: Unit, results: Results) -> Ended:
        run = asyncio.create_task(session.run(unit, results), name=f"run {unit.name}")
        watch = asyncio.create_task(self.market.watch(session.link), name=f"watch {unit.name}")
        try:
            await asyncio.wait({run, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                await watch
            return await run
        finally:
            run.cancel()
            watch.cancel()
            await asyncio.gather(run, watch, return_exceptions=True)

    def _crash(self, contract: Contract, ended: Ended, results: Results | None) -> None:
        """A run that must not go on like that; `results` are kept if it was the last one, None: never."""
        name = self.work.running[contract.contract]
        self.journal.note_crash(name, ended.why)
        final = self.work.crash(contract.contract, ended)
        if final is None:
            times = self.work.crashes[name]
            self.market.report("unit_crashed", unit=name, why=ended.why, times=times, most=MOST_CRASHES)
            return
        if results:
            results.finish()
        self._ended(name, final)

    def lose(self, contract: Contract, why: str) -> None:
        """The contract or its link is gone: what ran on it must run again."""
        name = self.work.running.get(contract.contract)
        if name is None:
            return
        final = self.work.lose(contract.contract)
        self.market.report("unit_lost", unit=name, contract=contract.contract, why=why)
        if final is not None:
            self._ended(name, final)
        self.news.tell()

    def _ended(self, name: str, ended: Ended) -> None:
        self.journal.note_end(name, ended)
        self.market.report(
            "unit_done",
            unit=name,
            contract=ended.contract,
            status=ended.status,
            signal=ended.signal,
            why=ended.why,
            done=len(self.work.ended),
            of=len(self.work.names),
        )

    def _program_arrived(self, contract: Contract) -> None:
        """Tell the market, once a contract, that the program reached the seller (R16)."""
        if contract.sent:
            return
        contract.sent = True
        task = asyncio.create_task(self._confirm(contract.contract), name=f"sent {contract.contract}")
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    async def _confirm(self, contract: int) -> None:
        with suppress(RefusedError):  # the contract has just ended, or an earlier process said so already
            await self.market.client.request("sent", timeout=3600.0, contract=contract)

    async def close(self) -> None:
        """Let go of what is still asked."""
        for task in list(self._confirming):
            task.cancel()
        await asyncio.gather(*self._confirming, return_exceptions=True)
