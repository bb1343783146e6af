"""How test cases are made: seeded specs and inputs of every fused operator.

Everything about a case follows from its arguments and its seed, so that a failing test replays
from the text it prints.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from case_sizes import FULL

from sparing.ops import fused_spec as fs
from sparing.ops.fused import accumulate
from sparing.ops.fused_shapes import input_dtype, output_shape

Shape = tuple[int, ...]
Pads = tuple[int, int, int, int]
Pair = tuple[int, int]

Values = Literal["uniform", "ends", "top", "relu", "middle", "special", "scales"]


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def _brief(value: object) -> str:
    """An array as type, shape and range: enough to recognise a case by."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.size == 0:
        return f"{value.dtype}{list(value.shape)}"
    zeros = float(np.mean(value == 0))
    return f"{value.dtype}{list(value.shape)} in {value.min()}..{value.max()}, {zeros:.0%} zeros"


@dataclass(frozen=True, eq=False)
class Case:
    """One operator with inputs for it.

    shapes: logical (NCHW) shapes of the inputs. values: how inputs are drawn: "uniform" over the
    allowed range, "ends" its two ends alone, "top" its largest value alone, "relu" (uint8) few of
    them large, "middle" (uint8) few of them far from its middle, "special" (float32) with NaN,
    infinities and signed zeros among normal numbers, "scales" (float32) of magnitudes far apart.
    """

    name: str
    spec: fs.Spec
    shapes: tuple[Shape, ...]
    seed: int
    values: Values = "uniform"

    @property
    def result(self) -> Shape:
        """The logical (NCHW) shape of the result."""
        return output_shape(self.spec, self.shapes)

    def inputs(self) -> list[fs.Array]:
        """The inputs, NCHW; the same at every call."""
        rng = np.random.default_rng(self.seed)
        return [self._draw(rng, i, shape) for i, shape in enumerate(self.shapes)]

    def _draw(self, rng: np.random.Generator, i: int, shape: Shape) -> fs.Array:
        if i == 1 and isinstance(self.spec, (fs.DynamicQuantize, fs.DynamicConv)):
            zero_point = rng.choice([0, 255, *rng.integers(0, 256, 2)])
            return np.array([rng.uniform(0.003, 0.03), zero_point], np.float32)
        if input_dtype(self.spec, i) == np.float32:
            return _draw_f32(rng, shape, self.values)
        x_max = getattr(self.spec, "x_max", 255)  # it bounds the first input alone
        return _draw_u8(rng, shape, x_max if i == 0 else 255, self.values)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense operator; 0 where it is no product."""
        if isinstance(self.spec, (fs.ConvS8, fs.ConvF32, fs.GemmS8, fs.DynamicConv)):
            out = output_shape(self.spec, self.shapes)
            return int(np.prod(out, dtype=np.int64) * np.prod(self.spec.weight.shape[1:]))
        return 0

    def __repr__(self) -> str:
        spec = ", ".join(
            f"{f.name}={_brief(getattr(self.spec, f.name))}" for f in fields(self.spec)
        )
        kind = type(self.spec).__name__
        return (
            f"Case {self.name!r}, seed {self.seed}, inputs {list(self.shapes)} ({self.values}): "
            f"{kind}({spec})"
        )


def _draw_u8(rng: np.random.Generator, shape: Shape, top: int, values: Values) -> fs.Array:
    if values == "top":
        return np.full(shape, top, np.uint8)
    if values == "ends":
        return (rng.integers(0, 2, shape) * top).astype(np.uint8)
    if values == "relu":
        return np.minimum(np.abs(rng.normal(0, top / 4, shape)), top).astype(np.uint8)
    if values == "middle":
        return np.clip(rng.normal(top / 2, top / 8, shape), 0, top).astype(np.uint8)
    return rng.integers(0, top + 1, shape, dtype=np.uint8)


def _draw_f32(rng: np.random.Generator, shape: Shape, values: Values) -> fs.Array:
    x = rng.normal(0, 1, shape).astype(np.float32)
    if values == "special":
        special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e30, -1e30, 1e-40], np.float32)
        some = x.reshape(-1)[:: max(3, x.size // 64)]  # a view: assigning changes x
        some[...] = np.resize(special, some.shape)
    if values == "scales":
        x *= (10 ** rng.uniform(-6, 6, shape)).astype(np.float32)
    return x


def make(name: str, spec: fs.Spec, *shapes: Shape, values: Values = "uniform") -> Case:
    return Case(name, spec, shapes, seed_of(name), values)


INT16_WEIGHTS = {
    "s16": (-255, 256),  # what imported weights with zero points become
    "s16_full": (-32767, 32768),
    "s16_high": (24000, 32768),  # sums that wrap modulo 2^32 with large inputs
}


def draw_weights(
    rng: np.random.Generator, shape: Shape, kind: str, sparsity: float, together: int = 1
) -> fs.Array:
    """together: so many input channels are zero or not together.

    kind: "normal" int8, "zero_rows" every second row zero, "ends" +-127 alone, "top" 127 alone,
    "alternating" 127 and -127 in turns, "up to N" small ones, "minmax N" normal ones of which each
    output channel's largest is +-N, "outliers" small ones with one of 127 or -127 in 32, or one of
    INT16_WEIGHTS.
    """
    if kind in INT16_WEIGHTS:
        weight = rng.integers(*INT16_WEIGHTS[kind], shape).astype(np.int16)
    elif kind == "ends":
        weight = (rng.integers(0, 2, shape) * 254 - 127).astype(np.int8)
    elif kind == "top":
        weight = np.full(shape, 127, np.int8)
    elif kind == "alternating":
        weight = np.resize(np.array([127, -127], np.int8), shape)
    elif kind.startswith("up to "):
        reach = int(kind.removeprefix("up to "))
        weight = rng.integers(-reach, reach + 1, shape).astype(np.int8)
    elif kind.startswith("minmax "):
        drawn = rng.normal(0, 1, shape)
        largest = np.abs(drawn).max(axis=tuple(range(1, drawn.ndim)), keepdims=True)
        weight = np.rint(drawn / largest * int(kind.removeprefix("minmax "))).astype(np.int8)
    elif kind == "outliers":
        weight = rng.integers(-8, 9, shape).astype(np.int8)
        some = weight.reshape(-1)[rng.integers(32) :: 32]  # a view
        some[...] = rng.integers(0, 2, some.shape) * 254 - 127
    else:
        weight = np.clip(np.rint(rng.normal(0, 40, shape)), -127, 127).astype(np.int8)
    absent = rng.random((shape[0], -(-shape[1] // together), *shape[2:])) < sparsity
    weight[np.repeat(absent, together, axis=1)[:, : shape[1]]] = 0
    if kind == "zero_rows":
        weight[::2] = 0
    return weight


def _multipliers(rng: np.random.Generator, sums: fs.Array, kind: str) -> fs.F32:
    """kind: "spread" results fill the range, "ties" 2^-k alone, "extreme" the contract's ends.

    sums: largest absolute sum of each output channel.
    """
    if kind == "ties":  # sums at this scale end in .5 very often
        return (2.0 ** -rng.integers(1, 9, sums.size)).astype(np.float32)
    if kind == "extreme":
        ends = [2.0**-64, 2.0**-24, 1.0, 2.0**31, np.nextafter(np.float32(2.0**64), np.float32(0))]
        return np.resize(np.array(ends, np.float32), sums.size)
    spread: fs.F32 = (rng.uniform(60, 300, sums.size) / np.maximum(sums, 1)).astype(np.float32)
    return spread


def _biases(rng: np.random.Generator, multiplier: fs.F32, kind: str) -> fs.I32:
    """kind: "normal", or "wrap": at int32's ends, so that sums wrap modulo 2^32."""
    if kind == "wrap":
        ends = np.array([2**31 - 1, -(2**31), 2**31 - 100], np.int64)
        return np.resize(ends, multiplier.size).astype(np.int32)
    reach = np.clip(50 / multiplier.astype(np.float64), 1, 2**30)
    biases: fs.I32 = rng.uniform(-reach, reach).astype(np.int32)
    return biases


def _residual(kind: str) -> fs.Residual | None:
    if kind == "accumulator":
        return fs.Residual(zero_point=119, multiplier=float(np.float32(0.43)))
    if kind == "quantized":
        middle = fs.OutputRange(zero_point=131, lo=3, hi=250)
        return fs.Residual(7, float(np.float32(0.71)), middle, float(np.float32(0.87)))
    if kind == "quantized_ties":  # both products end in .5 often; a 7-bit middle range
        return fs.Residual(64, 0.5, fs.OutputRange(zero_point=64, lo=0, hi=127), 0.5)
    return None


def conv_s8(
    name: str,
    x: Shape,
    outputs: int,
    kernel: Pair = (3, 3),
    *,
    strides: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilations: Pair = (1, 1),
    groups: int = 1,
    weights: str = "normal",
    sparsity: float = 0.0,
    together: int = 1,
    x_zp: int = 0,
    x_max: int = 255,
    output: fs.OutputRange = FULL,
    residual: str = "",
    table: bool = False,
    multipliers: str = "spread",
    biases: str = "normal",
    values: Values = "uniform",
) -> Case:
    rng = np.random.default_rng(seed_of(name) + 1)
    weight = draw_weights(rng, (outputs, x[1] // groups, *kernel), weights, sparsity, together)
    spec = fs.ConvS8(
        fs.Window(kernel, strides, pads, dilations),
        groups,
        weight,
        np.zeros(outputs, np.int32),
        x_zp,
        np.ones(outputs, np.float32),
        output,
        x_max,
        _residual(residual),
        rng.permutation(256).astype(np.uint8) if table else None,
    )
    shapes = conv_shapes(spec, x, bool(residual))
    case = make(f"conv_s8 {name}", spec, *shapes, values=values)
    sums = np.abs(accumulate(spec, case.inputs()[0]).astype(np.int64)).max(axis=(0, 2, 3))
    multiplier = _multipliers(rng, sums, multipliers)
    bias = _biases(rng, multiplier, biases)
    return replace(case, spec=replace(spec, multiplier=multiplier, bias=bias))


def conv_f32(
    name: str,
    x: Shape,
    outputs: int,
    kernel: Pair = (3, 3),
    *,
    strides: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilations: Pair = (1, 1),
    groups: int = 1,
    sparsity: float = 0.0,
    zero_rows: bool = False,
    lo: float = -np.inf,
    hi: float = np.inf,
    residual: bool = False,
    values: Values = "uniform",
) -> Case:
    rng = np.random.default_rng(seed_of(name) + 1)
    shape = (outputs, x[1] // groups, *kernel)
    weight = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
    weight[rng.random(shape) < sparsity] = 0
    if zero_rows:
        weight[::2] = 0
    bias = rng.normal(0, 0.5, outputs).astype(np.float32)
    window = fs.Window(kernel, strides, pads, dilations)
    spec = fs.ConvF32(window, groups, weight, bias, lo, hi, residual)
    return make(f"conv_f32 {name}", spec, *conv_shapes(spec, x, residual), values=values)


def conv_shapes(spec: fs.ConvS8 | fs.ConvF32, x: Shape, residual: bool) -> tuple[Shape, ...]:
    """Input shapes of a convolution: x, and the residual's, which is that of the result."""
    if not residual:
        return (x,)
    height, width = spec.window.output_size(x[2], x[3])
    return x, (x[0], spec.weight.shape[0], height, width)


def gemm_s8(
    name: str,
    m: int,
    n: int,
    k: int,
    *,
    weights: str = "normal",
    sparsity: float = 0.0,
    x_zp: int = 0,
    x_max: int = 255,
    biases: str = "normal",
    values: Values = "uniform",
) -> Case:
    rng = np.random.default_rng(seed_of(name) + 1)
    weight = draw_weights(rng, (n, k), weights, sparsity)
    bias = _biases(rng, np.full(n, 1e-3, np.float32), biases)
    return make(f"gemm_s8 {name}", fs.GemmS8(weight, bias, x_zp, x_max), (m, k), values=values)
