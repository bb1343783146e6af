"""`sparing bench --sweep sparsity`: time against sparsity, and where zeros begin to pay."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import print_json, print_table, progress, quiet_stdout

if TYPE_CHECKING:
    from ..bench.sweep import Sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --sweep")
    group.add_argument("--sweep", choices=("sparsity",), help="what to vary")
    group.add_argument(
        "--bits",
        type=_bits,
        default=(7, 8),
        help="of weights and activations, or float (default: w7a8)",
    )
    group.add_argument("--granularity", default="element", help="element, 1x4, 4x1 or channel")
    group.add_argument(
        "--zeros", type=_fractions, help="e.g. 0,0.5,0.9 (default: nine steps up to 0.95)"
    )


def _bits(text: str) -> tuple[int, int] | None:
    if text == "float":
        return None
    found = re.fullmatch(r"w(\d)a(\d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected w7a8, w8a8, ... or float, got {text!r}")
    return int(found[1]), int(found[2])


def _fractions(text: str) -> tuple[float, ...]:
    try:
        values = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        values = (-1.0,)
    if not all(0 <= value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"expected numbers from 0 to below 1, got {text!r}")
    return values


def run(parsed: argparse.Namespace) -> int:
    from ..bench.sweep import SPARSITIES, SweepSettings, run_sweep
    from ..errors import InputError
    from ..session import resolve_backend

    backends = parsed.backends or ["auto"]
    if len(backends) > 1 or len(parsed.threads) > 1:
        raise InputError("--sweep takes one backend and one number of threads")
    if parsed.vs or parsed.data is not None or parsed.batch != 1:
        raise InputError("--sweep takes no --vs, --data or --batch: kernels run on seeded noise")
    settings = SweepSettings(
        sparsities=SPARSITIES if parsed.zeros is None else parsed.zeros,
        granularity=parsed.granularity,
        bits=parsed.bits,
        backend=resolve_backend(backends[0]),
        threads=parsed.threads[0],
        seconds=parsed.seconds,
        pin=not parsed.no_pin,
        seed=parsed.seed,
    )
    with quiet_stdout():
        sweeps = [run_sweep(subject, settings, progress) for subject in parsed.models]
    if parsed.html is not None:
        from ..bench.sweep_report import write_html

        write_html(sweeps, Path(parsed.html))
    if parsed.json:
        print_json([asdict(sweep) for sweep in sweeps])
    else:
        for sweep in sweeps:
            _print(sweep)
    return 0 if all(sweep.passed for sweep in sweeps) else 1


def _print(sweep: Sweep) -> None:
    from ..bench.sweep import break_even_text

    columns = [">zeros", "contestant", ">min ms", ">p50 ms", ">GMAC/s", ">x dense", "check"]
    dense: dict[float, float] = {}
    for point in sweep.points:
        if point.kind == "dense":
            known = dense.get(point.sparsity, point.p50_ms)
            dense[point.sparsity] = min(known, point.p50_ms)
    rows = [
        [
            f"{point.sparsity:.0%}",
            point.contestant,
            f"{point.min_ms:.3f}",
            f"{point.p50_ms:.3f}",
            f"{point.gmacs:.0f}",
            f"{dense[point.sparsity] / point.p50_ms:.2f}",
            point.check,
        ]
        for point in sweep.points
    ]
    print_table(columns, rows, sweep.subject)
    print(f"{sweep.subject}: {break_even_text(sweep)}")
    if not sweep.passed:
        print("A CHECK FAILED: integer results differ from the reference's.")
