"""Compress a model: prune and quantize it by a recipe (default: int8), or by a search.

Activation ranges come from sample images. A recipe is a TOML file whose keys are the arguments of
`sparing.prune` and `sparing.quantize`:

    [prune]
    sparsity = 0.8
    [quantize]
    weight_bits = 8
    activation_bits = 7
    [layers."/head/.*"]
    ignored = true

With --evaluate and --max-drop there is a search: each layer gets the sparsity and the bits that
save most time or bytes, while the score on those images drops by no more than that.

Examples:

    sparing compress net.onnx -o net.sparing --calibration photos/
    sparing compress net.onnx -o net.onnx --calibration data.npz --recipe recipe.toml
    sparing compress net.onnx -o net.sparing --calibration photos/ \\
        --evaluate validation/ --max-drop 0.01 --target size --save-recipe found.toml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import bytes_text, print_json, print_table, progress
from .arguments import add_json, add_preprocessing, add_shapes, positive, preprocessing
from .compress_search import add_search, check_search, found_facts, print_found, run_search

if TYPE_CHECKING:
    from ..image_data import Images
    from ..model import Model

LIMIT = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a float model, .onnx or .sparing")
    parser.add_argument("-o", "--output", required=True, help="file to write, .sparing or .onnx")
    parser.add_argument(
        "--calibration",
        metavar="DATA",
        help="sample images: a folder, an .npz or .npy, or a CSV of path,label",
    )
    parser.add_argument("--recipe", metavar="FILE", help="what to do, in TOML (default: int8)")
    parser.add_argument(
        "--calibration-cache",
        metavar="FILE",
        help="JSON file of activation ranges: written if absent, else used instead of measuring",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=LIMIT,
        help=f"sample images to use, spread evenly over all (default: {LIMIT})",
    )
    add_search(parser)
    add_shapes(parser)
    add_preprocessing(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..compression.recipe import apply_recipe, load_recipe
    from ..formats import load, save
    from .inputs import open_images

    _check_output(parsed.output)
    searching = check_search(parsed)
    recipe = None if parsed.recipe is None else load_recipe(parsed.recipe)
    model = load(parsed.model)
    data = None
    if parsed.calibration is not None:
        options = preprocessing(parsed)
        data = open_images(parsed.calibration, model, options, "calibration").take(parsed.limit)
    shapes = _input_shapes(model, data, parsed.shape)
    before = _facts(parsed.model, shapes)  # first: the output may be the same file
    found = None
    if searching and data is not None:
        found = run_search(parsed, model, data)
        compressed = found.model
    else:
        with progress("calibrating", 0 if data is None else len(data)) as advance:
            compressed = apply_recipe(model, recipe, data, advance, parsed.calibration_cache)
    save(compressed, parsed.output)
    after = _facts(parsed.output, shapes)
    status = 1 if found is not None and found.best is None else 0
    if parsed.json:
        search = {} if found is None else {"search": found_facts(found)}
        print_json({"before": before, "after": after, **search})
        return status
    if found is not None:
        print_found(found, parsed.save_recipe)
    rows = [
        ["file", before["file"], after["file"], ""],
        *(
            [text, bytes_text(before[key]), bytes_text(after[key]), _ratio(before[key], after[key])]
            for key, text in (
                ("file_bytes", "file bytes"),
                ("stored_weight_bytes", "weight bytes, stored"),
                ("packed_weight_bytes", "weight bytes, in memory"),
                ("macs", "MACs"),
                ("nonzero_macs", "MACs without zeros"),
            )
        ),
        ["sparsity", f"{before['sparsity']:.1%}", f"{after['sparsity']:.1%}", ""],
        [
            "layers in integers",
            *(f"{f['quantized_layers']} of {f['layers_with_weights']}" for f in (before, after)),
            "",
        ],
    ]
    print_table(["", ">before", ">after", ">smaller by"], rows)
    return status


def _check_output(output: str) -> None:
    """Refuse at once what could not be written after minutes of work."""
    from ..errors import InputError
    from ..formats import SUFFIXES

    path = Path(output)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot save as {output!r}: expected the suffix {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"cannot save as {output!r}: there is no folder {str(path.parent)!r}")


def _input_shapes(
    model: Model, data: Images | None, given: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[int, ...]]:
    """Of one image, as large as those for calibration where the model leaves its size open."""
    from ..summary import wanted_shapes

    if data is not None and not given:
        own = model.inputs[0].shape
        if own is None or not all(isinstance(d, int) for d in own[1:]):
            (batch,) = next(iter(data.take(1))).values()
            given = [(data.name, batch.shape)]
    return wanted_shapes(model, given=given)


def _facts(path: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Sizes of a model file; from the file, so that they are what the next user gets."""
    from ..formats import load
    from ..session import Session
    from ..summary import summarize

    model = load(path)
    summary = summarize(model, shapes)
    return {
        "file": path,
        "file_bytes": Path(path).stat().st_size,
        "stored_weight_bytes": summary.stored_bytes,
        "packed_weight_bytes": Session(model, threads=1).explain(shapes).weight_bytes,
        "macs": summary.macs,
        "nonzero_macs": summary.nonzero_macs,
        "sparsity": summary.sparsity,
        "quantized_layers": summary.quantized,
        "layers_with_weights": len(summary.layers),
    }


def _ratio(before: int, after: int) -> str:
    return f"{before / after:.2f}x" if after else ""
