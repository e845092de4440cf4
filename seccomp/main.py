"""The command `jail`: run, check, bench. One program in the jail, without any market."""

import asyncio
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from seccomp import JailError, Limits, Report, Runtime, probe, runtimes
from seccomp.benchmark import SECONDS, BenchmarkError, Score, measurable, measure
from seccomp.foreground import in_foreground

FAILED = 125  # the command itself failed: programs hardly ever say so
UNITS = {"K": 10, "M": 20, "G": 30}
OPTIONS = {  # what sets each field of Limits
    "memory_mb": "--memory (in MiB)",
    "threads": "--threads",
    "wall_s": "--wall",
    "warn_s": "--warn",
    "cpu_s": "--cpu-time",
}
USAGE_ERROR: type[Any] = typer.BadParameter.__bases__[0]  # of a wrong option too; typer does not export it


class Level(StrEnum):
    """The jail's levels."""

    A = "A"
    B = "B"
    C = "C"


def main() -> NoReturn:
    """The command's entry. What is wrong with a call is one line, and status 125."""
    for fd in range(3):  # one that is closed would be taken by the next file
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        sys.exit(app(standalone_mode=False, prog_name="jail") or 0)
    except USAGE_ERROR as error:
        hint = f" (see `{error.ctx.command_path} -h`)" if error.ctx else ""
        _fail(error.format_message().rstrip(".") + hint)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:  # of our own output alone: what else fails is told where it does
        _fail(f"standard output: {error.strerror}")


def _fail(line: str) -> NoReturn:
    print(f"jail: {line}", file=sys.stderr)
    sys.exit(FAILED)


app = typer.Typer(
    help="Run one program of a stranger so that nothing can happen: no files, no network, no other process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _in_options(fault: str) -> str:
    """What is wrong with limits, in the words of this command."""
    return re.sub("|".join(OPTIONS), lambda field: OPTIONS[field[0]], fault)


def _mebibytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([KMG])(i?B)?", text, re.IGNORECASE)
    size = int(match[1]) << UNITS[match[2].upper()] >> 20 if match else 0
    if size < 1:
        raise JailError(f"--memory is {text!r}: must be a size from 1M on, as 512M or 2G")
    return size


AtMost = Annotated[
    Level,
    typer.Option("--at-most", help="Use layers up to this level: B leaves out namespaces, C Landlock too."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value, for programs.")]


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    program: Annotated[
        Path,
        typer.Argument(
            metavar="PROGRAM", help="A static executable, a wasm module (WASI), or a Python source (.py)."
        ),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Its arguments.")] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", metavar="N", min=1, help="On how many CPUs; else on all.")
    ] = None,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="As 512M or 2G.")] = "512M",
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="The most at once.")] = 64,
    wall: Annotated[
        float | None, typer.Option("--wall", metavar="SECONDS", help="Killed so long after its start.")
    ] = None,
    warn: Annotated[
        float, typer.Option("--warn", metavar="SECONDS", help="SIGQUIT so long before --wall.")
    ] = 0,
    cpu_time: Annotated[
        int | None,
        typer.Option("--cpu-time", metavar="SECONDS", help="Whole ones, of all its threads."),
    ] = None,
    nice: Annotated[
        int, typer.Option("--nice", min=0, max=39, help="How far to stand back for other programs.")
    ] = 0,
    idle: Annotated[bool, typer.Option("--idle", help="Only while nobody else wants the CPU.")] = False,
    at_most: AtMost = Level.A,
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="TAG", help="As `jail check` names it; else by the file.")
    ] = "",
    function: Annotated[
        str, typer.Option("--function", metavar="NAME", help="Of a Python source: what is called.")
    ] = "",
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            help="Of its input: bytes (one argument) or json (an array of them).",
            show_default="bytes",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="How it ended and what it used, as JSON on standard error.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="The same, into a file.")
    ] = None,
) -> None:
    r"""Run PROGRAM in the jail on this command's own standard streams.

    The exit status is the program's, or 128 and the signal that ended it; 125 if the jail failed.
    Ctrl-C ends it, Ctrl-\ sends it SIGQUIT ("finish, please"), Ctrl-Z freezes it until `fg`.
    """
    try:
        if report_file is not None:
            _try_to_write(report_file)
        text = program.read_bytes()
        limits = Limits(
            memory_mb=_mebibytes(memory),
            threads=threads,
            wall_s=wall,
            warn_s=warn,
            cpu_s=cpu_time,
            nice=nice,
            idle=idle,
            cpus=_choose_cpus(cpus),
        )
        report = probe(at_most)
        offered = runtimes(report)
        if not offered:
            raise JailError(f"nothing can be run here: {report.missing()}")
        chosen = _choose(offered, runtime or _recognise(program, text), report)
        if chosen.tag.startswith("python/"):
            if not function:
                raise JailError(f"{program} is a Python source: name its --function, whose input is stdin")
            if arguments:
                raise JailError(f"{program} is a Python source: its --function gets its arguments by stdin")
            if encoding not in (None, "bytes", "json"):
                raise JailError(f"--encoding is {encoding!r}: must be bytes or json")
            words = [function, encoding or "bytes"]
        elif function or encoding:
            raise JailError(f"--function and --encoding are for Python; {program} is run as {chosen.tag}")
        else:
            words = [str(program), *(arguments or [])]
        ended, status = asyncio.run(_run(chosen, text, words, limits, report))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except JailError as error:
        _fail(str(error))
    except ValueError as error:
        _fail(_in_options(str(error)))
    if as_json:
        print(json.dumps(ended), file=sys.stderr)
    elif ended["status"] is None:
        print(f"jail: {ended['why']}", file=sys.stderr)
    if report_file is not None:
        try:
            report_file.write_text(json.dumps(ended) + "\n")
        except OSError as error:
            _fail(f"--report is {str(report_file)!r}: {error.strerror}")
    raise typer.Exit(status)


def _try_to_write(report_file: Path) -> None:
    """Learn that the report cannot be written before the program has run."""
    try:
        with report_file.open("a"):
            pass
    except OSError as error:
        raise JailError(f"--report is {str(report_file)!r}: {error.strerror}; name a file to write") from None


async def _run(
    runtime: Runtime, program: bytes, arguments: list[str], limits: Limits, report: Report
) -> tuple[dict[str, Any], int]:
    begun = time.monotonic()
    try:
        ended, status = await in_foreground(await runtime.start(program, arguments, limits))
    finally:
        await runtime.close()
    about = {"runtime": runtime.tag, "level": report.level, "wall_s": round(time.monotonic() - begun, 6)}
    return about | asdict(ended), FAILED if ended.status is None and ended.signal is None else status


def _choose_cpus(count: int | None) -> tuple[int, ...]:
    """Some of those that we may run on: others' jails are likely to have chosen others."""
    ours = sorted(os.sched_getaffinity(0))
    if count is None or count == len(ours):
        return ()
    if count > len(ours):
        raise JailError(f"--cpus is {count}: there are {len(ours)} here")
    return tuple(sorted(random.sample(ours, count)))


def _recognise(path: Path, program: bytes) -> str:
    """The beginning of the tag of what runs `program`."""
    if program.startswith(b"\x7fELF"):
        return "native/"
    if program.startswith(b"\0asm") or path.suffix == ".wasm":
        return "wasm/"
    if path.suffix == ".py":
        return "python/"
    raise JailError(f"{path} is no executable, no wasm module, and not named .py; --runtime says what it is")


def _choose(offered: list[Runtime], tag: str, report: Report) -> Runtime:
    for runtime in offered:
        if runtime.tag == tag or (tag.endswith("/") and runtime.tag.startswith(tag)):
            return runtime
    there = ", ".join(one.tag for one in offered)
    why = report.missing()  # below level B only wasm is run
    raise JailError(f"no runtime {tag.rstrip('/')} here: there are {there}" + (f"; {why}" if why else ""))


@app.command()
def check(at_most: AtMost = Level.A, as_json: AsJson = False) -> None:
    """Say which layers work here, why others do not and how to get them, and what can be run.

    Exit status 1 if nothing can.
    """
    try:
        report = probe(at_most)
        tags = [runtime.tag for runtime in runtimes(report)]
    except JailError as error:
        _fail(str(error))
    if as_json:
        layers = [asdict(layer) for layer in report.layers]
        print(json.dumps({"level": report.level, "layers": layers, "runtimes": tags}))
    else:
        table = Table("layer", "works", "what it does, or why not and how to get it", box=None)
        for layer in report.layers:
            table.add_row(layer.name, "yes" if layer.works else "no", layer.why)
        console = Console(highlight=False)
        console.print(table)
        console.print(f"level: {report.level or 'none'}; runtimes: {', '.join(tags) or 'none'}", markup=False)
    if not tags:
        raise typer.Exit(1)


@app.command()
def bench(
    cpus: Annotated[
        int | None, typer.Option("--cpus", metavar="N", min=1, help="On how many CPUs at once; else on all.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.05, max=600, help="For so long in each runtime.")
    ] = SECONDS,
    nice: Annotated[
        int, typer.Option("--nice", min=0, max=39, help="How far to stand back for other programs.")
    ] = 0,
    at_most: AtMost = Level.A,
    as_json: AsJson = False,
) -> None:
    """Measure what a jailed program gets from this machine's CPUs: mips and mflops, native and wasm.

    A copy runs on each CPU, all at once; the slowest counts. docs/benchmark.md defines the numbers.
    """
    try:
        report = probe(at_most)
        chosen = _choose_cpus(cpus) or sorted(os.sched_getaffinity(0))
        scores = asyncio.run(_bench(report, chosen, seconds, nice))
    except (BenchmarkError, JailError) as error:
        _fail(str(error))
    if as_json:
        about = {"level": report.level, "seconds": seconds, "scores": [asdict(score) for score in scores]}
        print(json.dumps(about))
        return
    table = Table("", *(score.runtime for score in scores), box=None)
    rows = [{**score.kernels, "mips": score.mips, "mflops": score.mflops} for score in scores]
    for name in rows[0]:
        table.add_row(name, *(f"{row[name]:,}" for row in rows))
    console = Console(highlight=False)
    console.print(table)
    for score in scores:
        console.print(f"{score.runtime}: {score.copies} at once, had {score.cpu_percent}% of their CPUs")


async def _bench(report: Report, cpus: Sequence[int], seconds: float, nice: int) -> list[Score]:
    offered = runtimes(report)
    scores = []
    try:
        if not (found := measurable(offered)):
            raise JailError(f"nothing can be measured here: {report.missing() or 'no runtime for it'}")
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for runtime in found:
                told = _bar(progress, runtime.tag)
                scores.append(await measure(runtime, cpus, seconds=seconds, nice=nice, progress=told))
    finally:
        for runtime in offered:
            await runtime.close()
    return scores


def _bar(progress: Progress, name: str) -> Callable[[int, int], None]:
    line = progress.add_task(name)
    return lambda done, of: progress.update(line, completed=done, total=of)
