"""What a machine offers (R24)."""

import os
from pathlib import Path

import pytest

from events.profile import FLAG
from events.requests import KINDS, check
from seller_node.place import Place, PlaceTakenError
from seller_node.profile import BadOfferError, cpu_flags, cpu_numbers, machine_name, memory_mb, offer


def make(**given: object) -> object:
    defaults: dict[str, object] = {
        "machine": "m1",
        "cpus": None,
        "memory": None,
        "more_cpus": False,
        "level": "A",
        "tags": ["native/x86_64-linux", "python/3.11"],
    }
    return offer(**(defaults | given))  # type: ignore[arg-type]


def test_the_whole_machine_is_a_request_that_the_market_takes() -> None:
    profile = offer(
        machine="m1", cpus=None, memory=None, more_cpus=False, level="B", tags=["native/x86_64-linux"]
    )
    assert profile.cpus == len(os.sched_getaffinity(0))
    assert profile.jail == 2
    assert profile.memory_mb * profile.cpus <= memory_mb()[0]
    assert {"x86_64", "native/x86_64-linux"} <= set(profile.flags)
    assert check(KINDS["machine"], {"session": 1, "number": 1, **profile.body()}) == ""


def test_less_is_fine_and_more_is_refused() -> None:
    has = len(cpu_numbers())
    small = offer(machine="m", cpus=1, memory=512, more_cpus=False, level="A", tags=[])
    assert (small.cpus, small.memory_mb) == (1, 512)
    with pytest.raises(BadOfferError, match=f"this machine has {has}.*R24"):
        make(cpus=has + 1)
    with pytest.raises(BadOfferError, match=r"this machine has \d+ MiB.*R24"):
        make(memory=2**31)
    with pytest.raises(BadOfferError, match="16 MiB each"):
        make(memory=15)
    shown = offer(machine="m", cpus=4 * has, memory=400 * has, more_cpus=True, level="A", tags=[])
    assert (shown.cpus, shown.memory_mb) == (4 * has, 100)


def test_memory_of_a_control_group_counts(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:  8388608 kB\nMemFree: 1 kB\nMemAvailable:  4194304 kB\n")
    assert memory_mb(proc, cgroups) == (4096, 8192)
    (cgroups / "a" / "b").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("1:cpu:/x\n0::/a/b\n")
    (cgroups / "a" / "b" / "memory.max").write_text("max\n")
    (cgroups / "a" / "memory.max").write_text(f"{6 << 30}\n")
    assert memory_mb(proc, cgroups) == (4096, 6144)
    (cgroups / "memory.max").write_text(f"{1 << 30}\n")
    assert memory_mb(proc, cgroups) == (1024, 1024)


def test_flags_are_those_of_cpuid(tmp_path: Path) -> None:
    import re

    assert all(re.fullmatch(FLAG, flag) for flag in cpu_flags())
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 ODD\nflags\t: later\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"x86_64", "fpu", "avx2"}


@pytest.mark.parametrize("name", ["client", "Upper", "-x", "a" * 33, "a b", "a.b"])
def test_names_that_the_market_does_not_take(name: str) -> None:
    with pytest.raises(BadOfferError, match="--name"):
        machine_name(name)
    assert machine_name("ok-1_x") == "ok-1_x"
    assert machine_name("")


def test_one_node_in_a_place(tmp_path: Path) -> None:
    place = Place(tmp_path / "state")
    assert place.holder() is None
    place.hold({"machine": "m1"})
    assert place.holder() == {"pid": os.getpid(), "machine": "m1", "offered": False}
    with pytest.raises(PlaceTakenError, match="runs with this state already"):
        Place(tmp_path / "state").hold({"machine": "m2"})
    assert place.holder() == {"pid": os.getpid(), "machine": "m1", "offered": False}
    place.release()
    assert place.holder() is None
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceTakenError, match="give --state"):
        Place(tmp_path / "file").hold({})
