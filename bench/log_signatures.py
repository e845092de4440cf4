"""How near the check of many signatures comes to libsodium's own rate: `python -m bench.log_signatures`.

The raw rate is a loop over one process's `crypto_sign_open` with nothing else in it: signatures decoded, all
bytes in a row. What all cores could do is what as many such processes reach at once. In turns, best of
several, because other people's work on the machine only ever takes away. Per second of processor time a rate
does not depend on such work: it shows what the checker itself costs, its queue and its event loop included.
"""

import argparse
import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from nacl._sodium import ffi, lib

from events import subjects
from events.keys import Key, raw_key
from events.log import Stored
from events.requests import encode, signed_bytes, split
from exchange.signatures import Checker, Verdict, check, workers

ACCOUNTS = 50
MESSAGES = 4000
BATCH = 500  # as the reader of INTAKE gives them


def requests(count: int = MESSAGES) -> list[Stored]:
    """Bids of many accounts, well signed."""
    keys = [Key.make() for _ in range(ACCOUNTS)]
    asked = []
    for number in range(1, count + 1):
        key = keys[number % ACCOUNTS]
        subject = subjects.intake(key.public, "bid")
        body: dict[str, Any] = {
            "session": 1_790_000_000_000_000,
            "number": number,
            "price": number,
            "size": 3,
        }
        body |= {"minimums": {"mips": 900}, "flags": ["x86_64"], "lifetime_us": 0}
        asked.append(Stored(number, 0, subject, encode(key, subject, body)))
    return asked


def raw_rate(asked: Sequence[Stored], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Checks a second by libsodium alone, in this thread."""
    prepared = []
    for stored in asked:
        signature, content = split(stored.data) or ("", b"")
        signed = base64.urlsafe_b64decode(signature + "==") + signed_bytes(stored.subject, content)
        prepared.append((signed, len(signed), raw_key(stored.subject.split(".")[1])))
    check_one, nothing = lib.crypto_sign_open, ffi.NULL
    began = clock()
    for _ in range(rounds):
        for signed, length, key in prepared:
            if check_one(nothing, nothing, signed, length, key):
                raise AssertionError("a true signature was found false")
    return len(prepared) * rounds / (clock() - began)


def raw_rates(rounds: int, processes: int) -> float:
    """Checks a second by libsodium alone, in as many processes at once, all together."""
    command = [sys.executable, "-m", "bench.log_signatures", "--raw", str(rounds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    return sum(float(process.communicate()[0]) for process in running)


def one_rate(asked: Sequence[Stored], rounds: int) -> float:
    """Checks a second by ours, in this thread."""
    began = time.perf_counter()
    for _ in range(rounds):
        for start in range(0, len(asked), BATCH):
            verdicts = check(asked[start : start + BATCH]).verdicts
            assert verdicts.count(Verdict.TRUE) == len(verdicts)
    return len(asked) * rounds / (time.perf_counter() - began)


async def all_rate(
    asked: Sequence[Stored], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Checks a second by ours, on all cores."""

    async def batches() -> AsyncIterator[Sequence[Stored]]:
        for _ in range(rounds):
            for start in range(0, len(asked), BATCH):
                yield asked[start : start + BATCH]

    began = clock()
    async with Checker() as checker:
        async for _, verdicts in checker.check(batches()):
            assert verdicts.count(Verdict.TRUE) == len(verdicts)
    return len(asked) * rounds / (clock() - began)


def measure(rounds: int, turns: int) -> dict[str, float]:
    """Rates in checks a second, and ours over the raw ones."""
    asked, cores = requests(), workers()
    best = dict.fromkeys(("raw", "one", "raw_all", "all", "raw_cpu", "all_cpu"), 0.0)
    for _ in range(turns):
        best["raw"] = max(best["raw"], raw_rate(asked, rounds))
        best["one"] = max(best["one"], one_rate(asked, rounds))
        best["raw_all"] = max(best["raw_all"], raw_rates(rounds, cores))
        best["all"] = max(best["all"], asyncio.run(all_rate(asked, rounds * cores)))
        best["raw_cpu"] = max(best["raw_cpu"], raw_rate(asked, rounds, time.process_time))
        cpu = asyncio.run(all_rate(asked, rounds, time.process_time))
        best["all_cpu"] = max(best["all_cpu"], cpu)
    return best | {
        "cores": cores,
        "one_of_raw": best["one"] / best["raw"],
        "all_of_raw_times_cores": best["all"] / (best["raw"] * cores),
        "all_of_raw_at_once": best["all"] / best["raw_all"],
        "all_of_raw_per_processor_second": best["all_cpu"] / best["raw_cpu"],
    }


def main() -> None:
    """Prints JSON."""
    parser = argparse.ArgumentParser(prog="bench.log_signatures", description="The rate of signature checks.")
    parser.add_argument("--rounds", type=int, default=5, help=f"times {MESSAGES} messages, each turn")
    parser.add_argument("--turns", type=int, default=5, help="the best of so many")
    parser.add_argument("--raw", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.raw:
        print(raw_rate(requests(), arguments.raw))
    else:
        print(json.dumps(measure(arguments.rounds, arguments.turns), indent=1))


if __name__ == "__main__":
    main()
