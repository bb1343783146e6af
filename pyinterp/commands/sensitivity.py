"""Show how sensitive each layer is to quantization, the most sensitive one first.

Each layer is quantized alone (with --all-but: all layers but the one), and the network's answers
are compared with the float ones on sample images. Layers that cost much are candidates for more
bits, or for `ignored`, in a recipe; `max_divergence` in its table [quantize] chooses them.

Examples:

    sparing sensitivity net.onnx --calibration photos/
    sparing sensitivity net.onnx --calibration data.npz --weight-bits 4 --json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..console import print_json, print_table, progress
from .arguments import add_json, add_preprocessing, positive, preprocessing

LIMIT = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a float model, .onnx or .sparing")
    parser.add_argument(
        "--calibration",
        metavar="DATA",
        required=True,
        help="sample images: a folder, an .npz or .npy, or a CSV of path,label",
    )
    for kind, bits in (("weight", "4 to 8"), ("activation", "7 or 8")):
        parser.add_argument(f"--{kind}-bits", type=positive, default=8, help=f"{bits} (default: 8)")
    parser.add_argument(
        "--all-but", action="store_true", help="quantize all layers but the one instead"
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=LIMIT,
        help=f"sample images to use, spread evenly over all (default: {LIMIT})",
    )
    add_preprocessing(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..compression.mixed_precision import sensitivity
    from ..formats import load
    from .inputs import open_images

    model = load(parsed.model)
    options = preprocessing(parsed)
    data = open_images(parsed.calibration, model, options, "calibration").take(parsed.limit)
    with progress("calibrating", len(data)) as advance:
        found = sensitivity(
            model,
            data,
            weight_bits=parsed.weight_bits,
            activation_bits=parsed.activation_bits,
            all_but=parsed.all_but,
            progress=advance,
        )
    ordered = sorted(found, key=lambda one: -one.divergence)
    if parsed.json:
        print_json({"layers": [asdict(one) for one in ordered]})
        return 0
    rows = [[one.label, f"{one.divergence:.6f}", f"{one.sqnr_db:.1f}"] for one in ordered]
    print_table(["layer", ">divergence", ">signal to error, dB"], rows)
    return 0
