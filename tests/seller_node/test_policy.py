"""What a seller allows: bandwidth, CPUs, when it is for sale."""

import asyncio
import time

import pytest

from seller_node.bandwidth import BURST_S, DEBT_S, Bandwidth, Bucket, parse_bandwidth
from seller_node.hours import parse_hours
from seller_node.policy import Gate, Policy, Priority, parse_cpus
from seller_node.profile import BadOfferError, cpu_numbers


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to what is due next: it waits for nothing."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def test_bandwidth() -> None:
    assert parse_bandwidth("10Mbit") == Bandwidth(1_250_000, 1_250_000)
    assert parse_bandwidth("500kB/s/2.5MB/s") == Bandwidth(500_000, 2_500_000)
    assert parse_bandwidth("800kbit/1MB") == Bandwidth(100_000, 1_000_000)
    for text in ("", "10", "10mbit", "1kB", "0MB", "1MB/", "1MB/2MB/3MB", "-1MB", "1e3kB"):
        with pytest.raises(BadOfferError, match="kB"):
            parse_bandwidth(text)


def test_a_bucket_keeps_its_rate_for_all_together_and_serves_who_came_first() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        bucket, taken = Bucket(100_000), list[tuple[str, float]]()

        async def take(name: str, count: int) -> None:
            for _ in range(count):
                await bucket.take(50_000)
                taken.append((name, loop.time()))

        await asyncio.gather(take("a", 20), take("b", 20))
        assert 2_000_000 / 100_000 - BURST_S - 0.5 <= loop.time() <= 2_000_000 / 100_000 - BURST_S + 0.5
        for index, (_, when) in enumerate(taken):
            assert (index + 1) * 50_000 <= 100_000 * (when + BURST_S) + 50_000
        names = [name for name, _ in taken]
        assert names[4:] == ["a", "b"] * 18 or names[4:] == ["b", "a"] * 18
        # One that gives up has taken nothing.
        waiting = [asyncio.create_task(bucket.take(1_000_000)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        began = loop.time()
        await bucket.take(1)
        assert loop.time() - began <= 1.1
        await Bucket(0).take(10**12)
        # What is owed goes at once; what follows waits for it, but not for ever.
        for owed, waits in ((200_000, 2), (10**9, DEBT_S)):
            bucket, began = Bucket(100_000), loop.time()
            bucket.owe(owed)
            await bucket.take(1)
            assert loop.time() - began == pytest.approx(waits - BURST_S, abs=0.1)

    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(test())


def test_cpus_by_number() -> None:
    has = cpu_numbers()
    assert parse_cpus(str(has[0])) == has[:1]
    assert parse_cpus(",".join(map(str, reversed(has)))) == has
    assert parse_cpus(f"{has[0]}-{has[0]}") == has[:1]
    for text in ("", "a", "1,", "-1", "3-2"):
        with pytest.raises(BadOfferError, match=r"CPU numbers|lower"):
            parse_cpus(text)
    with pytest.raises(BadOfferError, match=f"CPU {has[-1] + 1}; it may use"):
        parse_cpus(f"{has[-1] + 1}")


def test_the_gate_says_why_it_is_shut() -> None:
    shut = time.localtime(time.time() + 7200)
    closed = parse_hours(f"{shut.tm_hour}:00-{shut.tm_hour}:30")
    policy = Policy(Priority.LOW, cpu_numbers(), Bandwidth())
    assert Gate(policy, lambda: (0.0, 0)).is_always_open
    gate = Gate(Policy(Priority.LOW, cpu_numbers(), Bandwidth(), closed), lambda: (0.0, 0))
    assert not gate.is_always_open
    verdict = gate.look()
    assert not verdict.sells
    assert f"not its hours, {closed.text}; again at {shut.tm_hour:02}:00" in verdict.why
    always = parse_hours("00:00-24:00")
    assert Gate(Policy(Priority.LOW, cpu_numbers(), Bandwidth(), always), lambda: (0.0, 0)).look().sells
    gate = Gate(Policy(Priority.IDLE, cpu_numbers(), Bandwidth(), always, 600), lambda: (0.0, 0))
    try:
        verdict = gate.look()
        assert not verdict.sells
        assert "for sale after 10 idle minutes" in verdict.why
    finally:
        gate.close()
