"""Write a model as standard ONNX; quantized ones as QDQ, which other engines run.

Examples:

    sparing export net.sparing -o net.onnx
"""

from __future__ import annotations

import argparse
import os

from ..console import bytes_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a .sparing (or .onnx) file")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.onnx", help="file to write")


def run(parsed: argparse.Namespace) -> int:
    from ..errors import InputError
    from ..formats import load, save

    if not parsed.output.lower().endswith(".onnx"):
        raise InputError(f"cannot export as {parsed.output!r}: expected the suffix .onnx")
    save(load(parsed.model), parsed.output)
    print(f"{parsed.output}: {bytes_text(os.path.getsize(parsed.output))} bytes")
    return 0
