"""Networks everyone knows, built here, so that benchmarks need no downloads.

ResNet-18 and -50 (He et al., 2015, arXiv:1512.03385; stride in the 3x3), MobileNetV2 (Sandler et
al., 2018, arXiv:1801.04381) and VGG-11 (Simonyan and Zisserman, 2014, arXiv:1409.1556; average
pooling and one classifier layer on top) have seeded He-normal weights: their speed is real, their
answers are not. EfficientNet-Lite0 and the embedded ResNet-8 are trained.

A name is `resnet50`, and more after colons: `w8a8` (bits of weights and activations), `s90`
(per cent of zeros), `b90` (per cent of zeros in 1x4 blocks along input channels), `r90` (in 4x1
blocks, rows of output channels), `96px` (image size), e.g. `resnet50:w7a7:s90`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from ..compression.prune import prune
from ..compression.quantize import quantize
from ..errors import InputError
from ..formats import load
from ..model import Array, Model
from ..noise import noise_feeds
from ..summary import default_shapes
from .zoo_graphs import mobilenet_v2, resnet18, resnet50, vgg11

CALIBRATION_IMAGES = 2  # of noise: enough for ranges, and quick
BUILDERS: dict[str, Callable[[int], Model]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "vgg11": vgg11,
}
TRAINED = ("efficientnet_lite0", "resnet8")
NAMES = (*BUILDERS, *TRAINED)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name like `resnet50:w8a8:s90` asks for; bits are None for a float model."""

    network: str
    weight_bits: int | None = None
    activation_bits: int | None = None
    sparsity: float = 0.0
    size: int = 224
    granularity: str = "element"


GRANULARITIES = {"s": "element", "b": "1x4", "r": "4x1"}


def parse(name: str) -> Entry:
    """An entry from its name (without `zoo:`). Raises InputError."""
    network, *parts = name.split(":")
    if network not in NAMES:
        raise InputError(f"zoo: expected one of {', '.join(NAMES)}, got {network!r}")
    weight_bits = activation_bits = None
    sparsity, size, granularity = 0.0, 224, "element"
    for part in parts:
        if found := re.fullmatch(r"w(\d)a(\d)", part):
            weight_bits, activation_bits = int(found[1]), int(found[2])
        elif found := re.fullmatch(r"([sbr])(\d{1,2})", part):
            granularity, sparsity = GRANULARITIES[found[1]], int(found[2]) / 100
        elif found := re.fullmatch(r"(\d{2,4})px", part):
            size = int(found[1])
        else:
            raise InputError(f"zoo:{name}: expected w8a8, s90, b90, r90 or 96px, got {part!r}")
    if network in TRAINED and size != 224:
        raise InputError(f"zoo:{name}: this network is trained for one image size")
    return Entry(network, weight_bits, activation_bits, sparsity, size, granularity)


def build(name: str) -> Model:
    """The model that a name asks for. Raises InputError for unknown names and missing files."""
    entry = parse(name)
    if entry.weight_bits is None or entry.activation_bits is None:
        model = float_model(entry.network, entry.size)
        return pruned(model, entry.sparsity, entry.granularity)
    bits = entry.weight_bits, entry.activation_bits
    return quantized(
        entry.network, *bits, entry.sparsity, size=entry.size, granularity=entry.granularity
    )


def float_model(network: str, size: int = 224) -> Model:
    """A network of NAMES in float32; `size` does not concern the trained ones."""
    if network in BUILDERS:
        return BUILDERS[network](size)
    if network == "resnet8":
        with as_file(files("sparing.assets") / "resnet8_fashion_mnist.onnx") as path:
            return load(path)
    return load(efficientnet_file())


def pruned(model: Model, sparsity: float, granularity: str = "element") -> Model:
    """Every convolution but the first and the depthwise ones pruned, each to the same sparsity.

    The classifier stays dense. A sparsity of 0 leaves the model as it is. granularity: as for
    `sparing.prune`.
    """
    if not sparsity:
        return model
    kept = kept_dense(model)
    return prune(model, sparsity, scope="layer", granularity=granularity, ignored=kept)


def kept_dense(model: Model) -> list[str]:
    """Regular expressions of the layers that stay dense, for `prune(ignored=)`."""
    convolutions = [node for node in model.nodes if node.op_type == "Conv"]
    dense = [node for node in model.nodes if node.op_type in ("Gemm", "MatMul")]
    grouped = [node for node in convolutions if node.attributes.get("group", 1) != 1]
    return sorted({re.escape(node.label) for node in (*convolutions[:1], *grouped, *dense)})


def quantized(
    network: str,
    weight_bits: int = 8,
    activation_bits: int = 8,
    sparsity: float = 0.0,
    size: int = 224,
    granularity: str = "element",
) -> Model:
    """A network of NAMES, pruned per layer where `sparsity` is not 0, and quantized for speed."""
    model = pruned(float_model(network, size), sparsity, granularity)
    return quantized_for_speed(model, weight_bits, activation_bits)


def quantized_for_speed(model: Model, weight_bits: int, activation_bits: int) -> Model:
    """A float model quantized to measure its speed, not its accuracy.

    Ranges are the extremes on a few images of seeded noise and weights are rounded to nearest.
    """
    return quantize(
        model,
        _noise(model),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        method="minmax",
        rounding="nearest",
        bias_correction=False,
    )


def _noise(model: Model) -> Iterator[dict[str, Array]]:
    shapes = default_shapes(model)
    for seed in range(CALIBRATION_IMAGES):
        yield noise_feeds(model.inputs, shapes, seed)


def efficientnet_file() -> Path:
    """EfficientNet-Lite0 as ONNX, from `$SPARING_SHARED/models` or `../shared/models`."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("SPARING_SHARED", beside)) / "models" / "efficientnet_lite0.onnx"
    if not path.is_file():
        raise InputError(
            f"zoo:efficientnet_lite0: expected {path} (set SPARING_SHARED to the folder above "
            "models/); python -m sparing.bench.export_efficientnet writes that file where torch is"
        )
    return path
