"""The `buyer` command."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, TextIO

import typer
import uvloop

from buyer import orders
from buyer.executor import LostConnectionError, run_job
from buyer.job import CHUNK, MAX_OUTPUT, BadJobError, Job, Result, Unit
from buyer.offers import offers_under, show_offers
from buyer.orders import ERRORS, DryRun, ScreenText, ask, money, screen_of, wrong
from buyer.other_bids import named
from buyer.program import (
    ENCODINGS,
    NATIVE,
    WASM,
    check_output,
    find_inputs,
    python_runtime,
    read_needs,
    read_program,
    read_python,
    unnamed_needs,
)
from buyer.progress import Shown
from events.cli import (
    Creds,
    Json,
    Server,
    application,
    counted,
    credits,
    edge,
    resolve_creds,
    resolve_server,
    show,
)
from events.client import Client
from events.requests import SIZE
from events.terminal import visible

INTERRUPTED = 130  # exit status after Ctrl-C
STDIN = "stdin"  # the name of the one unit where no input is given

app = application("Rents CPU hours: run a program on other people's machines, and look after your orders.")


@app.command()
def run(
    max_price: Annotated[
        str, typer.Option("--max-price", help="The most to pay for a CPU hour.", metavar="CREDITS")
    ],
    program: Annotated[
        list[str] | None,
        typer.Argument(
            help="After --: a static executable or a .wasm module, and its arguments.", show_default=False
        ),
    ] = None,
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=SIZE.high, help="The most CPUs at once.")] = 1,
    max_cost: Annotated[
        str, typer.Option("--max-cost", help="The most to spend on all of it.", metavar="CREDITS")
    ] = "",
    screen: ScreenText = "",
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime", help="What runs it.", show_default=f"{NATIVE}, {WASM}, or this Python's minor"
        ),
    ] = "",
    python: Annotated[
        str, typer.Option("--python", help="Run a Python function instead.", metavar="FILE:FUNCTION")
    ] = "",
    needs: Annotated[
        list[str] | None,
        typer.Option(
            "--needs",
            help="A package that the function imports, with its version: only sellers with it are matched.",
            metavar="NAME/VERSION",
            show_default=False,
        ),
    ] = None,
    encoding: Annotated[
        str, typer.Option("--encoding", help="Of the function's input and result: bytes or json.")
    ] = "bytes",
    inputs: Annotated[
        str, typer.Option("--input", help="One unit of work for each file that matches.", metavar="GLOB")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", help="Directory of the results, named as the inputs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the job in --output: run what is unfinished.")
    ] = False,
    max_output: Annotated[
        int, typer.Option("--max-output", min=1, help="The most that one unit may write.", metavar="MIB")
    ] = MAX_OUTPUT,
    settle: Annotated[
        bool, typer.Option("--settle", help="Stay until the last hour is charged, and vote on it.")
    ] = False,
    dry_run: DryRun = False,
    server: Server = "",
    creds: Creds = None,
    as_json: Json = False,
) -> None:
    """Run a program on every input, on as many CPUs as --cpus.

    Without --input, standard input goes to one run, and its output, errors and exit status are ours.
    """
    try:
        with contextlib.ExitStack() as stack:
            place = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buyer-")))
            if resume and not output:
                raise BadJobError("--resume: name the --output of the job to go on with")
            job = _job(
                (program or [], runtime, python, encoding, read_needs(needs or [])),
                _units(inputs, output, stack, dry_run, as_json),
                (cpus, money("--max-price", max_price), money("--max-cost", max_cost) if max_cost else None),
                place,
                screen,
                (resume, settle, max_output),
            )
            if python and not as_json:
                _note_imports(job)
            if dry_run:
                _show_plan(job, server, creds, as_json)
                return
            result = _run(job, output is not None, server, creds, as_json)
            if not output:
                raise typer.Exit(pass_through(result, place))
    except BadJobError as error:
        wrong(str(error), as_json)
    if as_json:
        show(result.wire())
    raise typer.Exit(INTERRUPTED if result.interrupted else int(not result.is_good))


for command in (
    orders.order,
    orders.orders,
    orders.contracts,
    orders.resize,
    orders.cancel,
    orders.statement,
):
    app.command()(command)


def _units(
    inputs: str, output: Path | None, stack: contextlib.ExitStack, dry_run: bool, as_json: bool
) -> list[Unit]:
    """What is to be done; without inputs, our standard input, kept in a file without a name until `stack`
    ends. Raises BadJobError."""
    if output:
        check_output(output)
    if inputs:
        if not output:
            raise BadJobError("--output: say where the results go")
        return find_inputs(inputs)
    if as_json and not output and not dry_run:
        raise BadJobError("--output: with --json, say where the run's own output goes")
    if dry_run:
        return [Unit(STDIN, b"")]
    kept = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack is the context
    shutil.copyfileobj(sys.stdin.buffer, kept)
    kept.flush()
    return [Unit(STDIN, Path(f"/proc/self/fd/{kept.fileno()}"))]


def _job(
    what: tuple[list[str], str, str, str, list[str]],
    units: list[Unit],
    bounds: tuple[int, int, int | None],
    output: Path,
    screen: str,
    how: tuple[bool, bool, int],
) -> Job:
    """The job that the options describe. Raises BadJobError."""
    program, runtime, python, encoding, needs = what
    if python:
        if program:
            raise BadJobError("--python: no program beside it")
        if encoding not in ENCODINGS:
            raise BadJobError(f"--encoding: {encoding!r} is not one of {', '.join(ENCODINGS)}")
        data, function = read_python(python)
        runtime, arguments = runtime or python_runtime(), [function, encoding]
    elif program:
        kind, data = read_program(program[0])
        runtime = runtime or kind
        arguments = [Path(program[0]).name, *program[1:]]
    else:
        raise BadJobError("program: name it after --, or a Python function with --python")
    cpus, max_price, max_cost = bounds
    demands = screen_of(" ".join([screen, *needs]))
    return Job(data, runtime, arguments, units, cpus, max_price, output, max_cost, demands, *how)


def _note_imports(job: Job) -> None:
    """Say which packages a function imports that its screen does not name (R29)."""
    for name, flag in unnamed_needs(job.program, job.screen.flags).items():
        hint = f"`--needs {flag}` asks for the version that is here" if flag else "name it with --needs"
        print(f"note: the function imports {name}, which not every seller has; {hint}", file=sys.stderr)


def _show_plan(job: Job, server: str, creds: Path | None, as_json: bool) -> None:
    async def look(client: Client) -> None:
        found = await offers_under(client, job.max_price, job.demands())
        show_offers(found, job.max_price, job.most_slots(), job.demands(), as_json, len(job.units))

    ask(server, creds, as_json, look)


def _run(job: Job, kept: bool, server: str, creds: Path | None, as_json: bool) -> Result:
    """Run the job and say what it came to. `kept`: its directory stays, and so can be resumed."""
    shown = Shown(job, silent=as_json)

    async def whole() -> Result:
        async with await Client.connect(
            resolve_server(server), resolve_creds(creds), name="buyer run"
        ) as client:
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, _interrupt, stop, job, kept)
            return await run_job(client, job, shown, stop)

    with edge(as_json, *ERRORS, LostConnectionError, OSError), shown:
        result = uvloop.run(whole())
    for line in _summary(result, kept):
        shown.say(line)
    return result


def _interrupt(stop: asyncio.Event, job: Job, kept: bool) -> None:
    """Ctrl-C: the first ends the job in order, the second leaves at once."""
    if stop.is_set():
        print("\nleft at once: if `buyer orders` shows the bid, `buyer cancel` ends it", file=sys.stderr)
        if not kept:
            shutil.rmtree(job.output, ignore_errors=True)
        os._exit(INTERRUPTED)
    print("\nleaving: the bid is being cancelled; Ctrl-C again leaves at once", file=sys.stderr)
    stop.set()


def _summary(result: Result, kept: bool) -> list[str]:
    """What a person must know at the end. `kept`: the job can be resumed."""
    good = sum(ended.is_good for ended in result.units.values())
    lines = [
        f"{counted(len(result.units), 'unit')} done, {good} with exit status 0; "
        f"{counted(result.lost, 'run')} lost and sent again; {counted(result.contracts, 'contract')}"
    ]
    bad = [name for name, ended in result.units.items() if not ended.is_good]
    if bad:
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        lines.append(f"not with exit status 0: {', '.join(bad[:10])}{more}")
    if result.unfinished:
        further = "the same with --resume goes on" if kept else "without --output, nothing is kept"
        lines.append(f"{counted(len(result.unfinished), 'unit')} unfinished: {result.reason}; {further}")
    elif result.reason:
        lines.append(result.reason)
    lines.append(f"cost so far: {credits(result.charged)} charged; {result.owed()}")
    return lines + named(result.other_bids)


def pass_through(result: Result, place: Path) -> int:
    """The one run's output and errors are ours, and so is its exit status."""
    ended = result.units.get(STDIN)
    if ended is None:
        return INTERRUPTED if result.interrupted else 1
    for name, stream in ((STDIN, sys.stdout), (f"{STDIN}.err", sys.stderr)):
        path = place / name
        if path.exists():
            copy(path, stream)
    return 128 + ended.signal if ended.signal else ended.status


def copy(path: Path, stream: TextIO) -> None:
    """What a stranger's machine wrote, to a stream of ours: as it is, but on a terminal nothing unseen."""
    if stream.isatty():
        with path.open(encoding="utf-8", errors="backslashreplace", newline="") as text:
            while part := text.read(CHUNK):
                shown = visible(part, keep="\n\t")
                stream.buffer.write(shown.encode(stream.encoding, "backslashreplace"))
    else:
        with path.open("rb") as file:
            shutil.copyfileobj(file, stream.buffer)
    stream.buffer.flush()
