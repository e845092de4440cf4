"""What a jailed Python process does: read a source text, call one function of it, write the result.

All of `call` runs inside of the jail, with the buyer's source: nothing here may be trusted afterwards, and
nothing of it comes back but bytes on a pipe.
"""

import gc
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import linecache
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from seccomp import _jail

# There are no files in the jail: a module is imported before it closes, or never.
STANDARD = """
    abc argparse array ast base64 binascii bisect bz2 calendar cmath collections collections.abc contextlib
    copy csv dataclasses datetime decimal difflib enum fractions functools gzip hashlib heapq hmac inspect io
    itertools json locale logging lzma math numbers operator pickle pprint queue random re secrets statistics
    string struct tempfile textwrap threading time timeit tokenize types typing unicodedata uuid warnings zlib
    encodings.ascii encodings.cp1252 encodings.idna encodings.latin_1 encodings.utf_16 encodings.utf_32
"""
INSTALLED = ("numpy", "numpy.fft", "numpy.linalg", "numpy.polynomial", "numpy.random")  # where they are
FILE_NAME = "<program>"


def import_first() -> None:
    """Import, in the zygote, what programs may import later, and make the memory worth sharing."""
    for name in STANDARD.split():
        importlib.import_module(name)
    for name in INSTALLED:
        try:
            importlib.import_module(name)
        except ImportError:
            break  # this machine offers Python without it
    try:
        compile("this is wrong", FILE_NAME, "exec")
    except SyntaxError:
        traceback.format_exc()  # newer versions import some more for it
    gc.collect()
    gc.freeze()


def prepare() -> None:
    """In the keeper of one program, before that is there: take away what would only fail obscurely, and what
    all programs would otherwise share."""
    sys.argv = sys.orig_argv = ["program"]
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, _NoMoreModules()]
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()  # or every program would draw the same numbers


def call() -> NoReturn:
    """Call a function of the source on PROGRAM_FD with standard input, write the result, and exit.

    Before the source stands a line with the function's name and an encoding. The zygote must not see it: in
    its memory one buyer's words would be there for the next one to find.
    The encoding is `bytes` (one argument, all of the input; the result is bytes or str) or `json` (the input
    is one array, the arguments; the result is written as JSON). An exception: traceback on stderr, status 1.
    """
    status = 1
    try:
        # standard output carries the result alone; what is printed goes to standard error
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True
        )
        line, _, source = _read_all(_jail.PROGRAM_FD).partition(b"\n")
        os.close(_jail.PROGRAM_FD)
        name, encoding = line.decode().split(" ")
        result = _run(source, name, encoding)
        sys.stderr.flush()
        _write_all(1, result)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        _print_exception()
    finally:
        os._exit(status & 0xFF)


def _run(source: bytes, name: str, encoding: str) -> bytes:
    if encoding not in ("bytes", "json"):
        raise ValueError(f"encoding is {encoding!r}: must be bytes or json")
    text = source.decode()
    linecache.cache[FILE_NAME] = (len(text), None, text.splitlines(True), FILE_NAME)
    module = ModuleType("program")
    sys.modules["program"] = module
    exec(compile(text, FILE_NAME, "exec"), module.__dict__)  # noqa: S102 (this is what the jail is for)
    function = getattr(module, name, None)
    if not callable(function):
        raise NameError(f"the source has no function {name!r}")
    data = _read_all(0)
    if encoding == "json":
        arguments = json.loads(data)
        if not isinstance(arguments, list):
            raise TypeError(f"the input is a JSON {type(arguments).__name__}: must be an array of arguments")
        return json.dumps(function(*arguments)).encode()
    result = function(data)
    if isinstance(result, str):
        return result.encode()
    if not isinstance(result, bytes | bytearray | memoryview):
        raise TypeError(f"{name} returned {type(result).__name__}: must be bytes or str with encoding bytes")
    return bytes(result)


class _NoMoreModules(importlib.abc.MetaPathFinder):
    """Says clearly why an import fails."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Raise ModuleNotFoundError, always."""
        raise ModuleNotFoundError(
            f"no module {name!r} in the jail: it has no files, only modules imported before it closed",
            name=name,
        )


def _print_exception() -> None:
    """Print the exception with the frames of the program alone; if even that fails, say which it was."""
    kind, error, trace = sys.exc_info()
    assert kind is not None and error is not None
    try:
        told = traceback.TracebackException(kind, error, trace)
        _keep_own_frames(told)
        text = "".join(told.format())
        for directory in _own_directories():  # as in "cannot import name 'x' from 'json' (<path>)"
            text = text.replace(directory, "...")
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        os.write(2, f"{kind.__name__}\n".encode(errors="replace"))


def _keep_own_frames(told: traceback.TracebackException) -> None:
    """In an exception, and in all that it came from: nothing of this machine's files. O(exceptions)."""
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        if one := waiting.pop():
            own = [frame for frame in one.stack if frame.filename == FILE_NAME]
            one.stack = traceback.StackSummary.from_list(own)
            waiting += [one.__cause__, one.__context__, *(one.exceptions or [])]


def _own_directories() -> list[str]:
    """Where this machine has Python, numpy and us; the longest first."""
    files = (os.__file__, __file__, getattr(sys.modules.get("numpy"), "__file__", None))
    found = {os.path.dirname(file) for file in files if file} | {sys.prefix, sys.base_prefix}
    return sorted(found - {"", "/"}, key=len, reverse=True)


def _read_all(fd: int) -> bytes:
    pieces: list[bytes] = []
    while piece := os.read(fd, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
