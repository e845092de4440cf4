"""Builds the compiled parts: book and signatures (Cython), the jail (C). All else stands in pyproject.toml.

COREHOUR_STRICT=1 turns every warning of Cython and of the compiler into an error; `make test` sets it,
a user's installation never does. COREHOUR_SANITIZE=1 has the book watch itself for errors of memory and for
undefined behaviour; `make sanitize` builds it so, apart from the other one.
"""

import os
from glob import glob

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

STRICT = os.environ.get("COREHOUR_STRICT") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g"]
SANITIZE = SANITIZERS if os.environ.get("COREHOUR_SANITIZE") == "1" else []
C_FLAGS = ["-O2", "-g0", "-std=c11", "-Wall", "-Wextra"] + (["-Werror"] if STRICT else [])
# Cython's own loops compare int32_t with size_t, and it warns of code that it knows to be unreachable.
CYTHON_FLAGS = ["-O3", "-g0", "-Wall", "-Wno-unreachable-code", "-Wno-sign-compare"] + (
    ["-Werror"] if STRICT else []
)

Options.warning_errors = STRICT

setup(
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
