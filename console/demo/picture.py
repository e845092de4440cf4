"""The work: a photograph, cut into strips that are dithered one by one, and put together again."""

import contextlib
import importlib.util
import io
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from console.demo.dither import dither

WIDTH, HEIGHT, ROWS = 1024, 1200, 30  # the photograph twice as large, in strips of so many rows
TRIAL_PASSES = 400
COMPILER_S = 60.0
SOURCE = Path(__file__).with_name("dither.c")
FUNCTION = Path(__file__).with_name("dither.py")


class PictureError(Exception):
    """The picture cannot be made; the text is one line and says what to do."""


class Work(NamedTuple):
    """The strips (PGM), their dithered twins computed here, and the CPU seconds that one pass over all
    strips takes as a function and as an executable."""

    strips: list[bytes]
    expected: list[bytes]
    function_s: float
    native_s: float


def pgm(width: int, height: int, pixels: bytes) -> bytes:
    """A greyscale picture, one byte a pixel, as PGM."""
    assert len(pixels) == width * height
    return b"P5\n%d %d\n255\n" % (width, height) + pixels


def pixels_of(picture: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels of a PGM as `pgm` writes it. Raises PictureError."""
    try:
        kind, size, most, pixels = picture.split(b"\n", 3)
        width, height = (int(number) for number in size.split())
    except ValueError:
        kind = most = pixels = b""
        width = height = 0
    if kind != b"P5" or most != b"255" or not pixels or len(pixels) != width * height:
        raise PictureError(f"a result is no PGM: {picture[:40]!r}")
    return width, height, pixels


def photograph() -> bytes:
    """The photograph that matplotlib ships, greyscale, enlarged, as PGM. Raises PictureError."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise PictureError("matplotlib, which brings the photograph, is not installed: make setup")
    path = Path(found.origin).parent / "mpl-data/sample_data/grace_hopper.jpg"
    try:
        with Image.open(path) as photo:
            grey = photo.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    except OSError as error:
        raise PictureError(f"{path}: {error}") from error
    return pgm(WIDTH, HEIGHT, grey.tobytes())


def cut(picture: bytes, rows: int) -> list[bytes]:
    """Strips of `rows` rows each, from the top; the last may have fewer."""
    width, _, pixels = pixels_of(picture)
    pieces = (pixels[start : start + width * rows] for start in range(0, len(pixels), width * rows))
    return [pgm(width, len(piece) // width, piece) for piece in pieces]


def join(strips: Sequence[bytes]) -> bytes:
    """The picture of which these are the strips. Raises PictureError."""
    parts = [pixels_of(strip) for strip in strips]
    width = parts[0][0]
    if any(part[0] != width for part in parts):
        raise PictureError("the strips are not equally wide")
    return pgm(width, sum(part[1] for part in parts), b"".join(part[2] for part in parts))


def png(picture: bytes) -> bytes:
    """A dithered PGM as PNG, black and white."""
    width, height, pixels = pixels_of(picture)
    file = io.BytesIO()
    Image.frombytes("L", (width, height), pixels).convert("1", dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def compile_static(executable: Path) -> None:
    """Make the static executable of dither.c. Raises PictureError."""
    command = [os.environ.get("CC") or "cc", "-O2", "-static", "-o", str(executable), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PictureError(f"{command[0]}: {error} (Debian: apt install gcc libc6-dev)") from error
    if done.returncode:
        raise PictureError(f"{' '.join(command)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")


def function_source(passes: int) -> bytes:
    """The text of dither.py, to make so many passes."""
    return FUNCTION.read_bytes() + b"\nPASSES = %d\n" % passes


def prepare(executable: Path) -> Work:
    """Cut the photograph, dither each strip here for the check, and measure. Raises PictureError."""
    strips = cut(photograph(), ROWS)
    began = time.thread_time()
    expected = [dither(strip) for strip in strips]
    function_s = time.thread_time() - began
    compile_static(executable)
    return Work(strips, expected, function_s, len(strips) * seconds_a_pass(executable, strips[0]))


def seconds_a_pass(executable: Path, strip: bytes) -> float:
    """CPU seconds of one pass over one strip, while every CPU that a job will use does the same.

    Raises PictureError.
    """
    command = [str(executable), str(TRIAL_PASSES)]
    before = _children_s()
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(cpus())
    ]
    for process in running:
        process.communicate(strip, timeout=COMPILER_S)
        if process.returncode:
            raise PictureError(f"{executable} ended with {process.returncode}")
    return max(1e-9, (_children_s() - before) / (len(running) * TRIAL_PASSES))


def cpus(most: int = 4) -> int:
    """How many CPUs a job of `most` can use at once on this machine, a control group's quota observed."""
    has = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        has = min(has, max(1, round(int(quota) / int(period))))
    return min(most, has)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
