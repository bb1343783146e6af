"""All metadata is in pyproject.toml; this only decides whether to compile csrc/."""

import os
import shutil
import sysconfig

from setuptools import setup

compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
header = os.path.join(sysconfig.get_path("include"), "Python.h")
can_compile = shutil.which(compiler) is not None and os.path.exists(header)

# Without a compiler the install still works, on the Numba kernels and NumPy alone. With one, a C
# error is always an error: never a silent fallback or a stale .so. SPARING_REQUIRE_NATIVE=1 (CI)
# compiles or fails, whatever was found.
setup(
    cffi_modules=["csrc/cffi_build.py:ffibuilder"]
    if can_compile or os.environ.get("SPARING_REQUIRE_NATIVE")
    else [],
)
