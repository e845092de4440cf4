"""The log's part of docs/performance.md, from the suite `log`'s last results."""

from __future__ import annotations

from bench.tables import chapter

TEXT = """\
# The log

Measured by `make bench-log`, results in `bench/results/log.json`.

Machine: {cpu}, {cpus} cores, {memory_gib} GiB, Linux {kernel}, Python {python}. Date: {date}.

## What was asked of the log

{goals}
## How it was measured

Everything runs at once on these {cpus} cores: the clients, nats-server, the exchange, its standby, the
notary, the projections. Figures are counted in orders, and are medians of rounds with the least and the most
beside them.

- **The path of an order** goes from publishing its signed request to its own event on the own feed, heard
  and parsed by the client that asked: through INTAKE, exchange, JOURNAL, projections, and the feed.
  Each client process keeps at most 1,000 single orders (or 12 messages of many) unanswered. Orders are bids
  at a thousand prices, all of which rest. They are signed beforehand: what signing costs the clients is not
  measured. The rate is of the steady part of a run of 12 s; its first seventh is left out.
  Notary and standby give way to the others: at full load they fall behind, and catch up when there is room;
  how long that takes stands below, and what they use meanwhile in the tables of CPU time.
- **nats-py alone** is the same client processes, publishing the same bytes with the same library on the same
  subjects to a server with the market's own configuration and users, at the same durability, with nothing
  behind it. Acknowledgements are waited for in two ways: by the library's `publish_async`, and by a reply
  subject and a counter of one's own; the ratio is over the faster. "Hardly any acks" asks for one of each
  hundred messages, which is as fast as with none. As many client processes are used as get the most out of
  the server alone (2, 3 and 4 are tried), and market and server alone take turns.
- **Latency** is of an open loop: orders are due on a schedule, at half of the rate just measured, and each
  one's wait is counted from when it was due, however late it was sent. It begins when notary and standby have
  caught up.
- **Durability**: at `power-loss` the server syncs to the disk before it acknowledges; at `process-crash` the
  operating system has what was acknowledged.
- **Replay, audit, signatures** are rates of one process held to one core, over its own CPU time; reading,
  hashing and decompressing the archive's files is in them. The state of a market grows at first, for answers
  are kept for so many numbers of a session (R12): the one of the replay has them all after some four million
  events, and stands still from then on.

{tables}
## All other figures of the log

{others}
## How to repeat the log's figures

```
make bench-log                        # about a quarter of an hour; the machine must have nothing else to do
```

- `bench/log_client.py` is a client process, `bench/log_load.py` drives several, `bench/log_path.py` measures
  the path beside the server alone, `bench/log_choices.py` what else could have been chosen.
- `bench/log_start.py` measures start and failover, `bench/log_proof.py` replay and audit of logs that
  `bench/log_made.py` makes, `bench/log_signatures.py` the checks of signatures.

"""


def log_part() -> str:
    """The chapter; "" where the suite has no results of this form."""
    return chapter("log", TEXT)
