"""Compress the embedded model, run it on every backend, and check and time what comes out.

A small residual network for Fashion-MNIST, as it is, quantized to int8, pruned, and both, is run
from `.sparing` files on 2,000 test images. Integer models must give the reference's outputs bit for
bit, float layers must stay within the bound of float32 rounding. Takes about a minute, on one
thread; needs no network.

    sparing demo
    sparing demo --images 200 --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..console import bytes_text, print_json, print_table, progress
from .arguments import add_json, positive

if TYPE_CHECKING:
    from ..demo import Demo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=positive, default=2000, help="test images to use (default: all 2000)"
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..demo import run_demo

    demo = run_demo(parsed.images, progress)
    if parsed.json:
        print_json(asdict(demo))
    else:
        _print(demo)
    return 0 if demo.passed else 1


def _print(demo: Demo) -> None:
    columns = [
        *("model", ">zeros", ">file bytes", "backend", ">accuracy", ">min ms", ">median ms"),
        *(">x reference", ">x onnxruntime fp32", "check"),
    ]
    rows, before = [], ""
    for row in demo.rows:
        new = row.model != before
        before = row.model
        against = row.speedup_onnxruntime
        rows.append(
            [
                row.model if new else "",
                f"{row.sparsity:.0%}" if new else "",
                bytes_text(row.file_bytes) if new else "",
                row.backend,
                f"{row.accuracy:.2%}",
                f"{row.latency_min * 1e3:.3f}",
                f"{row.latency_median * 1e3:.3f}",
                f"{row.speedup:.1f}",
                "-" if against is None else f"{against:.2f}",
                row.check,
            ]
        )
    print_table(columns, rows, f"Fashion-MNIST, ResNet-8, {demo.images} test images")
    print("Latency: one image, one thread; the models took turns. Speed-ups compare medians: over")
    print("the NumPy reference running the same model, and over onnxruntime running the float one.")
    if demo.onnxruntime_median is not None:
        print(f"onnxruntime, float: median {demo.onnxruntime_median * 1e3:.3f} ms.")
    print(
        "Pruned once by magnitude, without retraining, which costs a network this small accuracy."
    )
    for note in demo.notes:
        print(f"Note: {note}.")
    print("All checks passed." if demo.passed else "A CHECK FAILED.")
