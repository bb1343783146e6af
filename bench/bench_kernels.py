"""Speed of every kernel of the registry on layers of known networks.

    pytest bench/bench_kernels.py                            # a dozen typical layers
    SPARING_BENCH_LAYERS='mobilenet_v2/' pytest ...          # a regular expression chooses others
    SPARING_BENCH_BITS=7,8 pytest ...                        # of int8 weights and activations
    SPARING_BENCH_THREADS=1,2 pytest ... --benchmark-json=out.json

Each result is first checked against the reference. The table that is printed at the end, and
`extra_info` in the JSON, give dense-equivalent GMAC/s (MACs of the dense layer over time), the
effective rate (non-zero weights alone), the speed-up over the NumPy reference, and the share of
this core's peak, measured in the same run.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from case_builders import Case, conv_f32, conv_s8, gemm_s8, make
from case_sizes import FULL, S8
from kernel_checks import check_result, from_layout, require, runs, to_layout

from sparing.bench.machine import INTEGER_MIXES
from sparing.bench.shapes import NETWORKS, Layer, layers
from sparing.cost_sparse import SPARSE_FORMATS
from sparing.kernels.registry import KERNELS, Kernel, available_backends
from sparing.ops import fused
from sparing.ops import fused_spec as fs

TYPICAL = (
    "resnet50/(conv1|res2a_3x3|res2a_1x1_out|res3b_3x3|res3b_1x1_in|res4b_3x3|res4b_1x1_in"
    "|res5b_3x3|fc)$|gemm/1024$"
    "|mobilenet_v2/block(2_depthwise|3_depthwise|8_expand|8_depthwise|15_project)$"
)
PRODUCT = Layer("gemm", "1024", 1024, 1024, 1, 1024, (1, 1), 1, (0, 0, 0, 0), 1, 1)  # 1024 rows
SPARSITY = 0.9
PEAKS = {
    fs.ConvS8: INTEGER_MIXES,
    fs.GemmS8: INTEGER_MIXES,
    fs.ConvF32: ("fma",),
}


def _layers() -> list[Layer]:
    wanted = re.compile(os.environ.get("SPARING_BENCH_LAYERS", TYPICAL))
    every = [PRODUCT, *(layer for network in NETWORKS for layer in layers(network))]
    return [layer for layer in every if wanted.search(f"{layer.network}/{layer.name}")]


def _integer_options() -> dict[str, Any]:
    """Of conv_s8() and gemm_s8(): weights as quantization per channel leaves them."""
    weight_bits, activation_bits = os.environ.get("SPARING_BENCH_BITS", "8,8").split(",")
    largest = 2 ** (int(weight_bits) - 1) - 1
    return {"weights": f"minmax {largest}", "x_max": 2 ** int(activation_bits) - 1}


@lru_cache(maxsize=4)
def _layer_case(layer: Layer, operator: str, sparsity: float) -> Case:
    name = f"{layer.network}/{layer.name}"
    shape = (1, layer.channels, layer.height, layer.width)
    if operator == "GemmS8":
        rows = layer.height * layer.width
        return gemm_s8(name, rows, layer.outputs, layer.channels, **_integer_options())
    window: dict[str, Any] = {
        "kernel": layer.kernel,
        "strides": (layer.stride, layer.stride),
        "pads": layer.pads,
        "groups": layer.groups,
        "sparsity": sparsity,
    }
    if operator == "ConvS8":
        return conv_s8(name, shape, layer.outputs, **window, **_integer_options())
    return conv_f32(name, shape, layer.outputs, **window)


def _elementwise_cases() -> list[Case]:
    x, scale = (1, 256, 56, 56), float(np.float32(0.7))
    double = tuple(i // 2 for i in range(56))
    rescale = fs.RescaleS8(3, scale, S8)
    stem = fs.Window((3, 3), (2, 2), (1, 1, 1, 1))
    return [
        make("quantize 3x224x224", fs.Quantize(scale, S8), (1, 3, 224, 224)),
        make("dequantize 256x56x56", fs.Dequantize(scale, 128), x),
        make("add 256x56x56", fs.AddS8(3, scale, 130, 0.5, FULL), x, x),
        make("gate 256x56x56", fs.MulS8(0, 3, 2.0**-8, FULL), x, (1, 256, 1, 1)),
        make("rescale 256x56x56", rescale, x),
        make("concat 2x256x56x56", fs.ConcatS8((None, rescale)), x, x),
        make("table 256x56x56", fs.TableS8(np.arange(255, -1, -1, dtype=np.uint8)), x),
        make("max pool 64x112x112", fs.MaxPoolS8(stem), (1, 64, 112, 112)),
        make(
            "average pool 2048x7x7",
            fs.AveragePoolS8(fs.Window((7, 7)), True, scale, 0, scale, FULL),
            (1, 2048, 7, 7),
        ),
        make("resize 256x28x28", fs.GatherPixels(double, double), (1, 256, 28, 28)),
        *_float_and_movement_cases(),
    ]


def _float_and_movement_cases() -> list[Case]:
    x, small = (1, 256, 56, 56), (1, 116, 28, 28)
    stem = fs.Window((3, 3), (2, 2), (1, 1, 1, 1))
    shuffle = tuple(g * 58 + i for i in range(58) for g in range(2))
    return [
        make("shuffle 116x28x28", fs.SelectChannels(shuffle, "uint8"), small),
        make("slice 58x28x28", fs.SelectChannels(tuple(range(58)), "uint8"), small),
        make("concat f32 2x128x28x28", fs.ConcatF32(2), *[(1, 128, 28, 28)] * 2),
        make("max pool f32 64x112x112", fs.MaxPoolF32(stem), (1, 64, 112, 112)),
        make(
            "average pool f32 2048x7x7", fs.AveragePoolF32(fs.Window((7, 7)), True), (1, 2048, 7, 7)
        ),
        make("add f32 256x56x56", fs.AddF32(0.0), x, x),
        make("gate f32 256x56x56", fs.MulF32(), x, (1, 256, 1, 1)),
        make("sigmoid f32 256x56x56", fs.ActivationF32("sigmoid"), x),
    ]


def _combinations() -> Iterator[Any]:
    threads = [int(n) for n in os.environ.get("SPARING_BENCH_THREADS", "1").split(",")]
    fast = [k for k in KERNELS if k.backend != "numpy"]
    for kernel in fast:
        for count in threads if kernel.backend == "c" else [1]:
            suffix = f"-{count} threads" if count > 1 else ""
            if kernel.spec in PEAKS:
                for layer in _layers():
                    if _fits(kernel, layer):
                        name = f"{kernel.name}-{layer.network}/{layer.name}{suffix}"
                        yield pytest.param(kernel, layer, count, id=name)
            else:
                for case in _elementwise_cases():
                    if runs(kernel, case):
                        yield pytest.param(
                            kernel, case, count, id=f"{kernel.name}-{case.name}{suffix}"
                        )


def _fits(kernel: Kernel, layer: Layer) -> bool:
    """Whether the kernel is meant for such a layer; conditions on weights are seen later."""
    depthwise = layer.groups == layer.channels == layer.outputs
    pixel = layer.height == layer.width == 1
    if kernel.spec is fs.GemmS8:
        return layer.width == 1
    if "depthwise" in kernel.where:
        return depthwise
    if kernel.operator in ("winograd_s8", "winograd_f32"):
        return layer.kernel == (3, 3) and layer.stride == 1 and layer.groups == 1
    sparse = kernel.weight_format in SPARSE_FORMATS
    dense_s8 = kernel.spec is fs.ConvS8 and not sparse
    return not (pixel or (sparse and layer.groups > 1) or (dense_s8 and depthwise))


@lru_cache(maxsize=4)
def _reference_seconds(case: Case) -> float:
    inputs = case.inputs()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        fused.run(case.spec, inputs)
        times.append(time.perf_counter() - start)
    return min(times)


@lru_cache
def _peak(mix: str) -> float | None:
    """Peak of one core in 1e9 MACs a second; None without the C backend or the instruction."""
    if "c" not in available_backends():
        return None
    from sparing.errors import NativeError
    from sparing.kernels import native

    try:
        return native.peak_gmacs(mix)
    except NativeError:
        return None


_rows: list[tuple[str, ...]] = []


@pytest.fixture(scope="module", autouse=True)
def _print_table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if not _rows:
        return
    header = ("kernel", "case", "ms", "GMAC/s", "effective", "peak", "x reference", "detail")
    widths = [max(len(row[i]) for row in (header, *_rows)) for i in range(len(header))]
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print()
        for row in (header, *_rows):
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
        for mix in (*INTEGER_MIXES, "fma"):
            peak = _peak(mix)
            if peak is not None:
                print(f"peak of one core, {mix}: {peak:.1f} GMAC/s")


@pytest.mark.parametrize(("kernel", "what", "threads"), list(_combinations()))
def bench_kernel(benchmark: Any, kernel: Kernel, what: Layer | Case, threads: int) -> None:
    require(kernel.backend)
    if isinstance(what, Layer):
        sparsity = SPARSITY if kernel.weight_format in SPARSE_FORMATS else 0.0
        what = _layer_case(what, kernel.spec.__name__, sparsity)
    case = what
    if not runs(kernel, case):
        pytest.skip(kernel.condition(case.spec))
    layout = kernel.layouts[0]
    step = kernel.prepare(case.spec, case.shapes, layout, threads)
    inputs = [np.ascontiguousarray(to_layout(x, layout)) for x in case.inputs()]
    output = np.empty(step.output.shape, step.output.dtype)
    step.run(inputs, output)  # Numba compiles here
    check_result(case, from_layout(output, layout, case.result), kernel)
    benchmark(step.execute, inputs, output)
    if benchmark.stats is not None:  # --benchmark-disable
        _report(benchmark, kernel, case, threads, step.detail)


def _report(benchmark: Any, kernel: Kernel, case: Case, threads: int, detail: str) -> None:
    seconds = benchmark.stats.stats.min
    weight = getattr(case.spec, "weight", None)
    nonzero = 1.0 if weight is None else float(np.count_nonzero(weight)) / weight.size
    rate = case.macs / seconds / 1e9
    speedup = _reference_seconds(case) / seconds
    peaks = {mix: _peak(mix) for mix in PEAKS.get(kernel.spec, ())}
    shares = {mix: rate / (peak * threads) for mix, peak in peaks.items() if peak is not None}
    benchmark.extra_info.update(
        kernel=kernel.name,
        detail=detail,
        threads=threads,
        macs=case.macs,
        sparsity=1 - nonzero,
        gmacs_dense_equivalent=rate,
        gmacs_effective=rate * nonzero,
        speedup_over_reference=speedup,
        share_of_peak=shares,
    )
    _rows.append(
        (
            kernel.name + (f" x{threads}" if threads > 1 else ""),
            case.name,
            f"{seconds * 1e3:.3f}",
            f"{rate:.1f}" if case.macs else "",
            f"{rate * nonzero:.1f}" if case.macs else "",
            ", ".join(f"{share:.2f} {mix}" for mix, share in shares.items()),
            f"{speedup:.1f}",
            detail,
        )
    )
