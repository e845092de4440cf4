"""Compilers and peers that only tests and benchmarks need: where they are, and how each compiles a file.

`make toolchains` (fetch_toolchains.py) unpacks them under build/toolchains/; what is not there is looked for
on the PATH. What is nowhere raises MissingToolError, whose text is the reason to skip.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
HOME = BUILD / "toolchains"
TREE = HOME / "tree"  # what the packages hold, as under /
MUSL_SPECS = HOME / "musl.specs"
ROOTS = (TREE / "usr", Path("/usr"))
SOURCE, TARGET = "<source>", "<target>"  # in a compiler's command line


class MissingToolError(LookupError):
    """A tool is not there. The text is one line: which, and how to get it."""


def tool(name: str, *, command: str) -> str:
    """The path of `command`; `name` is for people."""
    found = shutil.which(command, path=os.pathsep.join([str(TREE / "usr/bin"), os.environ.get("PATH", "")]))
    if found is None:
        raise MissingToolError(f"{name}: {command} is not there; run make toolchains")
    return found


def environment() -> dict[str, str]:
    """The environment in which the tools find each other."""
    paths = {"PATH": TREE / "usr/bin", "LD_LIBRARY_PATH": TREE / "usr/lib/x86_64-linux-gnu"}
    joined = {
        name: os.pathsep.join(filter(None, [str(path), os.environ.get(name)])) for name, path in paths.items()
    }
    go = {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(BUILD / "go-cache")}
    root = TREE / "usr/lib/go"
    if root.exists():
        go["GOROOT"] = str(root.resolve())
    return os.environ | joined | go


def _glibc() -> list[str]:
    return [tool("C", command="cc"), "-O2", "-static", "-pthread", "-o", TARGET, SOURCE]


def _musl() -> list[str]:
    if MUSL_SPECS.exists():
        return [tool("C", command="cc"), "-specs", str(MUSL_SPECS), "-O2", "-static", "-o", TARGET, SOURCE]
    return [tool("musl", command="musl-gcc"), "-O2", "-static", "-o", TARGET, SOURCE]


def _cpp() -> list[str]:
    return [tool("C++", command="g++"), "-O2", "-static", "-pthread", "-o", TARGET, SOURCE]


def _rust() -> list[str]:
    options = ["-O", "-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]
    return [tool("Rust", command="rustc"), *options, "-o", TARGET, SOURCE]


def _go() -> list[str]:
    return [tool("Go", command="go"), "build", "-o", TARGET, SOURCE]


def _wasm() -> list[str]:
    """C with SIMD: clang knows wasm wherever it is, but wasm's libraries are packages of their own."""
    libraries = [root for root in ROOTS if (root / "lib/wasm32-wasi/libc.a").exists()]
    builtins = [
        str(path)
        for root in ROOTS
        for path in sorted(root.glob("lib/llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a"))
    ]
    if not libraries or not builtins:
        raise MissingToolError("wasm: wasi-libc or clang's wasm32 builtins are missing; run make toolchains")
    clang, linker = tool("wasm", command="clang"), tool("wasm", command="wasm-ld")
    options = ["--target=wasm32-wasi", f"--sysroot={libraries[0]}", f"-fuse-ld={linker}", "-O2", "-msimd128"]
    return [clang, *options, "-nodefaultlibs", "-o", TARGET, SOURCE, "-lc", builtins[0]]


def _rust_wasm() -> list[str]:
    rustc, linker = tool("Rust", command="rustc"), tool("Rust for wasm", command="wasm-ld")
    target = ["--target", "wasm32-wasi"]
    shown = subprocess.run(
        [rustc, "--print", "target-libdir", *target],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode != 0 or not list(Path(shown.stdout.strip()).glob("libstd-*.rlib")):
        raise MissingToolError("Rust for wasm: its standard library is not there; run make toolchains")
    linking = ["-C", f"linker={linker}", "-C", "linker-flavor=wasm-ld", "-C", "strip=symbols"]
    return [rustc, "-O", *target, *linking, "-o", TARGET, SOURCE]


COMPILERS: dict[str, Callable[[], list[str]]] = {
    "glibc": _glibc,
    "musl": _musl,
    "c++": _cpp,
    "rust": _rust,
    "go": _go,
    "wasm": _wasm,
    "rust wasm": _rust_wasm,
}


def bubblewrap() -> str:
    """The path of another jail, to measure beside ours."""
    return tool("bubblewrap", command="bwrap")


def compiled(compiler: str, source: Path) -> Path:
    """The executable, static ELF or wasm, that `compiler` makes of `source`. It is kept under build/programs,
    named by what it was made of."""
    command = COMPILERS[compiler]()
    made_of = "\0".join([*command, str(source)]).encode() + source.read_bytes()
    target = BUILD / "programs" / f"{source.stem}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # rustc leaves pieces beside it
            fresh = Path(folder) / source.stem
            places = {SOURCE: str(source), TARGET: str(fresh)}
            done = subprocess.run(
                [places.get(part, part) for part in command],
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            fresh.replace(target)
    return target
