"""Run a backend's kernels on all cases with arrays that touch unreadable pages.

Run by test_numeric_contract.py in a process of its own: a read or write outside an array ends it,
and the last line printed names the case.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from cases import CASES
from kernel_checks import forced_isa, isas_to_test, runs, thread_counts, to_layout

from sparing.kernels.registry import KERNELS
from sparing.kernels.step import Array, ArraySpec, Step

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ_WRITE = 0, 3


class Fenced:
    """Memory between two pages that cannot be read."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // PAGE) * PAGE
        self._map = mmap.mmap(-1, self.size + 2 * PAGE)
        self._raw = np.frombuffer(self._map, np.uint8)
        self._protect(PROT_NONE)

    def _protect(self, how: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (0, self.size + PAGE):
            address = ctypes.c_void_p(self._raw.ctypes.data + page)
            if libc.mprotect(address, ctypes.c_size_t(PAGE), how) != 0:
                raise OSError(ctypes.get_errno(), "mprotect failed")

    def place(self, spec: ArraySpec, at_end: bool) -> Array:
        """An array that ends where the second page begins, or begins where the first ends."""
        start = PAGE + (self.size - spec.nbytes if at_end else 0)
        return self._raw[start : start + spec.nbytes].view(spec.dtype).reshape(spec.shape)


def run(step: Step, inputs: list[Array], fences: list[Fenced], at_end: bool) -> None:
    places = [
        fence.place(spec, at_end)
        for fence, spec in zip(fences, (*step.inputs, step.output), strict=False)
    ]
    for place, x in zip(places, inputs, strict=False):
        place[...] = x
    step.run(places[: len(inputs)], places[len(inputs)])


def main(backend: str) -> None:
    fences = [Fenced(2**21) for _ in range(5)]
    count = 0
    for kernel in KERNELS:
        for case in CASES:
            if kernel.backend != backend or not runs(kernel, case):
                continue
            inputs = case.inputs()
            for isa in isas_to_test(kernel.backend):
                for layout in kernel.layouts:
                    print(kernel.name, isa, layout, repr(case), flush=True)
                    with forced_isa(isa):
                        for threads in thread_counts(kernel)[:2]:
                            step = kernel.prepare(case.spec, case.shapes, layout, threads)
                            given = [to_layout(x, layout) for x in inputs]
                            for at_end in (True, False):
                                run(step, given, fences, at_end)
                                count += 1
    if not count:
        raise SystemExit(f"no kernels of backend {backend!r}")
    print(f"ran {count}")


if __name__ == "__main__":
    main(sys.argv[1])
