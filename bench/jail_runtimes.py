"""The runtimes of the jail, for its benchmarks."""

from __future__ import annotations

from functools import cache

from seccomp import JailError, Report, Runtime, probe, runtimes


@cache
def report_at(level: str) -> Report:
    """What works here up to `level`; JailError where that level cannot be had."""
    report = probe(level)
    if report.level != level:
        raise JailError(f"level {level} cannot be had here: {report.missing('A')}")
    return report


def runtime_at(level: str, kind: str) -> Runtime:
    """A fresh runtime of `kind` (native, python, wasm); JailError where there is none."""
    for runtime in runtimes(report_at(level)):
        if runtime.tag.startswith(f"{kind}/"):
            return runtime
    raise JailError(f"no runtime {kind} here at level {level}")
