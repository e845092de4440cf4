"""Brings what toolchains.py looks for, from Debian's packages, without root: `make toolchains`.

Packages are resolved against what the system has installed, so what it has is not brought again. Nothing
outside of build/toolchains/ is written.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.seccomp.toolchains import COMPILERS, HOME, MUSL_SPECS, TREE, MissingToolError, bubblewrap

PACKAGES = [
    "g++", "musl-tools", "golang-go", "rustc", "libstd-rust-dev", "libstd-rust-dev-wasm32", "clang", "lld",
    "wasi-libc", "libclang-rt-dev-wasm32", "bubblewrap",
]  # fmt: skip
APT = HOME / "apt"
NOT_DEBIAN = (
    "make toolchains takes Debian's packages, and there is no {} here: install musl-gcc, go, rustc, clang, "
    "wasm-ld, wasi-libc and bwrap by this system's own means; tests find them on the PATH"
)


def missing() -> list[str]:
    """Why what cannot be had cannot, a line for each."""
    checks: list[Callable[[], object]] = [*COMPILERS.values(), bubblewrap]
    found = []
    for check in checks:
        try:
            check()
        except MissingToolError as error:
            found.append(str(error))
    return found


def apt(command: str, *arguments: str, quiet: bool = False) -> "subprocess.CompletedProcess[bytes]":
    """Run apt-get or apt-cache with lists and downloads of our own; it needs no root for that."""
    for folder in ("lists/partial", "archives/partial"):
        (APT / folder).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::Lists": APT / "lists",
        "Dir::Cache": APT,
        "Dir::Cache::archives": APT / "archives",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",  # root may be unable to hand our folders to anybody else
    }
    settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return subprocess.run([command, "-q", *settings, *arguments], capture_output=quiet, check=False)


def download() -> list[Path]:
    """Download the packages and all they need beyond what is installed."""
    print("looking up packages ...", flush=True)
    if apt("apt-get", "update").returncode != 0:
        raise SystemExit("error: apt-get update failed: see above; is there a network?")
    offered = [name for name in PACKAGES if apt("apt-cache", "show", name, quiet=True).returncode == 0]
    for name in sorted(set(PACKAGES) - set(offered)):
        print(f"{name}: no such package here; left out")
    if apt("apt-get", "install", "--yes", "--download-only", "--no-install-recommends", *offered).returncode:
        raise SystemExit("error: apt-get could not download the packages: see above")
    return sorted((APT / "archives").glob("*.deb"))


def unpack(packages: list[Path]) -> None:
    """Unpack into a fresh tree, which takes its place when it is whole."""
    fresh = HOME / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for count, package in enumerate(packages, 1):
        name = package.name.split("_")[0]
        print(f"unpacking {count}/{len(packages)} {name}", flush=True)
        if name != "libc6":  # beside the running system's it could be no good
            subprocess.run(["dpkg-deb", "-x", str(package), str(fresh)], check=True)
    shutil.rmtree(TREE, ignore_errors=True)
    fresh.rename(TREE)
    MUSL_SPECS.unlink(missing_ok=True)
    specs = TREE / "usr/lib/x86_64-linux-musl/musl-gcc.specs"
    if specs.exists():  # it names its files by absolute paths
        text = specs.read_text()
        for folder in ("include", "lib"):
            text = text.replace(f"/usr/{folder}/x86_64-linux-musl", f"{TREE}/usr/{folder}/x86_64-linux-musl")
        MUSL_SPECS.write_text(text)
    shutil.rmtree(APT)


def main() -> int:
    """Exit status 0 if all is there, 1 with one line for each that is not."""
    if not missing():
        print(f"everything is there; what was brought is in {os.path.relpath(HOME)}")
        return 0
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            print(f"error: {NOT_DEBIAN.format(program)}", file=sys.stderr)
            return 1
    unpack(download())
    left = missing()
    for line in left:
        print(f"error: {line.removesuffix('; run make toolchains')}", file=sys.stderr)
    if not left:
        print(f"everything is there now, in {os.path.relpath(HOME)}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
