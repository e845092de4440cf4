"""What the system tests need: a seed that can be given again, and programs that burn known work."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import seccomp
from tests.system.traded import trade

DEFAULT_SEED = 20261124

# Reads "start steps", makes so many steps of a linear congruence, prints where it came to.
WALK = """
#include <stdio.h>
int main(void) {
    unsigned long x, n;
    if (scanf("%lu %lu", &x, &n) != 2) return 2;
    while (n--) x = x * 6364136223846793005UL + 1442695040888963407UL;
    printf("%lu\\n", x);
    return 0;
}
"""


def walked(x: int, n: int) -> int:
    """What WALK prints, in O(log n): steps composed by squaring."""
    a, c = 6364136223846793005, 1442695040888963407
    while n:
        if n & 1:
            x = (x * a + c) % 2**64
        a, c, n = a * a % 2**64, c * (a + 1) % 2**64, n >> 1
    return x


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """COREHOUR_SEED, else a fixed one; a test that fails shows how to run it again."""
    number = int(os.environ.get("COREHOUR_SEED", DEFAULT_SEED))
    print(f"to repeat: COREHOUR_SEED={number} python -m pytest '{request.node.nodeid}'")
    return number


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """The program WALK; skips where no program can be run in a jail."""
    missing = seccomp.probe().missing()
    if missing:
        pytest.skip(f"no program can be run here: {missing}")
    path = tmp_path / "walk"
    path.with_suffix(".c").write_text(WALK)
    subprocess.run(["cc", "-static", "-O1", "-o", path, path.with_suffix(".c")], check=True)
    return path


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a market that had an hour, and is over."""
    data = tmp_path_factory.mktemp("honest") / "market"
    asyncio.run(trade(data))
    return data


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest market's data."""
    return Path(shutil.copytree(honest, tmp_path / "copy"))
