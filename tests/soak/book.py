"""Long runs of the book and its twin in lockstep: `python -m tests.soak.book`, or `make soak`.

Seeds that are done are kept in var/soak/book.jsonl, so a run that was stopped goes on where it was, and
starts anew when what it tests has changed. A failure says the seed and the command that has it again.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import os
import sys
import time
import traceback
from pathlib import Path

from exchange import _book, book
from tests.exchange.book_flow import STYLES, Flow
from tests.soak import done

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "var/soak/book.jsonl"
TESTED = (
    *("exchange/_*.px[di]", "exchange/_*.pyx", "exchange/_*.h", "exchange/book*.py", "exchange/*twin*.py"),
    *("tests/exchange/book_*.py", "setup.py"),
)
SANITIZER = b"__asan_init"


def sources() -> list[Path]:
    """All that a run depends on."""
    return sorted(file for pattern in TESTED for file in ROOT.glob(pattern))


def digest(files: list[Path]) -> str:
    """One digest of all these files, names and contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(ROOT)}\0{file.stat().st_size}\0".encode())
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def check_build(sanitized: bool) -> Path:
    """Return the compiled book's file; it must be the one that is meant, and not older than its sources."""
    loaded = Path(_book.__file__).resolve()
    meant = ROOT / ("build/sanitize/exchange" if sanitized else "exchange")
    if loaded.parent != meant or Path(book.__file__).resolve().parent != meant:
        sys.exit(f"loaded {loaded}: the book in {meant} is meant")
    if (SANITIZER in loaded.read_bytes()) != sanitized:
        sys.exit(f"{loaded} is{' not' if sanitized else ''} built with sanitizers")
    for file in sources():
        if file.match("exchange/_*") and file.stat().st_mtime > loaded.stat().st_mtime:
            target = "sanitize" if sanitized else "setup"
            sys.exit(f"{loaded} is older than {file.name}: build it first (make {target})")
    if sanitized:
        for file in (ROOT / "exchange").glob("*.py"):
            copy = meant / file.name
            if not copy.exists() or copy.read_bytes() != file.read_bytes():
                sys.exit(f"{copy} is not what stands in exchange/: make sanitize")
    return loaded


def done_before(key: dict[str, object]) -> set[int]:
    """The seeds that are done, of the same sources, build and length."""
    return {
        int(row["seed"])
        for row in done.rows(LOG)
        if all(row.get(name) == value for name, value in key.items())
    }


def failed(seed: int, options: argparse.Namespace) -> None:
    """Say how to have a failure again; a broken state is long, so all of it goes to a file."""
    whole = traceback.format_exc()
    file = LOG.with_name(f"failed-{seed}.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(whole)
    short = "\n".join(line[:500] for line in whole.splitlines())
    print("failed", short if len(short) < 8000 else short[:4000] + "\n...\n" + short[-4000:], sep="\n")
    print(f"seed {seed} failed; all of it is in {file}\nagain: {command(options)} --seed {seed}", flush=True)


def command(options: argparse.Namespace) -> str:
    """What has one of these seeds again, in front of `--seed`."""
    python = "python"
    if options.sanitized:
        names = ("LD_PRELOAD", "ASAN_OPTIONS", "PYTHONPATH")
        python = " ".join([*(f"{name}={os.environ.get(name, '')}" for name in names), sys.executable, "-P"])
    flags = " --sanitized" * options.sanitized + " --oracle" * options.oracle
    return f"{python} -m tests.soak.book --ops {options.ops}{flags}"


def run(options: argparse.Namespace) -> bool:
    """Do the seeds that are not done; tell whether all went well."""
    loaded = check_build(options.sanitized)
    key: dict[str, object] = {
        "ops": options.ops,
        "sources": digest(sources()),
        "build": "sanitized" if options.sanitized else "normal",
        "oracle": options.oracle,
    }
    wanted = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    before = done_before(key) if options.seed is None else set()
    todo = [seed for seed in wanted if seed not in before]
    print(f"book: {loaded}\none seed alone: {command(options)} --seed N", flush=True)
    print(f"{len(wanted) - len(todo)} of {len(wanted)} seeds were done before", flush=True)
    for at, seed in enumerate(todo, 1):
        style = STYLES[seed % len(STYLES)].name
        # before it begins: of a process that is aborted this is the last line
        print(f"{at}/{len(todo)}  seed {seed}, {style}: ", end="", flush=True)
        begin = time.perf_counter()
        try:
            flow = Flow(seed, oracle=options.oracle)
            flow.run(options.ops)
        except Exception:
            failed(seed, options)
            return False
        seconds = time.perf_counter() - begin
        done.keep(LOG, {"seed": seed, "style": style, "seconds": round(seconds, 1), **key})
        speed = f"{seconds:.1f} s, {options.ops / seconds:,.0f}/s"
        print(f"{options.ops} operations, {flow.seen['match'] + flow.matched} matches, {speed}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.book", description=__doc__)
    parser.add_argument("--ops", type=int, default=100_000, help="operations of each seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this seed alone, done before or not")
    parser.add_argument("--oracle", action="store_true", help="look at all pairs, too: slow")
    parser.add_argument("--sanitized", action="store_true", help="the book of build/sanitize is meant")
    try:
        return 0 if run(parser.parse_args()) else 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
        return 130


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main())
