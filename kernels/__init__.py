"""Fast kernels of the fused operators: C (through cffi) and their Numba twins.

`registry.KERNELS` is the only list of what exists; plans, tests and benchmarks all read it.
"""

from __future__ import annotations

if __name__ != "sparing.kernels":
    raise ImportError("import this folder as sparing.kernels, after: pip install -e .")
