"""A node measures its machine, keeps what it measured, and offers that or less (R23, R24)."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from seccomp import probe, runtimes
from seccomp.benchmark import BenchmarkError, Score
from seller_node.measurement import FILE, Measuring
from seller_node.place import PlaceTakenError
from seller_node.profile import BadOfferError, Profile

SCORE = Score("native/x86_64-linux", 1, 1500, 2500, {}, 99)
PROFILE = Profile("m", 1, 64, 3, ())


def test_what_was_measured_is_kept_until_something_changes(tmp_path: Path) -> None:
    report = probe()
    if report.missing():
        pytest.skip(f"no program can be run here: {report.missing()}")
    lines: list[str] = []

    async def test() -> None:
        found = runtimes(report)
        pythons = [runtime for runtime in found if runtime.tag.startswith("python/")]

        async def score(measuring: Measuring, profile: Profile = PROFILE, *, keep: bool = True) -> Score:
            lines.clear()
            return await measuring.score(profile, found, lines.append, keep=keep)

        try:
            measuring = Measuring(tmp_path, seconds=0.05)
            await score(measuring, keep=False)
            assert "measuring 1 CPU," in lines[0] and not (tmp_path / FILE).exists()
            first = await score(measuring)
            assert "measuring" in lines[0] and first.mips > 0 and first.mflops > 0
            assert await score(measuring) == first and "measured before" in lines[0]
            two = await score(measuring, replace(PROFILE, cpus=2), keep=False)
            assert "measuring 2 CPUs" in lines[0] and two.copies == 2
            await score(replace(measuring, anew=True))
            assert "measuring" in lines[0]
            whole = (tmp_path / FILE).read_bytes()
            for damaged in (whole[:-9], whole.replace(b'"mips":', b'"mips":0.'), b"[]"):
                (tmp_path / FILE).write_bytes(damaged)
                await score(measuring)
                assert "measuring" in lines[0], damaged
            with pytest.raises(PlaceTakenError, match="--state"):
                await score(replace(measuring, directory=tmp_path / "none"))
            with pytest.raises(BenchmarkError, match="no runtime"):
                await measuring.score(PROFILE, pythons, lines.append, keep=True)
        finally:
            for runtime in found:
                await runtime.close()

    asyncio.run(test())


def test_R24_less_may_be_offered_and_never_more(tmp_path: Path) -> None:
    measured = Measuring(tmp_path).offer(PROFILE, SCORE)
    assert (measured.mips, measured.mflops) == (1500, 2500)
    assert measured.body()["numbers"] == {"memory_mb": 64, "jail": 3, "mips": 1500, "mflops": 2500}
    less = Measuring(tmp_path, mips=1000, mflops=0).offer(PROFILE, SCORE)
    assert (less.mips, less.mflops) == (1000, 0)
    with pytest.raises(BadOfferError, match=r"--mflops 2501: 2500 were measured; .* \(R24\)"):
        Measuring(tmp_path, mflops=2501).offer(PROFILE, SCORE)
