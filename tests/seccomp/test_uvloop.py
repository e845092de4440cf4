"""The same on uvloop, which watches descriptors in its own way."""

import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from seccomp import InputClosedError
from tests.seccomp.processes import named, state, until_async
from tests.seccomp.running import LIMITS, compile_static, run, runtime_at

CAT = r"""
#include <unistd.h>
static char data[65536];
int main(int count, char **values) {
    long length;
    if (count > 1) close(0);
    while ((length = read(0, data, sizeof data)) > 0) write(1, data, length);
    if (count > 1) for (;;) sleep(1);
    return 0;
}"""


def test_on_uvloop(tmp_path: Path) -> None:
    program = compile_static(CAT, tmp_path / "cat")
    data = os.urandom(1 << 20)

    async def go() -> None:
        async with runtime_at("A") as runtime:
            assert (await run(runtime, program, ["cat"], data)).stdout == data

            running = await runtime.start(program, ["frozen", "closes"], LIMITS)
            with pytest.raises(InputClosedError):
                await asyncio.wait_for(running.write(data), 30)
            pid = named("frozen")
            running.freeze()
            await until_async(lambda: state(pid) == "T", "it is stopped")
            running.kill()
            assert (await asyncio.wait_for(running.wait(), 30)).why == "killed by its keeper"
            running.close()

            reads = await runtime.start(program, ["reads"], LIMITS)
            reading = asyncio.create_task(reads.read_stdout(10))
            await asyncio.sleep(0.05)
            await reads.write(b"late")
            assert await asyncio.wait_for(reading, 30) == b"late"
            reading = asyncio.create_task(reads.read_stdout(10))
            await asyncio.sleep(0.05)
            reads.close()
            assert await asyncio.wait_for(reading, 30) == b""

    uvloop.run(go())
