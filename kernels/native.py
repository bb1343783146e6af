"""The compiled kernels: loading, instruction sets, and running steps through one C call.

Importing this module raises ImportError where Sparing was installed without a C compiler, and
NativeError where `SPARING_ISA` names an instruction set that this CPU cannot run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import NativeError
from . import memory
from ._native import ffi, lib
from .step import Array, ArraySpec, Step

CData = Any  # cffi's pointers and structs


def isas() -> list[str]:
    """Instruction sets this CPU can run, best first."""
    return [ffi.string(lib.sp_isa_name(i)).decode() for i in range(lib.sp_isa_count())]


@cache
def isa() -> str:
    """The instruction set in use."""
    return ffi.string(lib.sp_isa()).decode()


def force_isa(name: str) -> None:
    """Use this instruction set in every step prepared from now on. Raises NativeError."""
    if lib.sp_force_isa(name.encode()) != 0:
        raise NativeError(f"instruction set {name!r} cannot run here; expected one of {isas()}")
    isa.cache_clear()


@dataclass(frozen=True, slots=True)
class Ukernel:
    """A micro-kernel of csrc/kernels.def; see sp_ukernel_info in csrc/sparing.h."""

    index: int
    op: str
    name: str
    isa: str
    mr: int
    nr: int
    k_group: int
    weight_bytes: int


def ukernels(op: str) -> tuple[Ukernel, ...]:
    """Micro-kernels of an operator that the instruction set in use runs, in the table's order."""
    return _ukernels(op, isa())


@cache
def _ukernels(op: str, _isa: str) -> tuple[Ukernel, ...]:
    runnable = (k for k in _all_ukernels(op) if lib.sp_ukernel_runnable(k.index))
    return tuple(runnable)


@cache
def _all_ukernels(op: str) -> list[Ukernel]:
    found = []
    for i in range(lib.sp_ukernel_count()):
        info = lib.sp_ukernel(i)
        if ffi.string(info.op).decode() == op:
            name, isa_name = (ffi.string(text).decode() for text in (info.name, info.isa))
            sizes = (info.mr, info.nr, info.k_group, info.weight_bytes)
            found.append(Ukernel(i, op, name, isa_name, *sizes))
    return found


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Zeros that begin on a 64-byte boundary."""
    kind = np.dtype(dtype)
    zeros = memory.empty(math.prod(shape) * kind.itemsize)
    zeros[...] = 0
    return zeros.view(kind).reshape(shape)


def aligned(array: Array) -> Array:
    """A C-contiguous copy whose data begins on a 64-byte boundary."""
    block = memory.empty(array.nbytes)
    copy = block.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def pointer(array: Array, ctype: str = "void *") -> CData:
    """The array's address as a C pointer. The caller keeps the array alive."""
    return ffi.from_buffer(ctype, array)


def block_pointers(arrays: Sequence[Array]) -> CData:
    """`void *[]` of the arrays' addresses. The caller keeps the arrays alive."""
    return ffi.new("void *[]", [ffi.from_buffer(array) for array in arrays])


def point_to(pointers: CData, first: int, arrays: Sequence[Array]) -> None:
    """Replace pointers from the one numbered `first` on."""
    for i, array in enumerate(arrays, first):
        pointers[i] = ffi.from_buffer(array)


class NativeStep(Step):
    """A step whose work is one operator of csrc/sparing.h.

    params: the operator's struct. keep: what the struct points to (arrays, cdata), kept alive.
    """

    def __init__(
        self,
        op: int,
        params: CData,
        keep: Sequence[object],
        inputs: Sequence[ArraySpec],
        output: ArraySpec,
        *,
        weight_bytes: int = 0,
        detail: str | Callable[[], str] = "",
        threads: int = 1,
    ) -> None:
        """detail: a function where the text takes a while, since few ask for it."""
        self.op, self.params, self.threads = op, params, threads
        self._keep = tuple(keep)
        self.inputs, self.output = tuple(inputs), output
        self.weight_bytes, self._detail = weight_bytes, detail
        self.scratch_bytes = (int(lib.sp_scratch_bytes(op, params)) + 63) // 64 * 64

    @property
    def detail(self) -> str:  # type: ignore[override]  # nothing sets it
        return self._detail if isinstance(self._detail, str) else self._detail()

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        alone = self._alone
        scratch = memory.empty(alone.scratch_bytes)
        alone.run(block_pointers((*inputs, output)), pointer(scratch))

    @cached_property
    def _alone(self) -> Program:
        """The step by itself: every array is a block of its own."""
        return Program([self], [(slot, 0) for slot in range(len(self.inputs) + 1)])


Ref = tuple[int, int]  # memory block, byte offset


class Program:
    """Steps that run in one C call, over memory blocks given at each run.

    refs: for each step its inputs' and then its output's place, all steps in a row.
    """

    def __init__(self, steps: Sequence[NativeStep], refs: Sequence[Ref]) -> None:
        self.threads = max([step.threads for step in steps])
        self._scratch_per_thread = max([step.scratch_bytes for step in steps])
        self.scratch_bytes = self._scratch_per_thread * self.threads
        self._count = len(steps)
        self._steps = ffi.new("sp_step[]", len(steps))
        places = ffi.new("sp_ref[]", refs)
        self._keep = (*steps, places)
        for entry, step in zip(self._steps, steps, strict=True):
            entry.op, entry.params, entry.input = step.op, step.params, places
            entry.inputs = len(step.inputs)
            entry.output = places[entry.inputs]
            places += entry.inputs + 1

    def run(self, blocks: CData, scratch: CData) -> None:
        """blocks: `void *[]` that the refs' slots count. scratch: `scratch_bytes`, 64-aligned."""
        lib.sp_run(
            self._steps, self._count, blocks, scratch, self._scratch_per_thread, self.threads
        )

    def run_timed(self, blocks: CData, scratch: CData) -> list[float]:
        """As `run`; the seconds that each step took."""
        seconds = ffi.new("double[]", self._count)
        lib.sp_run_timed(
            self._steps,
            self._count,
            blocks,
            scratch,
            self._scratch_per_thread,
            self.threads,
            seconds,
        )
        return list(seconds)


def peak_gmacs(mix: str, seconds: float = 0.2) -> float:
    """Peak rate of an instruction mix on this core, 1e9 multiply-accumulates a second.

    mix: "vpmaddwd", "vpmaddubsw", "vpdpbusd", "tdpbusd" or "fma". Raises NativeError where this
    CPU cannot run it.
    """
    rate: float = lib.sp_peak_gmacs(mix.encode(), seconds)
    if rate < 0:
        raise NativeError(f"instruction mix {mix!r} cannot run here")
    return rate


def _force_from_environment(force: Callable[[str], None]) -> None:
    wanted = os.environ.get("SPARING_ISA")
    if wanted:
        force(wanted)


_force_from_environment(force_isa)
