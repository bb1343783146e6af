"""Run a model on images or arrays, and print the most probable classes of each.

INPUT is an image file, a folder of them, or an `.npy` or `.npz` of pixels (uint8) or of inputs as
the model takes them (float32). Images are scaled on their shorter side and cut to the centre.

    sparing run net.sparing cat.jpg
    sparing run net.onnx photos/ --top 1 --labels names.txt --json
    sparing run net.onnx inputs.npy --backend numpy -o outputs.npy
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import print_json, print_table, progress
from .arguments import add_backend, add_json, add_preprocessing, positive, preprocessing

if TYPE_CHECKING:
    from ..image_data import Images
    from ..model import Array


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an .onnx or .sparing file")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="image, folder, .npy or .npz")
    add_backend(parser)
    parser.add_argument("--top", type=positive, default=5, help="classes to print (default: 5)")
    parser.add_argument(
        "-o", "--output", metavar="OUT.npy", help="save the model's first output of all inputs"
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="class names, one a line (default: the model's own)"
    )
    add_preprocessing(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    import numpy as np

    from ..errors import InputError
    from ..formats import load
    from ..session import Session
    from .inputs import class_names, open_images

    if parsed.output is not None and Path(parsed.output).suffix != ".npy":
        raise InputError(f"cannot save as {parsed.output!r}: expected the suffix .npy")
    model = load(parsed.model)
    names = class_names(model, parsed.labels)
    sources = [open_images(source, model, preprocessing(parsed)) for source in parsed.inputs]
    session = Session(model, parsed.backend, parsed.threads)
    outputs: list[Array] = []
    with progress("running", sum(map(len, sources))) as advance:
        for source in sources:
            for feeds in source:
                (first, *_) = session.run(None, feeds)
                outputs.append(first)
                advance(len(first))
    if parsed.output is not None:
        np.save(parsed.output, np.concatenate(outputs))
    labelled = list(
        zip(_labels(parsed.inputs, sources), (row for o in outputs for row in o), strict=True)
    )
    results = [_result(label, row, parsed.top, names) for label, row in labelled]
    if parsed.json:
        print_json(results)
    else:
        _print(results)
    return 0


def _labels(inputs: Sequence[str], sources: Sequence[Images]) -> Iterator[str]:
    """What each row of the output is called: the image's path, or its place in the array's file."""
    for given, source in zip(inputs, sources, strict=True):
        for i, item in enumerate(source.items):
            yield str(item) if isinstance(item, Path) else f"{given}[{i}]"


def _result(label: str, output: Array, top: int, names: Sequence[str]) -> dict[str, Any]:
    """The top classes of one image; for outputs that are no class scores, their shape and range."""
    import numpy as np

    from ..errors import InputError
    from ..evaluation import class_scores, log_probabilities

    if output.size != output.shape[0]:
        return {
            "input": label,
            "shape": list(output.shape),
            "min": float(output.min()),
            "max": float(output.max()),
        }
    scores = class_scores(output[None])
    if names and len(names) != scores.shape[1]:
        raise InputError(f"expected {scores.shape[1]} class names, got {len(names)}")
    probabilities = np.exp(log_probabilities(scores)[0])
    order = np.argsort(-scores[0], kind="stable")[:top]
    return {
        "input": label,
        "top": [
            {
                "class": int(index),
                **({"label": names[index]} if names else {}),
                "probability": float(probabilities[index]),
                "score": float(scores[0, index]),
            }
            for index in order
        ],
    }


def _print(results: Sequence[dict[str, Any]]) -> None:
    rows = []
    for result in results:
        if "top" not in result:
            shape = "x".join(map(str, result["shape"]))
            extent = f"{result['min']:.4g}..{result['max']:.4g}"
            rows.append([result["input"], "", shape, "", extent])
            continue
        for i, entry in enumerate(result["top"]):
            rows.append(
                [
                    "" if i else result["input"],
                    str(entry["class"]),
                    entry.get("label", ""),
                    f"{entry['probability']:.2%}",
                    f"{entry['score']:.4f}",
                ]
            )
    print_table(["input", ">class", "name", ">probability", ">score"], rows)
