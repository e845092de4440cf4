"""The demonstration's work: both programs compute the same pixels, and strips fit together again."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from console.demo.dither import dither
from console.demo.picture import (
    PictureError,
    compile_static,
    cut,
    function_source,
    join,
    pgm,
    photograph,
    pixels_of,
    png,
)

SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (33, 5), (64, 64)]


def random_picture(width: int, height: int, seed: int) -> bytes:
    """Noise, with the bytes that look like white space or a comment among it."""
    numbers = random.Random(seed)
    some = [numbers.choice((0, 9, 10, 13, 32, 35, 127, 128, 255, numbers.randrange(256)))]
    return pgm(
        width, height, bytes(numbers.choice((*some, numbers.randrange(256))) for _ in range(width * height))
    )


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (Debian: apt install gcc libc6-dev)")
    path = tmp_path_factory.mktemp("dither") / "dither"
    compile_static(path)
    return path


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("passes", [1, 3])
def test_executable_and_function_compute_the_same(
    executable: Path, width: int, height: int, passes: int
) -> None:
    module: dict[str, object] = {}
    exec(function_source(passes), module)
    function = module["dither"]
    assert callable(function)
    for seed in range(5):
        picture = random_picture(width, height, seed)
        native = subprocess.run([executable, str(passes)], input=picture, capture_output=True, check=True)
        assert native.stdout == function(picture) == dither(picture)
        assert set(pixels_of(native.stdout)[2]) <= {0, 255}


def test_dithering_keeps_the_brightness() -> None:
    for grey in (0, 40, 128, 200, 255):
        pixels = pixels_of(dither(pgm(60, 60, bytes([grey]) * 3600)))[2]
        assert abs(sum(pixels) / 3600 - grey) < 6


@pytest.mark.parametrize("passes", [[], ["0"], ["x"], ["1", "2"]])
def test_the_executable_refuses_bad_arguments(executable: Path, passes: list[str]) -> None:
    done = subprocess.run([executable, *passes], input=pgm(1, 1, b"a"), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    "picture",
    [
        b"",
        b"P5",
        b"P6\n1 1\n255\na",
        b"P5\n2 1\n255\na",
        b"P5\n1 1\n255\nab",
        b"P5\n0 0\n255\n",
        b"P5\n1 1\n9\na",
    ],
)
def test_bad_pictures_are_refused(executable: Path, picture: bytes) -> None:
    done = subprocess.run([executable, "1"], input=picture, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    with pytest.raises(PictureError):
        pixels_of(picture)


@pytest.mark.parametrize("rows", [1, 3, 7, 20, 50])
def test_strips_join_to_the_picture(rows: int) -> None:
    picture = random_picture(11, 20, rows)
    strips = cut(picture, rows)
    assert len(strips) == -(-20 // rows)
    assert join(strips) == picture


def test_strips_of_different_pictures_do_not_join() -> None:
    with pytest.raises(PictureError, match="equally wide"):
        join([pgm(1, 1, b"a"), pgm(2, 1, b"ab")])


def test_the_photograph_is_there() -> None:
    pytest.importorskip("matplotlib", reason="the photograph comes with matplotlib, of the extra `demo`")
    width, height, pixels = pixels_of(photograph())
    assert width * height == len(pixels)
    assert len(set(pixels)) > 100
    assert png(pgm(8, 1, bytes([0, 255] * 4))).startswith(b"\x89PNG")
