"""The jail's speed: starts beside bubblewrap and no jail, compute, scores, what a thousand starts leave.

Compilers and bubblewrap come by `make toolchains`; what is not there is said on the terminal and left out.
The suite takes some minutes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.jail_compute import compute
from bench.jail_scores import scores
from bench.jail_start import leaks, start
from bench.log_findings import Findings

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("work", [start, leaks, compute, scores])
def test_jail(benchmark: BenchmarkFixture, work: Callable[[], Coroutine[Any, Any, Findings]]) -> None:
    found: Findings = benchmark.pedantic(lambda: asyncio.run(work()), rounds=1)
    benchmark.extra_info["figures"] = found.figures
    benchmark.extra_info["tables"] = found.tables
