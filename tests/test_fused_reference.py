"""The reference of the fused operators, judged by plain Python loops and by hand.

The loops follow docs/numeric-contract.md word by word: Python integers for sums, float32 scalars
for requantization.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from case_builders import Case
from cases import BY_NAME, CASES

from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.fused_windows import average_pool_counts

F = np.float32
FULL = fs.OutputRange(0)
Tap = tuple[int, int, int, int]


def wrap(total: int) -> int:
    """Modulo 2^32, into int32."""
    return (total + 2**31) % 2**32 - 2**31


def round_half_even(value: float) -> float:
    """rint of a float32, by Python's own round, which is half to even on exact values."""
    return value if abs(value) >= 2.0**24 else float(round(value))


def finish(real: np.float32, output: fs.OutputRange) -> int:
    assert real.dtype == np.float32
    f = round_half_even(float(real))
    low, high = output.lo - output.zero_point, output.hi - output.zero_point
    return int(min(max(f, low), high)) + output.zero_point


def taps(window: fs.Window, height: int, width: int, y: int, x: int) -> list[Tap]:
    """(ky, kx, row, column) of the taps of output (y, x) that lie inside the input."""
    found = []
    for ky, kx in itertools.product(*map(range, window.kernel)):
        row = y * window.strides[0] + ky * window.dilations[0] - window.pads[0]
        column = x * window.strides[1] + kx * window.dilations[1] - window.pads[1]
        if 0 <= row < height and 0 <= column < width:
            found.append((ky, kx, row, column))
    return found


def slow_conv_s8(spec: fs.ConvS8, x: fs.Array, residual: fs.Array | None = None) -> fs.Array:
    batch, _, height, width = x.shape
    outputs, per_in = spec.weight.shape[:2]
    per_out = outputs // spec.groups
    result = np.empty((batch, outputs, *spec.window.output_size(height, width)), np.uint8)
    for n, o, i, j in np.ndindex(*result.shape):
        total = int(spec.bias[o])
        first = o // per_out * per_in
        for ky, kx, row, column in taps(spec.window, height, width, i, j):
            for c in range(per_in):
                value = int(x[n, first + c, row, column]) - spec.x_zero_point
                total += value * int(spec.weight[o, c, ky, kx])
        real = F(wrap(total)) * spec.multiplier[o]
        if spec.residual is not None:
            assert residual is not None
            add = spec.residual
            if add.conv_output is not None:
                t = finish(real, add.conv_output) - add.conv_output.zero_point
                real = F(t) * F(add.conv_multiplier)
            other = F(int(residual[n, o, i, j]) - add.zero_point) * F(add.multiplier)
            real = real + other
        y = finish(real, spec.output)
        result[n, o, i, j] = y if spec.table is None else spec.table[y]
    return result


SMALL = [
    case
    for case in CASES
    if isinstance(case.spec, fs.ConvS8)
    and case.macs < 12_000
    and int(np.prod(case.shapes[0])) < 2_000
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_conv_s8_equals_plain_loops(case: Case) -> None:
    assert isinstance(case.spec, fs.ConvS8)
    expected = slow_conv_s8(case.spec, *case.inputs())
    assert np.array_equal(fused.run(case.spec, case.inputs()), expected)


def test_plain_loops_meet_every_feature() -> None:
    """The cases small enough for the loops still cover what a convolution can do."""
    specs = [case.spec for case in SMALL if isinstance(case.spec, fs.ConvS8)]
    assert len(specs) >= 25
    assert any(spec.groups > 1 and spec.weight.shape[1] > 1 for spec in specs)
    assert any(spec.groups > 1 and spec.weight.shape[1] == 1 for spec in specs)
    assert any(max(spec.window.strides) > 1 for spec in specs)
    assert any(max(spec.window.dilations) > 1 for spec in specs)
    assert any(len(set(spec.window.pads)) > 2 for spec in specs)
    assert any(spec.table is not None for spec in specs)
    residuals = [spec.residual for spec in specs if spec.residual is not None]
    assert any(r.conv_output is None for r in residuals)
    assert any(r.conv_output is not None for r in residuals)


def one_pixel(
    x: list[int], weight: list[int], bias: int, multiplier: float, output: fs.OutputRange = FULL,
    x_zp: int = 0, residual: fs.Residual | None = None, r: int = 0,
) -> int:  # fmt: skip
    """A 1x1 convolution of one pixel to one channel: sums that can be done by hand."""
    spec = fs.ConvS8(
        fs.Window((1, 1)),
        1,
        np.array(weight, np.int16).reshape(1, -1, 1, 1),
        np.array([bias], np.int32),
        x_zp,
        np.array([multiplier], np.float32),
        output,
        residual=residual,
    )
    inputs = [np.array(x, np.uint8).reshape(1, -1, 1, 1)]
    if residual is not None:
        inputs.append(np.full((1, 1, 1, 1), r, np.uint8))
    return int(fused.run(spec, inputs).item())


def test_rounds_half_to_even() -> None:
    signed = fs.OutputRange(zero_point=100)
    for total, expected in ((1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)):
        assert one_pixel([1], [total], 0, 0.5, signed) == 100 + expected
    # an odd zero point is added after rounding, and does not move the ties
    for total, expected in ((1, 0), (3, 2), (-1, 0), (-3, -2)):
        assert one_pixel([1], [total], 0, 0.5, fs.OutputRange(zero_point=101)) == 101 + expected


def test_clamps_before_converting() -> None:
    huge = 2.0**63
    assert one_pixel([255], [127], 0, huge, fs.OutputRange(128)) == 255
    assert one_pixel([255], [-127], 0, huge, fs.OutputRange(128)) == 0
    assert one_pixel([255], [127], 0, huge, fs.OutputRange(60, lo=3, hi=90)) == 90
    assert one_pixel([255], [-127], 0, huge, fs.OutputRange(60, lo=3, hi=90)) == 3
    assert one_pixel([255], [127], 0, 2.0**-64, fs.OutputRange(60, lo=3, hi=90)) == 60
    # a zero point outside the range: a fused Relu on a signed tensor
    assert one_pixel([1], [-5], 0, 1.0, fs.OutputRange(10, lo=20, hi=30)) == 20


def test_sums_wrap_modulo_2_32() -> None:
    signed = fs.OutputRange(128)
    assert one_pixel([1], [1], 2**31 - 1, 2.0**-25, signed) == 128 - 64
    assert one_pixel([1], [-1], -(2**31), 2.0**-25, signed) == 128 + 64
    # 2^31 - 1 + 255 * 32767 wraps to a number that is known exactly
    total = wrap(2**31 - 1 + 255 * 32767)
    assert one_pixel([255], [32767], 2**31 - 1, 2.0**-25, signed) == 128 + round(total / 2**25)


def test_sum_becomes_float32_before_the_product() -> None:
    # 2^24 + 1 is no float32: it becomes 2^24; in float64 the result would round up to 1
    assert one_pixel([1], [1], 2**24, 2.0**-25, FULL) == 0
    assert one_pixel([1], [3], 2**24, 2.0**-25, FULL) == 1


def test_input_zero_point() -> None:
    assert one_pixel([10, 20], [3, -1], 7, 1.0, x_zp=5, output=fs.OutputRange(128)) == 128 + 7


def test_residual_from_the_sum_rounds_once() -> None:
    add = fs.Residual(zero_point=10, multiplier=0.25)
    # 0.5 + 0.25 * 2 = 1.0: rounding each part first would give 0 + 0
    assert one_pixel([1], [1], 0, 0.5, residual=add, r=12) == 1
    # 0.5 + 0.0: a tie, to even
    assert one_pixel([1], [1], 0, 0.5, residual=add, r=10) == 0


def test_residual_after_quantization_rounds_twice() -> None:
    middle = fs.OutputRange(zero_point=3, lo=0, hi=20)
    add = fs.Residual(10, 0.25, conv_output=middle, conv_multiplier=1.0)
    # t = rint(0.5) = 0, then 0 + 0.5: a tie, to even
    assert one_pixel([1], [1], 0, 0.5, residual=add, r=12) == 0
    # t is clamped to 20 - 3 before it is added
    assert one_pixel([100], [1], 0, 1.0, residual=add, r=10) == 17
    half = fs.Residual(10, 0.25, conv_output=middle, conv_multiplier=0.5)
    assert one_pixel([7], [1], 0, 1.0, residual=half, r=12) == 4  # 3.5 + 0.5


def test_table_comes_last() -> None:
    table = np.arange(255, -1, -1, dtype=np.uint8)
    spec = fs.ConvS8(
        fs.Window((1, 1)), 1, np.ones((1, 1, 1, 1), np.int8), np.zeros(1, np.int32), 0,
        np.ones(1, np.float32), fs.OutputRange(0, hi=50), table=table,
    )  # fmt: skip
    assert fused.run(spec, [np.full((1, 1, 1, 1), 200, np.uint8)]).item() == 205


def test_gemm_s8_equals_exact_integers() -> None:
    for case in CASES:
        if isinstance(case.spec, fs.GemmS8):
            (x,) = case.inputs()
            exact = (x.astype(np.int64) - case.spec.x_zero_point) @ case.spec.weight.astype(
                np.int64
            ).T
            exact = (exact + case.spec.bias + 2**31) % 2**32 - 2**31
            assert np.array_equal(fused.run(case.spec, [x]), exact), case


def test_sums_of_some_cases_really_wrap() -> None:
    case = BY_NAME["gemm_s8 int16 wraps"]
    assert isinstance(case.spec, fs.GemmS8)
    shifted = case.inputs()[0].astype(np.int64) - case.spec.x_zero_point
    assert (shifted @ case.spec.weight.astype(np.int64).T + case.spec.bias >= 2**31).all()
    conv = BY_NAME["conv_s8 int16 wraps"]
    assert isinstance(conv.spec, fs.ConvS8)
    total = conv.spec.weight.astype(np.int64).sum(axis=(1, 2, 3)) * 255 + conv.spec.bias
    assert (total >= 2**31).all()


def test_quantize_by_hand() -> None:
    spec = fs.Quantize(0.5, fs.OutputRange(zero_point=101))
    x = np.array([0.25, 0.75, -0.25, -0.75, 1.25, 0.0, -0.0, 1e-40, 1e30, -1e30], np.float32)
    expected = [101, 103, 101, 99, 103, 101, 101, 101, 255, 0]
    assert fused.run(spec, [x.reshape(1, -1)]).tolist() == [expected]


def test_quantize_special_values() -> None:
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    spec = fs.Quantize(0.1, fs.OutputRange(zero_point=7, lo=2, hi=200))
    assert fused.run(spec, [x]).tolist() == [[7, 200, 2]]


def test_quantize_divides() -> None:
    """x / s and x * (1 / s) differ: the contract is the division."""
    scale = F(0.7)
    x = (np.arange(-1000, 1000, dtype=np.float32) + F(0.5)) * scale
    by_division = np.rint(x / scale)
    assert (by_division != np.rint(x * (F(1) / scale))).any()
    spec = fs.Quantize(float(scale), fs.OutputRange(128))
    expected = np.clip(by_division, -128, 127) + 128
    assert np.array_equal(fused.run(spec, [x[None]])[0], expected)


def test_dequantize_by_hand() -> None:
    x = np.array([[0, 3, 255]], np.uint8)
    result = fused.run(fs.Dequantize(float(F(0.1)), 3), [x])
    assert result.dtype == np.float32
    assert result.tolist() == [[float(F(-3) * F(0.1)), 0.0, float(F(252) * F(0.1))]]


def test_add_rounds_products_then_sum() -> None:
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    ma, mb = F(0.7123), F(1.0391)
    out = fs.OutputRange(90, lo=5, hi=240)
    result = fused.run(fs.AddS8(17, float(ma), 203, float(mb), out), [a, b])
    for i, j in np.ndindex(16, 16):
        y, x = i * 17, j * 17
        left, right = F(int(a[y, x]) - 17) * ma, F(int(b[y, x]) - 203) * mb
        assert result[y, x] == finish(left + right, out)


def test_mul_and_rescale_by_hand() -> None:
    a, b = np.array([[9, 0, 255]], np.uint8), np.array([[4, 255, 255]], np.uint8)
    out = fs.OutputRange(128)
    # (9 - 8)(4 - 1) / 2 = 1.5; (0 - 8)(254) / 2 = -1016; 247 * 254 / 2
    assert fused.run(fs.MulS8(8, 1, 0.5, out), [a, b]).tolist() == [[130, 0, 255]]
    assert fused.run(fs.RescaleS8(8, 0.5, out), [a]).tolist() == [[128, 124, 251 + 1]]
    assert fused.run(fs.RescaleS8(8, 1.0, fs.OutputRange(8, 5, 100)), [a]).tolist() == [[9, 5, 100]]


def test_concat_copies_or_rescales() -> None:
    a, b = np.full((1, 1, 1, 2), 9, np.uint8), np.full((1, 2, 1, 2), 9, np.uint8)
    spec = fs.ConcatS8((None, fs.RescaleS8(8, 3.0, fs.OutputRange(1))))
    assert fused.run(spec, [a, b])[0, :, 0, 0].tolist() == [9, 4, 4]


def slow_count(spec: fs.AveragePoolS8, height: int, width: int, i: int, j: int) -> int:
    """Taps that count: those inside the input, or inside the padded input, never beyond that."""
    window = spec.window
    if not spec.count_include_pad:
        return len(taps(window, height, width, i, j))
    top, left, bottom, right = window.pads
    bare = fs.Window(window.kernel, window.strides, dilations=window.dilations)
    return len(taps(bare, height + top + bottom, width + left + right, i, j))


def slow_pool(spec: fs.MaxPoolS8 | fs.AveragePoolS8, x: fs.Array) -> fs.Array:
    batch, channels, height, width = x.shape
    result = np.empty((batch, channels, *spec.window.output_size(height, width)), np.uint8)
    for n, c, i, j in np.ndindex(*result.shape):
        inside = taps(spec.window, height, width, i, j)
        values = [int(x[n, c, row, column]) for _, _, row, column in inside]
        if isinstance(spec, fs.MaxPoolS8):
            result[n, c, i, j] = max(values, default=0)
        else:
            count = slow_count(spec, height, width, i, j)
            scale = np.float64(F(spec.x_scale)) / (np.float64(F(spec.y_scale)) * count)
            total = sum(value - spec.x_zero_point for value in values)
            result[n, c, i, j] = finish(F(total) * F(scale), spec.output)
    return result


POOLS = [
    case
    for case in CASES
    if isinstance(case.spec, (fs.MaxPoolS8, fs.AveragePoolS8)) and int(np.prod(case.shapes)) < 6_000
]


@pytest.mark.parametrize("case", POOLS, ids=lambda case: case.name)
def test_pooling_equals_plain_loops(case: Case) -> None:
    assert isinstance(case.spec, (fs.MaxPoolS8, fs.AveragePoolS8))
    expected = slow_pool(case.spec, *case.inputs())
    assert np.array_equal(fused.run(case.spec, case.inputs()), expected)


def test_average_pool_counts_by_hand() -> None:
    padded = fs.Window((3, 3), (1, 1), (1, 1, 1, 1))
    assert average_pool_counts(padded, 2, 3, False).tolist() == [[4, 6, 4], [4, 6, 4]]
    assert average_pool_counts(padded, 2, 3, True).tolist() == [[9, 9, 9], [9, 9, 9]]
    # 5 pixels, windows of 2 at stride 2, rounded up: the last window holds one pixel
    ceil = fs.Window((1, 2), (1, 2), ceil_mode=True)
    for include in (False, True):
        assert average_pool_counts(ceil, 1, 5, include).tolist() == [[2, 2, 1]]
    # with a padding pixel at each end the first and last windows count it only on demand
    both = fs.Window((1, 3), (1, 2), (0, 1, 0, 1), ceil_mode=True)
    assert both.output_size(1, 4) == (1, 3)
    assert average_pool_counts(both, 1, 4, False).tolist() == [[2, 3, 1]]
    assert average_pool_counts(both, 1, 4, True).tolist() == [[3, 3, 2]]


@pytest.mark.parametrize(
    ("window", "size", "expected"),
    [
        (fs.Window((3, 3)), (5, 4), (3, 2)),
        (fs.Window((3, 3), (2, 2), (1, 1, 1, 1)), (7, 8), (4, 4)),
        (fs.Window((3, 3), (1, 1), (0, 0, 0, 0), (2, 2)), (5, 6), (1, 2)),
        (fs.Window((2, 2), (2, 2)), (5, 4), (2, 2)),
        (fs.Window((2, 2), (2, 2), ceil_mode=True), (5, 4), (3, 2)),
        # the third window would begin in the trailing padding: it does not count
        (fs.Window((1, 2), (1, 3), (0, 0, 0, 2), ceil_mode=True), (1, 6), (1, 2)),
        (fs.Window((5, 5)), (4, 4), (0, 0)),
    ],
)
def test_output_size(window: fs.Window, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert window.output_size(*size) == expected


def slow_conv_f32(spec: fs.ConvF32, x: fs.Array, residual: fs.Array | None = None) -> fs.Array:
    """The float64 result."""
    batch, _, height, width = x.shape
    outputs, per_in = spec.weight.shape[:2]
    per_out = outputs // spec.groups
    result = np.empty((batch, outputs, *spec.window.output_size(height, width)))
    for n, o, i, j in np.ndindex(*result.shape):
        total = float(spec.bias[o])
        first = o // per_out * per_in
        for ky, kx, row, column in taps(spec.window, height, width, i, j):
            for c in range(per_in):
                total += float(x[n, first + c, row, column]) * float(spec.weight[o, c, ky, kx])
        if residual is not None:
            total += float(residual[n, o, i, j])
        result[n, o, i, j] = min(max(total, spec.lo), spec.hi)
    return result


FLOATS = [
    case
    for case in CASES
    if isinstance(case.spec, fs.ConvF32) and case.values == "uniform" and case.macs < 20_000
]


@pytest.mark.parametrize("case", FLOATS, ids=lambda case: case.name)
def test_conv_f32_within_its_bound(case: Case) -> None:
    assert isinstance(case.spec, fs.ConvF32)
    exact, bound = fused.conv_f32_bound(case.spec, *case.inputs())
    # the loops sum in float64 too: 1e-6 of a float32 bound covers their own rounding
    assert np.all(np.abs(slow_conv_f32(case.spec, *case.inputs()) - exact) <= 1e-6 * bound)
    assert np.all(np.abs(fused.run(case.spec, case.inputs()) - exact) <= bound)


def test_the_float_bound_is_tight_enough_to_fail() -> None:
    """A kernel that lost one product of average size would be outside the bound."""
    case = BY_NAME["conv_f32 3x3 valid"]
    assert isinstance(case.spec, fs.ConvF32)
    _, bound = fused.conv_f32_bound(case.spec, *case.inputs())
    assert bound.max() < 1e-2 * np.abs(case.spec.weight).mean()


def test_nan_passes_the_clamp() -> None:
    spec = fs.ConvF32(
        fs.Window((1, 1)), 1, np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), 0.0, 6.0
    )
    x = np.array([np.nan, -1, 3, 9], np.float32).reshape(1, 1, 1, 4)
    result = fused.run(spec, [x]).reshape(-1)
    assert np.isnan(result[0]) and result[1:].tolist() == [0.0, 3.0, 6.0]


def test_table_and_resize() -> None:
    table = np.random.default_rng(0).permutation(256).astype(np.uint8)
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(fused.run(fs.TableS8(table), [x]).reshape(-1), table)
    small = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 1, 2, 2)
    result = fused.run(fs.GatherPixels((0, 0, 1), (1, 0)), [small])
    assert result[0, 0].tolist() == [[2, 1], [2, 1], [4, 3]]
