"""Long runs of faults: `python -m tests.soak.faults --seeds 1..40 --kind exchange-kill`, or `make soak`.

A seed is a round: a real market, people who trade, faults at moments that the seed chooses, and the proof
(tests/soak/rounds.py). Rounds that are done are kept in var/soak/faults.jsonl, so a run that was stopped
goes on where it was, and starts anew when what it tests has changed. A failure says the command that has
it again, and keeps its directory. `--report` puts what was done into docs/reliability.md.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.soak import book
from tests.soak.done import keep, rows
from tests.soak.result import Result
from tests.soak.rounds import ROUNDS, SkippedError

LOG = book.ROOT / "var/soak/faults.jsonl"
TESTED = ("events/*.py", "exchange/*.py", "exchange/_*.p*", "projections/*.py", "tests/soak/*.py")
ROUND_S = 420.0  # a bound for hanging
SEEDS = {  # of `make soak`
    "exchange-kill": 40,
    "projections-kill": 10,
    "server-kill": 10,
    "lost-tail": 10,
    "pause": 10,
    "cut": 10,
    "disk-full": 5,
    "clock": 10,
    "damage": 10,
}


def version() -> str:
    """One digest of all that a run depends on."""
    return book.digest(sorted(file for pattern in TESTED for file in book.ROOT.glob(pattern)))


async def play(kind: str, seed: int, directory: Path, times: int = 0) -> Result:
    """One round. Raises what did not hold, or SkippedError."""
    round_of, usual = ROUNDS[kind]
    async with asyncio.timeout(ROUND_S):
        return await round_of(directory, random.Random(f"{kind}/{seed}"), times or usual)


def run(kind: str, seeds: range, again: bool) -> bool:
    """Do the seeds that are not done; tell whether all went well."""
    tested = version()
    done = {
        row["seed"]
        for row in rows(LOG)
        if (row["kind"], row["version"]) == (kind, tested) and "faults" in row
    }
    for seed in seeds:
        if seed in done and not again:
            continue
        print(f"{kind} {seed}: ", end="", flush=True)
        directory = Path(tempfile.mkdtemp(prefix="corehour-soak-"))
        began = time.monotonic()
        row: dict[str, object] = {"kind": kind, "seed": seed, "version": tested, "day": time.strftime("%F")}
        try:
            result = asyncio.run(play(kind, seed, directory))
        except SkippedError as reason:
            print(f"skipped: {reason}", flush=True)
            shutil.rmtree(directory, ignore_errors=True)
            return True
        except Exception as error:
            failed(kind, seed, directory)
            keep(LOG, row | {"failed": repr(error)[:500]})
            return False
        seconds = round(time.monotonic() - began, 1)
        shutil.rmtree(directory, ignore_errors=True)
        row |= {"seconds": seconds, "faults": result.faults, "points": result.points}
        keep(LOG, row | {"market": result.market, "details": result.details, "notes": result.notes})
        told = ", ".join(f"{name} {count}" for name, count in (result.faults | result.market).items())
        print(
            f"{told}; {seconds:g} s", *(f"\n  {note} ({n}x)" for note, n in result.notes.items()), flush=True
        )
    return True


def failed(kind: str, seed: int, directory: Path) -> None:
    """Say how to have a failure again, and where what is left of it is."""
    kept = LOG.with_name(f"failed-{kind}-{seed}")
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(directory, kept)
    whole = traceback.format_exc()
    (kept / "failed.txt").write_text(whole)
    print(f"failed\n{whole[-6000:]}\nlogs and streams: {kept}")
    print(f"again: {sys.executable} -m tests.soak.faults --kind {kind} --seeds {seed}", flush=True)


def seeds_of(text: str) -> range:
    """`7` or `1..40`, both included."""
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.faults", description=__doc__)
    parser.add_argument("--seeds", type=seeds_of, metavar="A..B", help="these; one alone is done again")
    parser.add_argument("--kind", choices=ROUNDS, help="this kind of fault alone")
    parser.add_argument("--report", action="store_true", help="put what was done into docs/reliability.md")
    given = parser.parse_args()
    try:
        if given.report:
            from tests.soak.report import report

            report(rows(LOG))
            return 0
        for kind in [given.kind] if given.kind else list(ROUNDS):
            seeds = given.seeds or range(1, SEEDS[kind] + 1)
            if not run(kind, seeds, len(seeds) == 1):
                return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
