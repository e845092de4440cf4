"""Builds what the book's benchmarks need in C, on demand, under build/bench/."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"


def compiler() -> list[str]:
    """The compiler of the project's own extensions."""
    return (os.environ.get("CC") or "cc").split()


def is_fresh(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime > source.stat().st_mtime


def compile_shared(source: Path, made: Path, *options: str) -> None:
    """Compile one C file to a shared object."""
    command = [*compiler(), "-O3", "-std=c11", "-shared", "-fPIC", *options, str(source), "-o", str(made)]
    subprocess.run(command, check=True)


def ladder() -> ctypes.CDLL:
    """The hand-written ladder."""
    source, made = HERE / "book_ladder.c", BUILD / "ladder.so"
    BUILD.mkdir(parents=True, exist_ok=True)
    if not is_fresh(made, source):
        compile_shared(source, made, "-Wall", "-Wextra", "-Werror")
    library = ctypes.CDLL(str(made))
    library.ladder_new.argtypes, library.ladder_new.restype = [ctypes.c_uint32], ctypes.c_void_p
    library.ladder_free.argtypes, library.ladder_free.restype = [ctypes.c_void_p], None
    for function in (library.ladder_apply, library.ladder_answer):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
        function.restype = ctypes.c_int64
    return library


def empty_calls() -> Any:
    """An object whose `bid`, `ask` and `cancel` take a book's arguments and do nothing."""
    source = HERE / "book_empty.pyx"
    BUILD.mkdir(parents=True, exist_ok=True)
    pyx, made = BUILD / source.name, BUILD / f"book_empty{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not is_fresh(made, source):
        shutil.copy(source, pyx)
        subprocess.run([sys.executable, "-m", "cython", "-3", str(pyx)], check=True)
        compile_shared(pyx.with_suffix(".c"), made, f"-I{sysconfig.get_path('include')}")
    spec = importlib.util.spec_from_file_location("book_empty", made)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Empty()
