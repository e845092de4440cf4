"""The trial of the runtimes before anything is offered."""

import asyncio
import importlib.metadata

import pytest

from seccomp import JailError, probe, runtimes
from seccomp.native import find_fault
from seller_node import trial


def test_every_runtime_is_tried_and_one_that_fails_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    report = probe()
    if report.missing():
        pytest.skip(f"no program can be run here: {report.missing()}")

    async def test() -> None:
        found = runtimes(report)
        try:
            await trial.try_all(found)
            monkeypatch.setattr(trial, "SOURCE", b"def work(data):\n    raise ValueError('broken here')\n")
            with pytest.raises(JailError, match=r"python/3.*exited with 1.*broken here") as failure:
                await trial.try_all(found)
            assert "Traceback" in str(failure.value)
            monkeypatch.setattr(trial, "_CODE", b"\x0f\x0b")  # ud2
            with pytest.raises(JailError, match=r"native/x86_64-linux.*SIGILL"):
                await trial.try_all(found[:1])
        finally:
            for runtime in found:
                await runtime.close()

    asyncio.run(test())


def test_what_python_programs_find_is_told_as_flags() -> None:
    report = probe()
    if report.missing():
        pytest.skip(f"no program can be run here: {report.missing()}")

    async def test() -> None:
        found = runtimes(report)
        try:
            flags = await trial.try_all(found)
        finally:
            for runtime in found:
                await runtime.close()
        here = ".".join(importlib.metadata.version("numpy").split(".")[:2])
        assert flags == {f"numpy/{here}"} | {runtime.tag for runtime in found}

    asyncio.run(test())
    assert trial.package_flags({"A": "2.2.6", "b": "10.0rc1", "c": "unknown", "d d": "1.0"}) == {
        "a/2.2",
        "b/10.0",
    }


def test_the_smallest_executable_is_one() -> None:
    assert find_fault(trial.smallest_executable()) == ""
    assert len(trial.smallest_executable()) < 200
