"""Time models on every backend and on other engines, in turns, and check integer results.

MODEL is a file, or a network that is built here: zoo:resnet18, zoo:resnet50, zoo:mobilenet_v2,
zoo:vgg11, zoo:efficientnet_lite0 or zoo:resnet8, with :w8a8 for bits, :s90 for per cent of zeros,
:96px for the image size. The NumPy reference is always measured. Peers that are not installed are
listed as absent.

    sparing bench net.sparing --vs onnxruntime,openvino,mnn --threads 1,2
    sparing bench zoo:resnet50 zoo:resnet50:w8a8 zoo:resnet50:w7a8:s90 --html report.html

`--sweep sparsity` prunes and quantizes each float MODEL (also one layer of a known network,
layer:resnet50/res3b_3x3) to more and more zeros, and says from where on they pay:

    sparing bench zoo:resnet50 layer:resnet50/res4b_1x1_in --sweep sparsity --html sweep.html
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import print_json, print_table, progress, quiet_stdout
from . import bench_sweep
from .arguments import add_json, add_shapes, positive, positive_list, seconds

if TYPE_CHECKING:
    from ..bench.harness import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a file, or zoo:NAME")
    parser.add_argument(
        "--vs", type=_names, default=[], metavar="PEERS", help="onnxruntime, openvino, mnn"
    )
    parser.add_argument(
        "--backends", type=_names, help="c, numba, numpy (default: all that are installed)"
    )
    parser.add_argument(
        "--threads", type=positive_list, default=[1], help="e.g. 1,2: a contest each (default: 1)"
    )
    parser.add_argument("--batch", type=positive, default=1, help="images in a batch (default: 1)")
    add_shapes(parser)
    parser.add_argument(
        "--seconds", type=seconds, default=2.0, help="timed for each contestant (default: 2)"
    )
    parser.add_argument("--data", help="images to run on (default: seeded noise)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and the order of turns")
    parser.add_argument(
        "--no-pin", action="store_true", help="do not keep the process on as many CPUs as threads"
    )
    parser.add_argument("--html", metavar="FILE", help="write a report with plots, too")
    bench_sweep.add_arguments(parser)
    add_json(parser)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def run(parsed: argparse.Namespace) -> int:
    from ..bench.harness import Settings, run_bench
    from ..errors import InputError
    from ..kernels.registry import available_backends

    if parsed.html is not None:
        from ..bench.plots import check_packages

        check_packages()  # before minutes of measuring
        if not Path(parsed.html).absolute().parent.is_dir():
            raise InputError(f"cannot write {parsed.html!r}: there is no such folder")
    if parsed.sweep is not None:
        return bench_sweep.run(parsed)
    installed = [name for name in available_backends() if name != "numpy"]
    settings = Settings(
        backends=installed if parsed.backends is None else parsed.backends,
        peers=parsed.vs,
        threads=parsed.threads,
        batch=parsed.batch,
        seconds=parsed.seconds,
        data=parsed.data,
        shapes=parsed.shape,
        pin=not parsed.no_pin,
        seed=parsed.seed,
    )
    with quiet_stdout():
        report = run_bench(parsed.models, settings, progress)
    if parsed.html is not None:
        from ..bench.report import write_html

        write_html(report, Path(parsed.html))
    if parsed.json:
        print_json(asdict(report))
    else:
        _print(report)
    return 0 if report.passed else 1


def _print(report: Report) -> None:
    columns = ["model", "engine", ">threads", ">min ms", ">p50", ">p90", ">p99", ">runs"]
    columns += [">GMAC/s", ">effective", ">of peak", ">x reference"]
    columns += [f">x {peer}" for peer in report.settings.peers]
    columns += [">file bytes", ">resident", ">load s", ">agreement", ">max diff", "check"]
    rows = []
    for r in report.results:
        rows.append(
            [
                r.model,
                r.engine,
                str(r.threads),
                *(f"{value:.3f}" for value in (r.min_ms, r.p50_ms, r.p90_ms, r.p99_ms)),
                str(r.count),
                f"{r.dense_gmacs:.1f}",
                f"{r.effective_gmacs:.1f}",
                "-" if r.peak_fraction is None else f"{r.peak_fraction:.0%}",
                f"{r.speedups['numpy']:.1f}",
                *(_speedup(r.speedups.get(peer)) for peer in report.settings.peers),
                f"{r.file_bytes:,}",
                "-" if r.resident_bytes is None else f"{r.resident_bytes:,}",
                f"{r.load_seconds:.3f}",
                "-" if r.agreement is None else f"{r.agreement:.0%}",
                f"{r.max_difference:.2g}",
                r.check,
            ]
        )
    print_table(columns, rows)
    machine = report.machine
    peaks = ", ".join(f"{mix} {rate:.0f}" for mix, rate in machine["peak_gmacs"].items())
    print(f"{machine['cpu']}; instruction set {machine['isa']}; peak GMAC/s of a core: {peaks}")
    for model in report.models:
        print(f"{model['name']}: {model['macs'] / 1e9:.3f} GMAC a batch, input: {model['data']}")
    for miss in report.absent:
        print(f"absent: {miss['engine']} on {miss['model']}: {miss['reason']}")
    if not report.blas_limited:
        print("threadpoolctl is not installed: the reference's BLAS may use other threads")
    if not report.passed:
        print("A CHECK FAILED: an integer model's outputs differ from the reference's.")


def _speedup(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
