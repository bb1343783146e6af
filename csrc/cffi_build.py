"""Describe the C API to cffi. setup.py builds `ffibuilder` into kernels/_native."""

import os
from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")  # builds always run from the repository root
EXTRA = os.environ.get("SPARING_CFLAGS", "").split()  # sanitizers, coverage, -Werror
# Nobody reads floating-point exceptions; without them loops that choose become vectors. No result
# changes.
FLOATS = ["-fno-trapping-math", "-ffp-contract=off"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Wstrict-prototypes"]

ffibuilder = FFI()
ffibuilder.cdef((CSRC / "sparing.h").read_text())
ffibuilder.set_source(
    "sparing.kernels._native",
    '#include "internal.h"',
    sources=sorted(str(path) for path in CSRC.rglob("*.c") if not path.name.startswith("test_")),
    depends=sorted(str(path) for path in [*CSRC.rglob("*.h"), *CSRC.rglob("*.def")]),
    include_dirs=[str(CSRC)],
    # -ffp-contract=off stands last: a fused multiply-add anywhere would change integer results.
    extra_compile_args=["-O3", "-std=gnu11", "-pthread", *WARNINGS, *EXTRA, *FLOATS],
    extra_link_args=["-pthread", "-lm", *EXTRA],
)
