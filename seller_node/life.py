"""The life of a node's process: its lock, its signals, the lines that it prints."""

import asyncio
import contextlib
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from events.client import Client
from events.keys import Key
from seller_node.lines import many
from seller_node.measurement import Measuring
from seller_node.node import Node, Tally
from seller_node.offering import Offering
from seller_node.place import Place
from seller_node.silence import await_silence
from seller_node.tasks import first_to_end

NAME = "seller_node"


@dataclass(frozen=True)
class Life:
    """One node, from its login to its end. `say` takes the lines of its log."""

    place: Place
    server: str
    key: Key
    offering: Offering
    measuring: Measuring
    price: int
    say: Callable[[str], None]

    async def live(self) -> tuple[Tally, bool]:
        """Until it has ended; returns what it did, and whether Ctrl-C ended it."""
        node: Node | None = None
        too_early = asyncio.Event()  # a signal came before there was a node
        interrupts = 0
        machine, say = self.offering.profile.machine, self.say

        def stop() -> None:
            say(_farewell(node))
            node.stop() if node else too_early.set()

        def leave(told: str = "told to leave now") -> None:
            say(f"{told}: {node.cost_of_leaving() if node else 'nothing is offered yet'}")
            node.leave() if node else too_early.set()

        def interrupted() -> None:
            nonlocal interrupts
            interrupts += 1
            stop() if interrupts == 1 else leave("leaving now")

        async def serve() -> None:
            nonlocal node
            async with contextlib.AsyncExitStack() as ours:
                client = await ours.enter_async_context(
                    await Client.connect(self.server, self.key, name=NAME)
                )
                profile, jails = await ours.enter_async_context(self.offering.tried())
                score = await self.measuring.score(profile, jails.runtimes.values(), say, keep=True)
                profile = self.measuring.offer(profile, score)
                if not self.place.is_own:
                    await await_silence(client, machine, say)
                if not too_early.is_set():
                    self.place.offered()
                    node = Node(
                        client, profile, self.price, jails, self.offering.policy, say, self.place.tell
                    )
                    await node.run()

        loop = asyncio.get_running_loop()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(signal.SIGHUP, leave)
        for number, act in ((signal.SIGINT, interrupted), (signal.SIGTERM, leave), (signal.SIGUSR1, stop)):
            loop.add_signal_handler(number, act)
        self.place.hold({"machine": machine, "account": self.key.public, "server": self.server})
        await first_to_end(serve(), too_early.wait())
        return node.tally if node else Tally(), interrupts > 0


def allow_files() -> None:
    """Every program takes five descriptors of ours: use all that the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say_to(as_json: bool) -> Callable[[str], None]:
    """Prints the lines of a log: beside the JSON value, where there will be one."""

    def say(text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}"
        with contextlib.suppress(OSError):  # its reader may leave, its disk be full; the node goes on
            print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    return say


def _farewell(node: Node | None) -> str:
    if node is None:
        return "stopping: nothing is offered yet"
    if not node.contracts:
        return "stopping: nothing runs"
    return (
        f"stopping at the hour's end: {many(len(node.contracts), 'contract')} for {node.longest():.0f} s of "
        f"market time at most; Ctrl-C (again) leaves now: {node.cost_of_leaving()}"
    )
