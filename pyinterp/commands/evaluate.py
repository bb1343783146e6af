"""Measure accuracy on labelled images, and how near a model's answers are to another model's.

DATA is a folder of class folders, an `.npz` with images and labels, or a CSV of path,label.

    sparing evaluate net.sparing --data validation/
    sparing evaluate net.sparing --data validation/ --against net.onnx --layers
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ..console import NO_HEADER, print_json, print_table, progress
from .arguments import add_backend, add_json, add_preprocessing, positive, preprocessing

LAYER_IMAGES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an .onnx or .sparing file")
    parser.add_argument(
        "--data", metavar="DATA", required=True, help="images, with or without labels"
    )
    parser.add_argument(
        "--against", metavar="OTHER", help="model to compare with, e.g. the float one"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help=f"the error after each layer, too, on {LAYER_IMAGES} images (needs --against)",
    )
    parser.add_argument(
        "--limit", type=positive, help="images to use, spread evenly (default: all)"
    )
    add_backend(parser)
    add_preprocessing(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..errors import InputError
    from ..evaluation import evaluate, layer_sqnr
    from ..formats import load
    from .inputs import open_images

    if parsed.layers and parsed.against is None:
        raise InputError("--layers: expected --against OTHER to compare the layers with")
    model = load(parsed.model)
    other = None if parsed.against is None else load(parsed.against)
    data = open_images(parsed.data, model, preprocessing(parsed))
    if parsed.limit is not None:
        data = data.take(parsed.limit)
    with progress("evaluating", len(data)) as advance:
        found = evaluate(
            model,
            data,
            against=other,
            backend=parsed.backend,
            threads=parsed.threads,
            progress=advance,
        )
    layers: dict[str, float] = {}
    if parsed.layers and other is not None:
        layers = layer_sqnr(model, other, data.take(LAYER_IMAGES))
    if parsed.json:
        print_json({**asdict(found), **({"layers_sqnr_db": layers} if parsed.layers else {})})
        return 0
    print_table(NO_HEADER, _rows(asdict(found)))
    if layers:
        rows = [[label, f"{ratio:.1f}"] for label, ratio in layers.items()]
        print_table(["layer", ">SQNR dB"], rows)
    return 0


def _rows(found: dict[str, Any]) -> list[list[str]]:
    texts = {
        "images": ("images", "d"),
        "top1": ("top-1 accuracy", ".2%"),
        "other_top1": ("top-1 accuracy of the other", ".2%"),
        "agreement": ("same top class as the other", ".2%"),
        "kl_divergence": ("mean KL divergence from the other, nats", ".6f"),
        "sqnr_db": ("SQNR of the output, dB", ".2f"),
    }
    measured = {key: value for key, value in found.items() if value is not None}
    return [[texts[key][0], format(value, texts[key][1])] for key, value in measured.items()]
