"""Show what a model consists of: layers, MACs, parameters, sparsity, bytes on disk and in memory.

Examples:

    sparing info net.onnx
    sparing info net.sparing --json
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from typing import Any

from ..console import NO_HEADER, bytes_text, print_json, print_table
from .arguments import add_json, add_shapes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an .onnx or .sparing file")
    add_shapes(parser)
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    from ..formats import load
    from ..session import Session
    from ..summary import summarize, wanted_shapes

    model = load(parsed.model)
    shapes = wanted_shapes(model, given=parsed.shape)
    summary = summarize(model, shapes)
    explanation = Session(model, threads=1).explain(shapes)
    facts: dict[str, Any] = {
        "file": parsed.model,
        "inputs": [str(info) for info in model.inputs],
        "outputs": [str(info) for info in model.outputs],
        "opset": model.opset,
        "macs": summary.macs,
        "nonzero_macs": summary.nonzero_macs,
        "parameters": summary.parameters,
        "sparsity": summary.sparsity,
        "layers_with_weights": len(summary.layers),
        "quantized_layers": summary.quantized,
        "file_bytes": os.path.getsize(parsed.model),
        "stored_weight_bytes": summary.stored_bytes,
        "packed_weight_bytes": explanation.weight_bytes,
        "activation_bytes": explanation.arena_bytes,
        "backend": explanation.backend,
        "recipe": model.metadata.get("recipe"),
        "classes": len(model.metadata.get("labels") or []),
    }
    if parsed.json:
        layers = [{**asdict(layer), "sparsity": layer.sparsity} for layer in summary.layers]
        print_json({**facts, "layers": layers})
        return 0
    rows = [
        [
            layer.label,
            layer.operator,
            layer.precision,
            "x".join(map(str, layer.output_shape)),
            f"{layer.macs / 1e6:.3f}",
            f"{layer.parameters:,}",
            f"{layer.sparsity:.0%}",
        ]
        for layer in summary.layers
    ]
    columns = ["layer", "operator", "weights", "output", ">MMAC", ">parameters", ">zeros"]
    print_table(columns, rows, parsed.model)
    print_table(NO_HEADER, _facts(facts))
    return 0


def _facts(facts: dict[str, Any]) -> list[list[str]]:
    quantized, layers = facts["quantized_layers"], facts["layers_with_weights"]
    return [
        ["inputs", "; ".join(facts["inputs"])],
        ["outputs", "; ".join(facts["outputs"])],
        ["classes with names", str(facts["classes"])],
        ["opset", str(facts["opset"])],
        ["MACs for one input", f"{facts['macs']:,} ({facts['nonzero_macs']:,} of them not zero)"],
        ["parameters", f"{facts['parameters']:,}"],
        ["sparsity of the weights", f"{facts['sparsity']:.1%}"],
        ["quantized", f"{quantized} of {layers} layers"],
        ["file", f"{bytes_text(facts['file_bytes'])} bytes"],
        ["weights as stored", f"{bytes_text(facts['stored_weight_bytes'])} bytes"],
        [
            f"weights packed for {facts['backend']}",
            f"{bytes_text(facts['packed_weight_bytes'])} bytes",
        ],
        ["activations, batch 1", f"{bytes_text(facts['activation_bytes'])} bytes"],
    ]
