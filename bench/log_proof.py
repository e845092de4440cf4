"""What looks back on the log: replay, the audit, and its signatures.

Rates are for each core: a process of its own, held to one core, and its own CPU time, so that other work on
the machine takes nothing away. Logs are archives; reading and checking their files is in the figures.

`python -m bench.log_proof replay|audit ARCHIVE` prints one of these measurements as JSON.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import log_made, log_signatures
from bench.log_client import Job, sign
from bench.log_findings import Findings, say
from bench.tables import number
from events import subjects
from events.archive import Archive
from events.commit import parts
from events.requests import split
from events.source import ArchiveLog
from events.wire import Stored, dumps, loads
from exchange.audit import audit
from exchange.batch import Batcher
from exchange.engine import Engine
from exchange.writer import GROUP
from projections.journal import ArchiveJournal
from projections.replay import Replay
from tests.market.play import Play

EVENTS, TENTH = 10_000_000, 1_000_000
ORDERS, TOGETHER = 200_000, 500  # of the logs that hold nothing else; orders in a message
FUNDS = 10**9  # credits
ROOT = Path(__file__).parent.parent


def proof(folder: Path) -> Findings:
    """All of it."""
    found = _replay(folder)
    found.merge(_audit(folder))
    found.merge(_signatures())
    return found


def _replay(folder: Path) -> Findings:
    """Replay of a long log and of a tenth of it."""
    found, rows = Findings(), []
    measured = {}
    for events in (TENTH, EVENTS):
        path = folder / f"made-{events}"
        made = log_made.make(path, events)
        say(f"a log of {made:,} events")
        measured[events] = one = _measured("replay", path)
        rate, memory = one["done"] / one["cpu_s"], one["memory"] / 1e6
        rows.append((f"{one['done']:,}", number(rate), number(one["done"] / one["wall_s"]), number(memory)))
        say(f"replayed: {number(rate)} events/s, {number(memory)} MB")
    whole, tenth = measured[EVENTS], measured[TENTH]
    found.figures["replay of 10 million events, one core"] = (whole["done"] / whole["cpu_s"], "events/s")
    grown = (whole["memory"] - tenth["memory"]) / 1e6
    found.figures["memory of a replay, 10 million events over one"] = (grown, "MB")
    head = ("events", "events/s of CPU time", "events/s of wall time", "memory at most, MB")
    found.table("Replay of a market of 20 sellers and 40 buyers", head, rows)
    return found


def _audit(folder: Path) -> Findings:
    """The audit without its signatures, of orders alone, and of a market."""
    found, rows, measured = Findings(), [], []
    logs = {"single": folder / "single", f"{TOGETHER} in a message": folder / "bulk"}
    for name, together in zip(logs, (1, TOGETHER), strict=True):
        orders_alone(logs[name], ORDERS, together)
    logs["the market of the replay"] = folder / f"made-{TENTH}"
    for name, path in logs.items():
        one = _measured("audit", path)
        rate = one["done"] / one["cpu_s"]
        found.figures[f"audit, signatures apart, one core, {name}"] = (rate, "orders/s")
        rows.append((name, number(rate), number(one["events"] / one["cpu_s"])))
        measured.append(one)
        say(f"audited: {name}: {number(rate)} orders/s")
    *orders, _market = measured
    rate = sum(one["done"] for one in orders) / sum(one["cpu_s"] for one in orders)
    found.figures["audit, signatures apart, one core"] = (rate, "orders/s")
    found.table("Audit, signatures apart, one core", ("orders", "orders/s", "events/s"), rows)
    return found


def _signatures() -> Findings:
    """The checks of signatures beside libsodium's own rate."""
    found, rates = Findings(), log_signatures.measure(rounds=5, turns=4)
    name = "signatures on all cores, over libsodium's own rate times the cores"
    found.figures[name] = (rates["all_of_raw_times_cores"], "times")
    found.figures["signatures on all cores"] = (rates["all"], "checks/s")
    found.table(
        "Checks of signatures",
        ("", "checks/s"),
        [
            ("libsodium alone, one process", number(rates["raw"])),
            (f"libsodium alone, {rates['cores']} processes", number(rates["raw_all"])),
            ("ours, one thread", number(rates["one"])),
            ("ours, all cores", number(rates["all"])),
            ("libsodium alone, for each second of CPU time", number(rates["raw_cpu"])),
            ("ours, all cores, for each second of CPU time", number(rates["all_cpu"])),
        ],
    )
    say(f"signatures: {number(rates['all_of_raw_times_cores'])} of libsodium's rate times the cores")
    return found


def orders_alone(path: Path, orders: int, together: int) -> None:
    """An archive of one buyer's bids, all of which rest, `together` in a message."""
    play = Play()
    play.account("buyer", FUNDS)
    key = play.key("buyer")
    requests = list(play.requests)
    job = Job("", key.seed, "", orders // together, 0, orders=together)
    for subject, data in sign(job, key):
        requests.append(Stored(len(requests) + 1, play.time_ns, subject, data))
    batcher = Batcher(Engine())
    with Archive(path).writing() as writer:
        for start in range(0, len(requests), GROUP):
            group = requests[start : start + GROUP]
            for stored in group:
                writer.add(subjects.INTAKE, stored)
            done = batcher.decide(group)
            for part in parts(done[1]) if done is not None else ():
                at = writer.next(subjects.JOURNAL)
                writer.add(subjects.JOURNAL, Stored(at, group[-1].time_ns, subjects.COMMIT, part))


def _orders_in(archive: Archive) -> int:
    """Orders that were asked for, those in messages of many each by itself."""
    orders = 0
    for stored in archive.requests():
        kind = stored.subject.rpartition(".")[2]
        if kind == "orders":
            orders += len(loads((split(stored.data) or ("", b""))[1])["orders"])
        elif kind in ("bid", "ask", "amend"):
            orders += 1
    return orders


def _measured(what: str, path: Path) -> dict[str, Any]:
    """A measurement in a process of its own."""
    command = [sys.executable, "-m", "bench.log_proof", what, str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = loads(done.stdout)
    return found


def _measure(what: str, path: Path) -> dict[str, Any]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    archive = Archive(path)
    done = _orders_in(archive) if what == "audit" else 0
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "audit":
        result = asyncio.run(audit(ArchiveLog(archive), signatures=False))
        assert result.ok, result.first_disagreement
        events = result.events
    else:
        replay = Replay(ArchiveJournal(archive))
        replay.run()
        events = done = replay.events
    return {
        "done": done,
        "events": events,
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    print(dumps(_measure(sys.argv[1], Path(sys.argv[2]))).decode())
