"""Builds the compiled parts: book and signatures (Cython), the jail and the benchmark's program (C). All else
stands in pyproject.toml.

COREHOUR_STRICT=1 turns every warning of Cython and of the compiler into an error; `make test` sets it,
a user's installation never does. COREHOUR_SANITIZE=1 has the book watch itself for errors of memory and for
undefined behaviour; `make sanitize` builds it so, apart from the other one.
"""

import os
import shlex
import subprocess
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

STRICT = os.environ.get("COREHOUR_STRICT") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g"]
SANITIZE = SANITIZERS if os.environ.get("COREHOUR_SANITIZE") == "1" else []
C_FLAGS = ["-O2", "-g0", "-std=c11", "-Wall", "-Wextra"] + (["-Werror"] if STRICT else [])
# Cython's own loops compare int32_t with size_t, and it warns of code that it knows to be unreachable.
CYTHON_FLAGS = ["-O3", "-g0", "-Wall", "-Wno-unreachable-code", "-Wno-sign-compare"] + (
    ["-Werror"] if STRICT else []
)

PROGRAM = "seccomp/benchmark/kernels.elf"
PROGRAM_FLAGS = ["-O2", "-static", "-ffp-contract=off", "-std=gnu11", "-Wall", "-Wextra"] + (
    ["-Werror"] if STRICT else []
)

Options.warning_errors = STRICT


class BuildAll(build_ext):
    """The extensions, and the benchmark's program: a static executable that is run in the jail."""

    def run(self):
        super().run()
        source = Path(PROGRAM).with_suffix(".c")
        target = Path(PROGRAM) if self.inplace else Path(self.build_lib, PROGRAM)
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        try:
            subprocess.run([*compiler, *PROGRAM_FLAGS, "-s", "-o", target, source], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(
                f"{PROGRAM}: {error}; a C compiler and the static C library are needed "
                "(Debian: apt install gcc libc6-dev)"
            ) from None

    def get_outputs(self):
        return [*super().get_outputs(), str(Path(self.build_lib, PROGRAM))]


setup(
    cmdclass={"build_ext": BuildAll},
    ext_modules=[
        Extension(
            "seccomp._jail",
            ["seccomp/_jail.c"],
            depends=sorted(glob("seccomp/*.h")),
            libraries=["dl"],
            extra_compile_args=C_FLAGS,
        ),
        *cythonize(
            [
                Extension(
                    "exchange._book",
                    ["exchange/_book.pyx"],
                    depends=sorted(glob("exchange/*.h")),
                    extra_compile_args=CYTHON_FLAGS + SANITIZE,
                    extra_link_args=SANITIZE[:1],
                ),
                Extension(
                    "exchange._signatures",
                    ["exchange/_signatures.pyx"],
                    extra_compile_args=CYTHON_FLAGS + SANITIZE,
                    extra_link_args=SANITIZE[:1],
                ),
            ],
            language_level=3,
            build_dir="build/cython",
            compiler_directives={"boundscheck": False, "wraparound": False, "cdivision": True},
        ),
    ],
)
