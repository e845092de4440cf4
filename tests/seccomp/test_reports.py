"""What a keeper reported is believed, whatever was on its way to the keeper."""

import asyncio
import os
import socket
import struct

import pytest

from seccomp import Exit, Limits, Program

REPORT = struct.Struct("=iiiiqq")
STARTED = REPORT.pack(ord("S"), 0, 0, 0, 0, 0)
ENDED = REPORT.pack(ord("E"), 0, 7 << 8, 0, 1234, 5678)


@pytest.mark.parametrize("commands", ["", "F", "FCQ", "K"])
@pytest.mark.parametrize("reports", [[STARTED, ENDED], [ENDED]], ids=["both", "end"])
def test_a_command_that_crosses_the_end_does_not_lose_how_it_ended(
    commands: str, reports: list[bytes]
) -> None:
    async def go() -> Exit:
        pipes = [os.pipe() for _ in range(3)]
        ours, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Program(pipes[0][1], pipes[1][0], pipes[2][0], ours, Limits(16))
        for report in reports:
            keepers.send(report)
        for letter in commands:
            {"F": program.freeze, "C": program.resume, "Q": program.quit, "K": program.kill}[letter]()
        keepers.close()
        async with asyncio.timeout(30):
            end = await program.wait()
        program.close()
        for fd in (pipes[0][0], pipes[1][1], pipes[2][1]):
            os.close(fd)
        return end

    assert asyncio.run(go()) == Exit(7, None, 1234, 5678, 0, 0, "exited with 7")


def test_a_keeper_that_is_gone_without_a_word_is_told_as_such() -> None:
    async def go() -> Exit:
        pipes = [os.pipe() for _ in range(3)]
        ours, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Program(pipes[0][1], pipes[1][0], pipes[2][0], ours, Limits(16))
        keepers.send(STARTED)
        program.freeze()
        keepers.close()
        async with asyncio.timeout(30):
            end = await program.wait()
        program.close()
        for fd in (pipes[0][0], pipes[1][1], pipes[2][1]):
            os.close(fd)
        return end

    assert asyncio.run(go()) == Exit(None, None, 0, 0, 0, 0, "its keeper was lost")
