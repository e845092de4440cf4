"""What is sent to sellers, looked at before it is sent: the program and its inputs."""

import ast
import glob
import importlib.metadata
import os
import re
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from buyer.job import BadJobError, Unit
from events.profile import FLAG

NATIVE = "native/x86_64-linux"
WASM = "wasm/wasi-p1"
ENCODINGS = ("bytes", "json")
_ELF = struct.Struct("<16sHHIQQQIHHHHHH")
_X86_64 = 62
_PT_INTERP = 3
_WASM, _MODULE = b"\0asm", b"\0asm\1\0\0\0"


def python_runtime() -> str:
    """The runtime tag of this interpreter."""
    return f"python/3.{sys.version_info.minor}"


def read_program(path: str) -> tuple[str, bytes]:
    """The runtime and the bytes of a program: a WebAssembly module, or else a static executable. Raises
    BadJobError where it is neither, before any money moves."""
    data = _read(path)
    if data[:4] != _WASM and not path.endswith(".wasm"):
        return NATIVE, _native(path, data)
    if data[:4] != _WASM:
        is_text = data.lstrip()[:7] == b"(module"
        hint = (
            "is the text of a module; assemble it, with wat2wasm" if is_text else "is no WebAssembly module"
        )
        raise BadJobError(f"program: {path} {hint}")
    if data[:8] != _MODULE:
        raise BadJobError(f"program: {path} is a component, or damaged; build a module, for wasm32-wasip1")
    return WASM, data


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadJobError(f"program: {path}: {error.strerror}") from error


def _native(path: str, data: bytes) -> bytes:
    """The bytes of a static executable. Raises BadJobError where they are none."""
    if not os.access(path, os.X_OK):
        raise BadJobError(f"program: {path} is not executable (put quotes around a pattern of --input)")
    if data[:4] != b"\x7fELF" or len(data) < _ELF.size:
        hint = "; a script cannot run in the jail" if data[:2] == b"#!" else ""
        raise BadJobError(f"program: {path} is no ELF executable{hint}")
    header = _ELF.unpack_from(data)
    if data[4] != 2 or data[5] != 1 or header[2] != _X86_64:
        raise BadJobError(f"program: {path} is not for x86_64 Linux")
    offset, size, count = header[5], header[9], header[10]
    for index in range(count):
        place_of = offset + index * size
        if place_of + 4 <= len(data) and struct.unpack_from("<I", data, place_of)[0] == _PT_INTERP:
            raise BadJobError(
                f"program: {path} is linked dynamically, and the jail has no libraries; link with -static"
            )
    return data


def read_python(spec: str) -> tuple[bytes, str]:
    """(source, function) of `FILE:FUNCTION`. Raises BadJobError; the file is parsed, never run."""
    file, sign, function = spec.rpartition(":")
    if not sign or not file or not function.isidentifier():
        raise BadJobError(f"--python: {spec!r} is not FILE:FUNCTION, as work.py:dither")
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        raise BadJobError(f"--python: {file}: {error.strerror}") from error
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        raise BadJobError(f"--python: {file} is no Python source: {error}") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body):
        raise BadJobError(f"--python: {file} has no function {function!r} at its top level")
    return source, function


def read_needs(words: list[str]) -> list[str]:
    """Packages as flags of a screen, `numpy/2.4` (R29). Raises BadJobError."""
    for word in words:
        if not re.fullmatch(r"[^/]+/[0-9]+\.[0-9]+", word) or not re.fullmatch(FLAG, word):
            name = re.split(r"[/=<>~! ]", word)[0]
            here = f"; here it is {flag}" if (flag := installed(name)) else ""
            raise BadJobError(f"--needs: {word[:60]!r} is no package with its version, as numpy/2.4{here}")
    return words


def unnamed_needs(source: bytes, needs: Iterable[str]) -> dict[str, str]:
    """What a source imports beside Python's own modules and `needs`: each package, with the flag of the
    version that is installed here, or "". The source is parsed, never run."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    named = {need.partition("/")[0] for need in needs}
    others = sorted(name for name in found - sys.stdlib_module_names if name.lower() not in named)
    return {name: installed(name) for name in others}


def installed(name: str) -> str:
    """The flag of the package that is installed here under a name, or "" where there is none."""
    try:
        version = importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    number = re.match(r"[0-9]+\.[0-9]+", version)
    return f"{name.lower()}/{number[0]}" if number else ""


def find_inputs(pattern: str) -> list[Unit]:
    """One unit for each file that matches, in the order of their names. Raises BadJobError."""
    paths = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    files = [path for path in paths if path.is_file()]
    if not files:
        raise BadJobError(f"--input: no file matches {pattern!r}")
    for path in files:
        if not os.access(path, os.R_OK):
            raise BadJobError(f"--input: {path} cannot be read")
    return [Unit(path.name, path) for path in files]


def check_output(path: Path) -> None:
    """That results can be written there. Raises BadJobError."""
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if path.exists() and not path.is_dir():
        raise BadJobError(f"--output: {path} is no directory")
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadJobError(f"--output: {nearest} is not writable")
