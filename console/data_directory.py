"""The data directory of a market: its lock, its address, and the server that serves its log.

keys/{operator,exchange,projections}.nk, nats/ (the log), archive/ (what came before it, if it was restored),
nats.conf, users.conf, address.json, durability, projections.sqlite, snapshots/, accounts/, logs/, lock.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from nats.aio.client import Client as Nats

from console import server
from console.children import Child
from console.keyring import place
from events.cli import ADDRESS, NowhereError, read_address
from events.keys import Key
from events.log import NotAdmittedError, UnreachableError, connect
from events.wire import loads

SERVER_S = 10.0  # nats-server answers within this
LOCK_S = 30.0  # a reader of files at rest waits so long for another to have copied them
LOG = "logs/nats-server.log"
ARCHIVE = "archive"  # what the streams go on behind, where the market was restored
SNAPSHOTS = "snapshots"
ASIDE = "set-aside-"  # begins the name of what `exchange recompute` moved away
COPY = "reading-"  # begins the name of a copy of the log that is only there to be read
DURABILITY = "durability"  # in it: what an acknowledged request survives, one of server.DURABILITIES


class MarketError(Exception):
    """The market cannot run; the text is one line and says what to do."""


def prepare(data: Path) -> None:
    """Make the directory, and let nobody but its owner look in: it has the keys and everybody's statements.

    Raises MarketError, BadPlaceError (disk full).
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        there = data.stat()
        shared = there.st_uid != os.geteuid() or there.st_mode & stat.S_ISVTX  # another's, or as /tmp
        if not shared:
            data.chmod(0o700)
        (data / "logs").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise MarketError(f"{error.filename}: {error.strerror}; give another --data") from error
    server.check_disk(data)


@contextlib.contextmanager
def lock(data: Path) -> Iterator[None]:
    """Hold the directory; it is let go with us, however we end. Raises MarketError where somebody has it."""
    try:
        descriptor = os.open(data / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise MarketError(f"{error.filename}: {error.strerror}; give another --data") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MarketError(
                f"{data}: a market runs here already; use it, or give another --data for a second one"
            ) from None
        yield
    finally:
        os.close(descriptor)


def url(host: str, port: int) -> str:
    """The address of a server."""
    return f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}"


def choose_address(data: Path, host: str, port: int) -> tuple[str, int]:
    """Where to listen; port 0 is the one of the last time, so that clients find it again, else any.

    Raises BadPlaceError.
    """
    server.check_host(host)
    if port:
        if not server.is_free(host, port):
            raise server.BadPlaceError(
                f"port: {port} is taken; end what listens there, or give another --port"
            )
        return host, port
    with contextlib.suppress(NowhereError, ValueError):
        last = urlsplit(read_address(data / ADDRESS)).port
        if last and server.is_free(host, last):
            return host, last
    return host, server.free_port(host)


def durability_of(data: Path) -> str:
    """What a market's log survives, as it was chosen last. Raises MarketError."""
    path = data / DURABILITY
    if not path.exists():
        return server.POWER_LOSS
    found = path.read_text("utf-8").strip()
    if found not in server.DURABILITIES:
        raise MarketError(f"{path}: {found!r} is none of {', '.join(server.DURABILITIES)}; write one into it")
    return found


def choose_durability(data: Path, given: str | None, say: Callable[[str], None]) -> str:
    """The durability as given, else that of the last time; kept for the next. Raises MarketError."""
    before = durability_of(data)
    chosen = before if given is None else given
    if chosen not in server.DURABILITIES:
        raise MarketError(f"durability: {chosen!r} is none of {', '.join(server.DURABILITIES)}")
    if chosen != before and (data / DURABILITY).exists():
        say(f"durability was {before}, and is {chosen} from now on")
    server.write(data / DURABILITY, chosen + "\n")
    return chosen


def start_server(
    data: Path, host: str, port: int, users: str, say: Callable[[str], None], name: str = "nats"
) -> Child:
    """The server on this directory's log, configured and to be kept; configuration goes to `name`.conf."""
    users_file = server.USERS if name == "nats" else f"{name}-users.conf"
    server.write(data / users_file, users)
    config = server.config(data, host, port, users_file, durability_of(data))
    server.write(data / f"{name}.conf", config)
    command = [server.executable(), "--config", str(data / f"{name}.conf")]
    return Child("nats-server", command, data / "logs/nats-server.start.log", say, also=data / LOG)


@contextlib.asynccontextmanager
async def closing(nc: Nats) -> AsyncIterator[Nats]:
    """Close the connection at the end."""
    try:
        yield nc
    finally:
        await nc.close()


@contextlib.asynccontextmanager
async def server_for(data: Path, users: str, name: str, key: Key) -> AsyncIterator[str]:
    """A server on this directory's log for as long as the context lasts; its address. The lock must be held.

    `key` must be one of `users`. Raises MarketError.
    """
    host, port = "127.0.0.1", server.free_port("127.0.0.1")
    child = start_server(data, host, port, users, lambda line: None, name)
    keeper = asyncio.create_task(child.keep())
    try:
        nc = await connect(url(host, port), key, name=name, patience=SERVER_S)
        await nc.close()
        yield url(host, port)
    except (UnreachableError, NotAdmittedError) as error:
        raise MarketError(child.last_words() or str(error)) from error
    finally:
        await child.stop()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@contextlib.asynccontextmanager
async def log_of(data: Path, key: Key | None = None) -> AsyncIterator[tuple[str, Key]]:
    """A server to read the log of `data` from, and a key that may read it: the running market's, else a
    server that is started for this on a copy of its files and lets nobody write: a server that opens files
    may change them, and cuts off what it cannot read. `key` left out is the operator's in `data`.

    Raises MarketError, BadPlaceError (no room for the copy), BadKeyError, NowhereError.
    """
    if not (data / "nats").is_dir():
        raise MarketError(f"{data}: there is no market's log here; give --data")
    key = key or Key.load(place(data, "operator"))
    with contextlib.ExitStack() as stack:
        for wait in (True,) * int(LOCK_S / 0.1) + (False,):
            with contextlib.ExitStack() as locked:
                try:
                    locked.enter_context(lock(data))
                except MarketError:
                    if runs(data):
                        yield read_address(data / ADDRESS), key
                        return
                    if not wait:
                        raise
                else:
                    copy = stack.enter_context(copy_of_log(data))
                    break
            await asyncio.sleep(0.1)  # another reader makes its copy
        users = server.users([server.auditor(key.public)])
        async with server_for(copy, users, "reading", key) as address:
            yield address, key


def runs(data: Path) -> bool:
    """Whether the market that gave the directory its address lives."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        os.kill(int(loads((data / ADDRESS).read_bytes())["pid"]), 0)
        return True
    return False


@contextlib.contextmanager
def copy_of_log(data: Path) -> Iterator[Path]:
    """A directory inside of `data` with a copy of its log, for as long as the context lasts. O(log).

    Raises MarketError, BadPlaceError.
    """
    for left in data.glob(f"{COPY}*"):
        if not Path(f"/proc/{left.name.split('-')[1]}").exists():  # its process was killed
            shutil.rmtree(left, ignore_errors=True)
    size = sum(file.stat().st_size for file in (data / "nats").rglob("*") if file.is_file())
    server.check_disk(data, size)
    with tempfile.TemporaryDirectory(prefix=f"{COPY}{os.getpid()}-", dir=data) as name:
        copy = Path(name)
        try:
            shutil.copytree(data / "nats", copy / "nats")
        except (OSError, shutil.Error) as error:
            raise MarketError(f"{data / 'nats'}: it cannot be copied to be read: {error}") from error
        prepare(copy)
        yield copy
