"""Show the plan: which kernel runs each layer, why, in which layout, and what it costs.

Examples:

    sparing explain net.sparing
    sparing explain net.sparing --batch 8 --threads 2 --profile
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..console import NO_HEADER, bytes_text, print_json, print_table
from .arguments import add_backend, add_json, add_shapes, positive

if TYPE_CHECKING:
    from ..explain import Explanation
    from ..session import Session

PROFILE_RUNS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an .onnx or .sparing file")
    parser.add_argument("--batch", type=positive, default=1, help="images in a batch (default: 1)")
    add_shapes(parser)
    parser.add_argument(
        "--profile",
        action="store_true",
        help=f"measure each step, too: the median of {PROFILE_RUNS} runs on noise",
    )
    add_backend(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..formats import load
    from ..session import Session
    from ..summary import wanted_shapes

    model = load(parsed.model)
    shapes = wanted_shapes(model, parsed.batch, parsed.shape)
    session = Session(model, parsed.backend, parsed.threads)
    explanation = session.explain(shapes)
    measured = _profile(session, shapes) if parsed.profile else None
    if parsed.json:
        result = explanation.to_dict()
        for step, milliseconds in zip(result["steps"], measured or [], strict=False):
            step["measured_milliseconds"] = milliseconds
        print_json(result)
    else:
        _print(explanation, measured)
    return 0


def _profile(session: Session, shapes: dict[str, tuple[int, ...]]) -> list[float]:
    """Median milliseconds of each step."""
    import numpy as np

    from ..noise import noise_feeds

    feeds = noise_feeds(session.inputs, shapes)
    session.run(None, feeds)  # warm-up: Numba compiles
    runs = [[seconds for _, seconds in session.profile(feeds)] for _ in range(PROFILE_RUNS)]
    medians: list[float] = (np.median(runs, axis=0) * 1e3).tolist()
    return medians


def _print(explanation: Explanation, measured: list[float] | None) -> None:
    columns = ["layer", "operator", "kernel", "output", ">MMAC", ">zeros", ">weight bytes"]
    columns += [">expected ms", *([">measured ms"] if measured else []), "why"]
    rows = []
    for i, step in enumerate(explanation.steps):
        detail = f" [{step.detail}]" if step.detail else ""
        rows.append(
            [
                step.label,
                step.operator,
                f"{step.kernel}{detail}",
                f"{'x'.join(map(str, step.output_shape))} {step.layout}",
                f"{step.macs / 1e6:.2f}" if step.macs else "",
                f"{step.sparsity:.0%}" if step.macs else "",
                bytes_text(step.weight_bytes) if step.weight_bytes else "",
                f"{step.milliseconds:.4f}",
                *([f"{measured[i]:.4f}"] if measured else []),
                step.note,
            ]
        )
    print_table(columns, rows)
    facts: dict[str, Any] = {
        "backend": explanation.backend,
        "threads": explanation.threads,
        "packed weights": f"{bytes_text(explanation.weight_bytes)} bytes",
        "activations": f"{bytes_text(explanation.arena_bytes)} bytes "
        f"(live values peak at {bytes_text(explanation.live_peak_bytes)})",
        "scratch": f"{bytes_text(explanation.scratch_bytes)} bytes",
        "expected": f"{explanation.milliseconds:.3f} ms on one thread",
        **({"measured": f"{sum(measured):.3f} ms"} if measured else {}),
    }
    print_table(NO_HEADER, [[key, str(value)] for key, value in facts.items()])
