"""What is seen of a machine's use, on a machine made of files."""

import os
import time
from pathlib import Path

import pytest

from seller_node.profile import BadOfferError
from seller_node.watching import START_S, TICK_S, Watching


class Machine:
    """Files as in /proc and /dev."""

    def __init__(self, root: Path) -> None:
        self.root, self.me = root, os.getpid()
        self.busy(0)
        self.process(self.me, 0, [])
        (root / "proc/self").symlink_to(str(self.me))

    def write(self, name: str, text: str) -> Path:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def busy(self, ticks: int) -> None:
        self.write("proc/stat", f"cpu  {ticks} 0 0 999 999 0 0 999 0 0\ncpu0 0\n")

    def process(self, pid: int, ticks: int, children: list[int]) -> None:
        self.write(f"proc/{pid}/stat", f"{pid} (a ) b) S 1" + " 0" * 9 + f" {ticks} 0 0 0\n")
        self.write(f"proc/{pid}/task/{pid}/children", "".join(f"{child} " for child in children))


def test_what_is_sold_is_not_the_use_of_others(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    watching = Watching(tmp_path)
    machine.busy(1000)
    assert watching.others_s(0, 0) == pytest.approx(1000 * TICK_S)
    # 300 ticks of ours, down the tree; 200 of others.
    machine.busy(1500)
    machine.process(machine.me, 100, [2_000_001])
    machine.process(2_000_001, 0, [2_000_002])
    machine.process(2_000_002, 200, [])
    assert watching.others_s(0, 0) == pytest.approx(1200 * TICK_S)
    # The program ends: before that is told, and after.
    machine.process(2_000_001, 0, [2_000_002])
    (tmp_path / "proc/2000002/stat").unlink()
    assert watching.others_s(0, 0) == pytest.approx(1200 * TICK_S)
    assert watching.others_s(200 * TICK_S, 0) == pytest.approx(1200 * TICK_S)
    machine.busy(1510)
    assert watching.others_s(210 * TICK_S, 0) == pytest.approx(1200 * TICK_S)
    assert watching.others_s(210 * TICK_S, 5) == pytest.approx(1200 * TICK_S - 5 * START_S)


def test_people_at_terminals_keyboards_and_mice(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    watching = Watching(tmp_path)
    assert watching.sources() == []
    assert watching.touched() is None
    terminal = machine.write("dev/pts/3", "")
    os.utime(terminal, (time.time() - 1000, 0))
    machine.write("dev/pts/ptmx", "")
    first = watching.touched()
    assert first is not None and first <= time.monotonic() - 999
    assert watching.sources() == ["terminals"]
    # A keyboard with an interrupt of its own.
    machine.write("proc/interrupts", "   CPU0 CPU1\n  1:  5  7  IO-APIC  1-edge  i8042\n  9: 3 3 acpi\n")
    watching = Watching(tmp_path)
    assert watching.sources() == ["terminals", "the keyboard's interrupts"]
    assert watching.touched() == pytest.approx(first, abs=100)
    before = time.monotonic()
    machine.write("proc/interrupts", "   CPU0 CPU1\n  1:  5  8  IO-APIC  1-edge  i8042\n  9: 3 3 acpi\n")
    now = watching.touched()
    assert now is not None and now >= before
    assert watching.touched() == now


def test_a_keyboard_is_asked_and_never_read(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    listed = (
        'N: Name="a keyboard"\nH: Handlers=sysrq kbd event3 leds \n\n'
        'N: Name="a lid"\nH: Handlers=event0 \n\nN: Name="gone"\nH: Handlers=mouse0 event7 \n'
    )
    machine.write("proc/bus/input/devices", listed)
    (tmp_path / "dev/input").mkdir(parents=True)
    os.mkfifo(tmp_path / "dev/input/event3")
    os.mkfifo(tmp_path / "dev/input/event0")
    watching = Watching(tmp_path)
    writer = os.open(tmp_path / "dev/input/event3", os.O_WRONLY | os.O_NONBLOCK)
    other = os.open(tmp_path / "dev/input/event0", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert watching.sources() == ["keyboard and mouse"]
        assert watching.touched() is None
        os.write(other, b"shut")
        assert watching.touched() is None
        before = time.monotonic()
        os.write(writer, b"secret")
        now = watching.touched()
        assert now is not None and now >= before
    finally:
        watching.close()
        os.close(writer)
        os.close(other)


def test_logind_is_asked_where_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "run/systemd/seats").mkdir(parents=True)
    command = machine.write("bin/loginctl", "#!/bin/sh\necho no\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    before = time.monotonic()
    watching = Watching(tmp_path)
    assert watching.sources() == ["logind"]
    now = watching.touched()
    assert now is not None and now >= before
    assert watching.touched() == now  # it is not asked all the time
    command.write_text("#!/bin/sh\necho yes\n")
    assert Watching(tmp_path).touched() is None
    command.write_text("#!/bin/sh\nexit 1\n")
    assert Watching(tmp_path).sources() == []


def test_a_kernel_that_does_not_tell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOfferError, match="--hours"):
        Watching(tmp_path)


def test_this_machine_can_be_watched() -> None:
    watching = Watching()
    try:
        assert watching.others_s(0, 0) > 0
        touched = watching.touched()
        assert touched is None or touched <= time.monotonic()
    finally:
        watching.close()
