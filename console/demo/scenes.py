"""The scenes, one function each, in order. Every claim is checked against the log before it is printed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import seccomp
from console.demo.picture import cpus, function_source, join, png
from console.demo.seller import programs_below
from console.demo.stage import CPUS, DEPOSIT, HOUR_S, LOST_AFTER_S, MAX_PRICE, SOON_S, DemoError, Stage
from events.cli import credits
from events.profile import Screen
from events.records import (
    AccountOpened,
    AskPlaced,
    BidPlaced,
    ContractEnded,
    ContractOpened,
    ContractRenewed,
    Deposited,
    Frozen,
    HoldReturned,
    HourCharged,
    MachineStated,
    MarketOpened,
    OrderClosed,
    PartyBack,
    PartyLost,
    ProgramSent,
    ProgramStarted,
    Unfrozen,
    Voted,
)
from events.requests import CREDIT

NATIVE_S, FUNCTION_S = 15.0, 3.0  # of every CPU that the job can use: the work must outlast the freeze
NEXT_HOUR_S = 3.0 * HOUR_S  # what comes with an hour's end
FREEZE_S = 2.5
MOST_IDLE_TICKS = 2  # of CPU that a keeper may use during a freeze


async def open_accounts(stage: Stage) -> None:
    """The operator opens accounts and deposits money (R2)."""
    stage.show.scene("The operator opens four accounts, and the buyer pays in", "R1, R2, R33")
    keys = {"buyer": stage.buyer_key} | {seller.name: seller.key for seller in stage.sellers.values()}
    for name, key in keys.items():
        await stage.operator.request("account", account=key.public, name=name)
    await stage.operator.request(
        "deposit", account=stage.buyer_key.public, amount=DEPOSIT, reference="demonstration"
    )
    opened = await stage.until("the accounts", SOON_S, lambda: stage.chronicle.of(Deposited))
    await stage.bring_buyer()
    names = [s.event.name for s in stage.chronicle.of(AccountOpened) if s.event.name in keys]
    stage.check(
        set(names) == set(keys) and opened[0].event.amount == DEPOSIT,
        f"in the log: accounts {', '.join(names)}, and a deposit of {credits(DEPOSIT)} credits",
    )


async def list_offers(stage: Stage) -> None:
    """Three sellers list; one machine does not pass the buyer's screen (R5, R6)."""
    stage.show.scene("Three sellers offer CPU hours", "R5, R6, R24")
    stage.show.say(f"an hour is {HOUR_S} s here, and who is silent for {LOST_AFTER_S} s is lost")
    stage.show.say(
        f"this machine has {cpus(1_000_000)} CPUs; two sellers offer {CPUS} each: a demonstration may"
    )
    for seller in stage.sellers.values():
        seller.start(stage.market.server)
    chronicle = stage.chronicle

    def all_ready() -> bool:
        asks = {said.event.account for said in chronicle.of(AskPlaced)}
        back = {said.event.party for said in chronicle.of(PartyBack)}
        return len(asks) == len(stage.sellers) and set(stage.sellers) <= back

    await stage.until("three asks of machines that are ready", 2 * SOON_S, all_ready)
    if stage.screen_word:
        stage.show.say(stage.screen_word)
    passing = set()
    for said in chronicle.of(MachineStated):
        machine, seller = said.event, stage.sellers[said.event.machine]
        passes = passes_screen(stage.screen, machine)
        passing |= {machine.machine} if passes else set()
        stage.show.say(
            f"{machine.machine:5} {machine.cpus} CPU{'s' if machine.cpus > 1 else ' '} at "
            f"{credits(seller.price)} an hour, {machine.numbers['memory_mb']} MiB each: "
            f"{'passes' if passes else 'does not pass'} the screen `{stage.screen}`"
        )
    stage.check(passing == {"cheap", "dear"}, "two machines pass the buyer's screen, `small` does not")


async def publish_bid(stage: Stage) -> None:
    """A bid for four CPUs matches the cheapest ask whose machine passes (R5, R6, R7)."""
    stage.show.scene(
        f"The buyer bids for {CPUS} CPUs at {credits(MAX_PRICE)} an hour or less", "R3, R5, R6, R7"
    )
    passes = max(1, round(NATIVE_S * cpus(CPUS) / stage.work.native_s))
    stage.show.say(
        f"the job: a photograph in {len(stage.work.strips)} strips, each to be dithered "
        f"({passes} times over, so that it lasts some hours)"
    )
    stage.native = stage.start_job(
        "native",
        (stage.data / "dither").read_bytes(),
        seccomp.NativeRuntime.tag,
        ["dither", str(passes)],
        settle=False,
    )
    chronicle = stage.chronicle
    opened = await stage.until("four contracts", SOON_S, lambda: chronicle.of(ContractOpened)[CPUS - 1 :])
    opened = chronicle.of(ContractOpened)
    bid = chronicle.of(BidPlaced)[0]
    stage.tell([event for _, event in chronicle.commits[opened[0].commit - 1].events])
    stage.check(
        {said.commit for said in opened} == {bid.commit} and len(opened) == CPUS,
        f"commit {bid.commit} has the bid and its {CPUS} contracts",
    )
    cheap, small = stage.sellers["cheap"], stage.sellers["small"]
    stage.check(
        all(said.event.seller == cheap.key.public for said in opened) and small.price < cheap.price,
        f"`small` asks less ({credits(small.price)}) and was passed over: its machine fails the screen",
    )
    stage.check(
        all(said.event.price == cheap.price < bid.event.price for said in opened),
        f"the price is that of the resting ask, {credits(cheap.price)}, and that much is held for each",
    )


async def start_programs(stage: Stage) -> None:
    """The program goes over the links and starts in the jail (R29, R30)."""
    stage.show.scene("The program goes to the seller and starts in his jail", "R29, R30, R31")
    chronicle = stage.chronicle
    contracts = {said.event.contract for said in chronicle.of(ContractOpened)}

    def started() -> bool:
        return contracts <= {said.event.contract for said in chronicle.of(ProgramStarted)}

    await stage.until("the start of all programs", SOON_S, started)
    sent = {said.event.contract for said in chronicle.of(ProgramSent)}
    stage.check(
        contracts <= sent, f"{len(contracts)} programs arrived, says the buyer, and started, says the seller"
    )
    machine = chronicle.of(MachineStated)[0].event
    tag, level = seccomp.NativeRuntime.tag, machine.numbers["jail"]
    stage.check(
        tag in chronicle.of(BidPlaced)[0].event.flags and tag in machine.flags,
        f"the runtime {tag} was demanded and offered; the jail's level is {level} of 3",
    )


async def end_first_hour(stage: Stage) -> None:
    """The hour ends: the hold is charged, the pair finds each other again (R4, R13, R14)."""
    stage.show.scene("The first hour ends", "R4, R13, R14")
    chronicle = stage.chronicle
    charged = await stage.until("the first charge", NEXT_HOUR_S, lambda: chronicle.of(HourCharged))
    opened = chronicle.of(ContractOpened)[0]
    stage.tell([event for _, event in chronicle.commits[charged[0].commit - 1].events])
    stage.check(
        len(charged) == CPUS and charged[0].now_us - opened.now_us == HOUR_S * 1_000_000,
        f"after {HOUR_S} s of market time, to the microsecond: {CPUS} x {credits(charged[0].event.amount)}",
    )
    fee = charged[0].event.amount * chronicle.of(MarketOpened)[0].event.fee_ppm // CREDIT
    stage.check(
        all(said.event.fee == fee > 0 for said in charged),
        f"the operator's fee is {credits(fee)} of each, from the seller's side",
    )
    renewed = chronicle.of(ContractRenewed, charged[0].commit - 1, charged[0].commit)
    stage.check(
        {said.event.contract for said in renewed} == {said.event.contract for said in charged},
        f"all {CPUS} contracts were renewed in the same commit; their programs noticed nothing",
    )


async def see_votes(stage: Stage) -> None:
    """Both clients vote by themselves on the hour that was charged (R26)."""
    stage.show.scene("Both clients vote on it", "R26, R27")
    chronicle = stage.chronicle
    charged = {(s.event.contract, s.event.hour) for s in chronicle.of(HourCharged) if s.event.hour == 1}
    buyer, seller = stage.buyer_key.public, stage.sellers["cheap"].key.public

    def voted(account: str) -> bool:
        votes = [said.event for said in chronicle.of(Voted) if said.event.account == account]
        return charged <= {(vote.contract, vote.hour) for vote in votes if vote.good}

    await stage.until("the buyer's votes", SOON_S, lambda: voted(buyer))
    await stage.until("the seller's votes", SOON_S, lambda: voted(seller))
    votes = [said.event for said in chronicle.of(Voted)]
    for about, name in ((seller, "seller"), (buyer, "buyer")):
        last = [vote for vote in votes if vote.about == about][-1]
        stage.check(
            last.good, f"the {name}'s reputation is now {last.reputation} ppm good (500000 before any vote)"
        )


async def lose_seller(stage: Stage) -> None:
    """A seller is killed in the middle of an hour (R16, R19)."""
    stage.show.scene("One seller's node is killed in the middle of an hour", "R16, R19")
    chronicle, cheap, dear = stage.chronicle, stage.sellers["cheap"], stage.sellers["dear"]
    await asyncio.sleep(1.5)
    before = chronicle.last
    held = running(stage, cheap.key.public)
    stage.check(
        len(held) == CPUS and not stage.native.done(), f"{CPUS} contracts run on `cheap`, and the job goes on"
    )
    stage.show.say(f"SIGKILL to process {cheap.pid}")
    cheap.kill()

    def found_lost() -> int:
        return next((s.commit for s in chronicle.of(PartyLost, before) if s.event.party == "cheap"), 0)

    commit = await stage.until("the loss of the machine", SOON_S, found_lost)
    events = [event for _, event in chronicle.commits[commit - 1].events]
    stage.show.say(f"commit {commit}:")
    stage.tell(events)
    returned = [event for event in events if isinstance(event, HoldReturned)]
    stage.check(
        {event.contract for event in returned} == held and not chronicle.of(HourCharged, before, commit),
        f"the hour was not delivered: {credits(sum(e.amount for e in returned))} went back to the buyer",
    )
    votes = [event for event in events if isinstance(event, Voted)]
    stage.check(
        {vote.contract for vote in votes if not vote.good} == held,
        f"each counts as an erratic vote; `cheap` has {votes[-1].reputation} ppm now",
    )
    opened = [event for event in events if isinstance(event, ContractOpened)]
    stage.check(
        len(opened) == CPUS and all(event.seller == dear.key.public for event in opened),
        f"the same commit has {CPUS} new contracts, on `dear` at its price, {credits(dear.price)}",
    )


async def freeze_market(stage: Stage) -> None:
    """The operator freezes the market: market time stands, programs are stopped (R22)."""
    stage.show.scene(f"The operator freezes the market for {FREEZE_S} s", "R21, R22")
    chronicle, dear = stage.chronicle, stage.sellers["dear"]
    contracts = running(stage, dear.key.public)

    def restarted() -> bool:
        return contracts <= {said.event.contract for said in chronicle.of(ProgramStarted)}

    await stage.until("the start of the programs on `dear`", SOON_S, restarted)
    await stage.operator.request("freeze", reason="to show a freeze")
    frozen = (await stage.until("the freeze", SOON_S, lambda: chronicle.of(Frozen)))[0]
    await asyncio.sleep(FREEZE_S / 4)
    first = programs_below([dear.pid])
    await asyncio.sleep(FREEZE_S / 2)
    second = programs_below([dear.pid])
    await asyncio.sleep(FREEZE_S / 4)
    await stage.operator.request("unfreeze", reason="shown")
    thawed = (await stage.until("the end of the freeze", SOON_S, lambda: chronicle.of(Unfrozen)))[0]
    stopped = [
        pid for pid, (state, ticks) in second.items() if state == "T" and first.get(pid) == (state, ticks)
    ]
    busy = [pid for pid, (_, ticks) in second.items() if ticks - first.get(pid, ("", 0))[1] > MOST_IDLE_TICKS]
    stage.check(
        len(stopped) > 0 and not busy and second.keys() == first.keys(),
        f"{len(stopped)} jailed programs were stopped, and nothing below the node used its CPUs",
    )
    stage.check(
        frozen.now_us == thawed.now_us, f"market time stood at {frozen.now_us / 1e6:.3f} s all the while"
    )
    meanwhile = [said.event for said in chronicle.events if frozen.commit < said.commit < thawed.commit]
    moved = [event for event in meanwhile if list(event.movements())]
    stage.check(
        not moved and not any(isinstance(event, PartyLost | ContractEnded) for event in meanwhile),
        "nothing was charged, matched or lost",
    )
    stage.check(
        running(stage, dear.key.public) == contracts, f"{len(contracts)} contracts go on as they were"
    )


async def bring_seller_back(stage: Stage) -> None:
    """The lost machine is heard again: its ask is ready (R19)."""
    stage.show.scene("The lost seller starts his node again", "R10, R19")
    lost = [s.commit for s in stage.chronicle.of(PartyLost) if s.event.party == "cheap"][-1]
    stage.sellers["cheap"].start(stage.market.server)

    def heard() -> bool:
        return any(said.event.party == "cheap" for said in stage.chronicle.of(PartyBack, lost))

    await stage.until("the machine's return", 2 * SOON_S, heard)
    asks = [said.event for said in stage.chronicle.of(AskPlaced) if said.event.machine == "cheap"]
    stage.check(len(asks) == 1, "`cheap` is heard: its ask, still at its old place in time, is ready again")


async def finish_native(stage: Stage) -> None:
    """The work finishes anyway, with the picture that was computed here too."""
    stage.show.scene("The work finishes anyway", "R16, R17")
    result = await stage.until("the end of the job", 2 * NEXT_HOUR_S, lambda: done(stage.native))
    if not result.is_good:
        raise DemoError(f"the job ended with {len(result.unfinished)} strips missing: {result.reason}")
    picture = join(stage.results("native"))
    stage.check(
        picture == join(stage.work.expected),
        f"{len(result.units)} strips are done, {result.lost} sent again; the picture is as computed here",
    )
    path = stage.data / "dithered.png"
    path.write_bytes(png(picture))
    stage.show.say(f"{path} is written; {result.owed()}")


async def run_function(stage: Stage) -> None:
    """The same work as a Python function, on a new bid (R29)."""
    stage.show.scene("The same work once more, as a Python function", "R5, R29, R30")
    chronicle, before = stage.chronicle, stage.chronicle.last
    passes = max(1, round(FUNCTION_S * cpus(CPUS) / stage.work.function_s))
    tag = seccomp.PythonRuntime.tag
    job = stage.start_job("python", function_source(passes), tag, ["dither", "bytes"], settle=True)
    opened = await stage.until("contracts", NEXT_HOUR_S, lambda: chronicle.of(ContractOpened, before))
    stage.check(
        tag in chronicle.of(BidPlaced, before)[0].event.flags,
        f"a bid that demands {tag}; contracts on `{stage.name(opened[0].event.seller)}` at "
        f"{credits(opened[0].event.price)}",
    )
    stage.show.say("the client then waits until its last hour is charged, to vote on it")
    result = await stage.until("the end of the job", 3 * NEXT_HOUR_S, lambda: done(job))
    if not result.is_good:
        raise DemoError(f"the job ended with {len(result.unfinished)} strips missing: {result.reason}")
    stage.check(
        join(stage.results("python")) == join(stage.work.expected),
        f"{len(result.units)} strips, and again the same picture, pixel by pixel",
    )


async def close_market(stage: Stage) -> None:
    """Every contract has ended, every hour was charged or returned; the sellers leave."""
    stage.show.scene("The last hours are charged, and the sellers leave", "R9, R14, R17")
    chronicle = stage.chronicle
    await stage.until("the last contract's end", NEXT_HOUR_S, lambda: not running(stage))
    stage.show.of = 0
    hours = {(s.event.contract, 1) for s in chronicle.of(ContractOpened)}
    hours |= {(s.event.contract, s.event.hour) for s in chronicle.of(ContractRenewed)}
    charged = [(s.event.contract, s.event.hour) for s in chronicle.of(HourCharged)]
    returned = [(s.event.contract, s.event.hour) for s in chronicle.of(HoldReturned)]
    stage.check(
        sorted(charged + returned) == sorted(hours),
        f"of {len(hours)} contract hours {len(charged)} were charged, {len(returned)} went back, each once",
    )
    before = chronicle.last
    await asyncio.gather(*(seller.stop() for seller in stage.sellers.values()))
    keys = {seller.key.public for seller in stage.sellers.values()}

    def closed() -> bool:
        return keys == {said.event.account for said in chronicle.of(OrderClosed, before)}

    await stage.until("the end of the sellers' asks", SOON_S, closed)
    stage.show.proved("all three sellers took their asks out of the book and left")


def passes_screen(screen: Screen, machine: MachineStated) -> bool:
    """Whether a stated machine passes, all but its reputation looked at."""
    return screen.passes(machine.numbers, machine.flags, machine.account)


def running(stage: Stage, seller: str = "") -> set[int]:
    """Contracts that are open, of one seller or of all, as the log says."""
    opened = {s.event.contract for s in stage.chronicle.of(ContractOpened) if seller in ("", s.event.seller)}
    return opened - {s.event.contract for s in stage.chronicle.of(ContractEnded)}


def done(task: "asyncio.Task[Any]") -> Any:
    """The result of a task that has one."""
    return task.result() if task.done() else None


Scene = Callable[[Stage], Coroutine[Any, Any, None]]
SCENES: tuple[Scene, ...] = (
    open_accounts,
    list_offers,
    publish_bid,
    start_programs,
    end_first_hour,
    see_votes,
    lose_seller,
    freeze_market,
    bring_seller_back,
    finish_native,
    run_function,
    close_market,
)
