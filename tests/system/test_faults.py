"""A few of the faults that `make soak` tries by the hundred (tests/soak/rounds.py), in short rounds."""

import asyncio
from pathlib import Path

import pytest

from tests.soak.faults import play
from tests.soak.result import Result
from tests.soak.rounds import ROUNDS, SkippedError

ROUNDS_AT_ONCE = 5
SHORT = {  # kind: faults in the round
    "exchange-kill": 4,
    "damage": 2,
    "lost-tail": 1,
    "server-kill": 2,
    "projections-kill": 5,
    "pause": 1,
    "cut": 3,
    "disk-full": 1,
    "clock": 1,
}


@pytest.mark.timeout(300)
def test_nothing_is_lost(tmp_path: Path) -> None:
    assert set(SHORT) == set(ROUNDS)
    room = asyncio.Semaphore(ROUNDS_AT_ONCE)

    async def one(kind: str) -> Result | None:
        async with room:
            try:
                return await play(kind, 1, tmp_path / kind, SHORT[kind])
            except SkippedError as reason:
                print(f"{kind}: {reason}")
                return None
            except Exception as error:
                raise AssertionError(f"again: python -m tests.soak.faults --kind {kind} --seeds 1") from error

    async def all_kinds() -> list[Result | None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(kind)) for kind in SHORT]
        return [task.result() for task in tasks]

    for kind, result in zip(SHORT, asyncio.run(all_kinds()), strict=True):
        if result is None:
            assert kind == "disk-full"
        else:
            print(kind, dict(result.faults), dict(result.market))
            assert result.faults
