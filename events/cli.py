"""What the three commands have in common: where the market is, who asks, money as text, JSON, errors.

A command's parameters: `server: Server = ""`, `creds: Creds = None`, `as_json: Json = False`.
Exit status: 0 done, 1 refused or failed, 2 usage, 130 after Ctrl-C.
"""

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
from typer.main import get_current_context  # type: ignore[attr-defined]

from events.keys import BadKeyError, Key
from events.requests import CREDIT, MONEY
from events.terminal import visible
from events.wire import dumps, loads

DATA = Path("var/market")  # the market's data directory, unless told otherwise
ADDRESS = "address.json"  # in it: {"server": URL, "pid": of `exchange up`}


def _prefer_data(context: typer.Context, server: str) -> str:
    """A market named by --data is not overruled by COREHOUR_SERVER: only by --server."""
    given = [name for name in ("server", "data") if _is_typed(context, name)]
    return "" if given == ["data"] else server


def is_given(name: str) -> bool:
    """Whether the command that runs was given this option, on its command line or by the environment."""
    context = get_current_context(silent=True)
    source = context.get_parameter_source(name) if context is not None else None
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


server_option: Any = typer.Option(
    "--server",
    envvar="COREHOUR_SERVER",
    callback=_prefer_data,
    metavar="URL",
    help="The market's server, as `exchange up` prints it.",
    show_default=f"from {DATA / ADDRESS}, else ~/.config/corehour/{ADDRESS}",
)
creds_option: Any = typer.Option(
    "--creds",
    envvar="COREHOUR_CREDS",
    metavar="FILE",
    help="The account's seed file, as `exchange account add` makes it.",
    show_default="~/.config/corehour/account.nk",
)
json_option: Any = typer.Option("--json", help="Print one JSON value, for programs.")

Server = Annotated[str, server_option]
Creds = Annotated[Path | None, creds_option]
Json = Annotated[bool, json_option]


class NowhereError(Exception):
    """It cannot be told where the market is or who asks; the text says what to do."""


USAGE_ERROR: type[Any] = typer.BadParameter.__bases__[0]  # of a wrong option too; typer does not export it


class Group(typer.core.TyperGroup):
    """A command with commands under it, whose usage errors are one line, or one JSON value, and status 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without any arguments: the help."""
        if not args:
            print(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C where it says nothing of its own is told in one line, status 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if ctx.parent is not None:
                raise  # the outermost tells
            tell("stopped", self._as_json)
            ctx.exit(130)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and end the process with the exit status."""
        words = list(sys.argv[1:] if args is None else args)
        self._as_json = as_json = "--json" in itertools.takewhile(lambda word: word != "--", words)
        try:
            status = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except USAGE_ERROR as error:
            hint = f" (see `{error.ctx.command_path} -h`)" if error.ctx else ""
            tell(error.format_message().rstrip(".") + hint, as_json)
            sys.exit(error.exit_code)
        except typer.Abort:
            tell("the input has ended", as_json)
            sys.exit(1)
        sys.exit(status or 0)


def application(purpose: str) -> typer.Typer:
    """An empty command that shows its help when called without arguments, and no decorated tracebacks."""
    return typer.Typer(
        cls=Group,
        help=purpose,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def config_directory() -> Path:
    """Where a person's own address and seed are."""
    return Path.home() / ".config" / "corehour"


def resolve_server(given: str = "", data: Path = DATA) -> str:
    """The server's URL: as given, else from the address file. Raises NowhereError.

    A file of somebody else's, in a folder that we happen to be in, is passed over with a warning: it could
    send us to a server of his.
    """
    if given:
        return given
    places = [data / ADDRESS, config_directory() / ADDRESS]
    for place in places:
        owners = _owners(place)
        if not owners:
            continue
        if owners <= {os.geteuid(), 0}:
            return read_address(place)
        print(
            f"warning: {place} belongs neither to you nor to root and is ignored; if you trust it, "
            "give its server with --server",
            file=sys.stderr,
        )
    raise NowhereError(
        "no market known: start one with `exchange up`, or give --server "
        f"(no address at {places[0]} nor at {places[1]})"
    )


def _owners(path: Path) -> set[int]:
    """Whose a file is and, if it is a symbolic link, whose that is; empty where nothing is there."""
    try:
        return {path.lstat().st_uid, path.stat().st_uid}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise NowhereError(f"{path}: {error.strerror}") from error


def read_address(path: Path) -> str:
    """The server's URL in an address file. Raises NowhereError."""
    try:
        server = loads(path.read_bytes())["server"]
    except OSError as error:
        raise NowhereError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        server = None
    if not isinstance(server, str):
        raise NowhereError(f"{path}: no address of a market; give --server, or start `exchange up` again")
    return server


def resolve_creds(given: Path | None = None) -> Key:
    """The key that a command acts with: from the file given, else the default place.

    Raises NowhereError, or BadKeyError for a file that is there and cannot be used.
    """
    path = given or config_directory() / "account.nk"
    if not path.exists():
        raise NowhereError(
            f"no seed file at {path}: give --creds, or set COREHOUR_CREDS; `exchange account add` makes one"
        )
    return Key.load(path)


def credits(micro: int) -> str:
    """Micro-credits as credits with six decimals: 1500000 is `1.500000`."""
    whole, part = divmod(abs(micro), CREDIT)
    return f"{'-' if micro < 0 else ''}{whole}.{part:06}"


def counted(number: int, thing: str) -> str:
    """A number of things: `1 CPU`, `2 CPUs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def parse_credits(text: str) -> int:
    """Credits, as typed, in micro-credits: `0.05` is 50000. Raises typer.BadParameter (exit status 2)."""
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,6})?", text):
        raise typer.BadParameter(
            f"{text[:40]!r}: an amount is credits in decimal, with at most six decimals, as 0.05"
        )
    micro = int(Decimal(text) * CREDIT)
    if micro > MONEY:
        raise typer.BadParameter(f"{text!r}: an amount is at most {credits(MONEY)} credits")
    return micro


def show(value: object) -> None:
    """Print a command's one JSON value."""
    print(dumps(value).decode())


def tell(text: str, as_json: bool = False) -> None:
    """Tell of an error in one line: on standard error, or {"error": text} as the command's JSON."""
    line = visible(" ".join(text.split()))
    if as_json:
        show({"error": line})
    else:
        print(f"error: {line}", file=sys.stderr)


def fail(text: str, as_json: bool = False) -> NoReturn:
    """`tell`, and end the command with status 1."""
    tell(text, as_json)
    raise typer.Exit(1)


@contextlib.contextmanager
def edge(as_json: bool, *errors: type[Exception]) -> Iterator[None]:
    """Turns these errors, and those of this file, into one line and exit status 1."""
    expected: tuple[type[Exception], ...] = (NowhereError, BadKeyError, *errors)
    try:
        yield
    except expected as error:
        fail(str(error), as_json)
