"""Train the embedded default model, a ResNet-8 on Fashion-MNIST, and write it beside its data.

The network is MLPerf Tiny's (Banbury et al., 2021, arXiv:2106.07597) for one channel of 28x28:
small enough for the package, with 3x3 and 1x1 convolutions, strides, additions and BatchNorm.
Training is the usual recipe for residual networks (He et al., 2015, arXiv:1512.03385: flips and
shifts, SGD with momentum) with a one-cycle learning rate (Smith and Topin, 2017, arXiv:1708.07120).

    python bench/train_default.py        # about 20 minutes on one core

The same seed, thread count, torch version and kind of CPU give the same bytes. The test images are
looked at once, after the last epoch: nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor

Bytes = NDArray[np.uint8]
T = TypeVar("T")

DEBIAN_DATA = Path("/usr/share/datasets/fashion-mnist")
ASSETS = Path(__file__).resolve().parent.parent / "pyinterp" / "assets"
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
LABELS += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
EMBEDDED, CALIBRATION = 2_000, 256  # test and training images that go into the package
MEAN, STD = 72.94, 90.02  # of the pixels (0..255) of the 60,000 training images
BATCH, PEAK_RATE, WEIGHT_DECAY, SMOOTHING, SHIFT = 128, 0.2, 2e-4, 0.05, 2
EPSILON = 1e-5

# Convolutions: inputs, outputs, kernel, stride; the padding is kernel // 2 on every side.
CONVS = {
    "stem/conv": (1, 16, 3, 1),
    "stack1/conv1": (16, 16, 3, 1),
    "stack1/conv2": (16, 16, 3, 1),
    "stack2/conv1": (16, 32, 3, 2),
    "stack2/conv2": (32, 32, 3, 1),
    "stack2/projection": (16, 32, 1, 2),
    "stack3/conv1": (32, 64, 3, 2),
    "stack3/conv2": (64, 64, 3, 1),
    "stack3/projection": (32, 64, 1, 2),
}
# Parameters of an operator, in ONNX's order: node "a/b" owns the tensors "a/b/weight" and so on.
PARAMETERS = {"Conv": ["weight"], "BatchNormalization": ["scale", "bias", "mean", "var"]}
PARAMETERS["Gemm"] = ["weight", "bias"]


def resnet8(layer: Callable[..., T], image: T) -> T:
    """The network, written once: `layer(op, name, *inputs)` computes it or records it as ONNX."""

    def conv(name: str, x: T) -> T:
        return layer("BatchNormalization", f"{name}/bn", layer("Conv", name, x))

    x = layer("Relu", "stem/relu", conv("stem/conv", image))
    for stack in ("stack1", "stack2", "stack3"):
        y = layer("Relu", f"{stack}/relu1", conv(f"{stack}/conv1", x))
        y = conv(f"{stack}/conv2", y)
        shortcut = conv(f"{stack}/projection", x) if f"{stack}/projection" in CONVS else x
        x = layer("Relu", f"{stack}/relu2", layer("Add", f"{stack}/add", y, shortcut))
    x = layer("Flatten", "flatten", layer("GlobalAveragePool", "pool", x))
    return layer("Gemm", "classifier", x)


def computing(state: dict[str, Tensor], training: bool) -> Callable[..., Tensor]:
    """Layers computed by torch on NCHW float32; training uses and updates batch statistics."""
    from torch.nn import functional

    def layer(op: str, name: str, *inputs: Tensor) -> Tensor:
        x, p = inputs[0], [state[f"{name}/{part}"] for part in PARAMETERS.get(op, [])]
        if op == "Conv":
            _, _, kernel, stride = CONVS[name]
            return functional.conv2d(x, p[0], stride=stride, padding=kernel // 2)
        if op == "BatchNormalization":
            return functional.batch_norm(x, p[2], p[3], p[0], p[1], training, eps=EPSILON)
        if op == "Gemm":
            return functional.linear(x, p[0], p[1])
        if op == "Add":
            return x + inputs[1]
        if op == "Relu":
            return x.relu()
        return x.flatten(1) if op == "Flatten" else x.mean((2, 3), keepdim=True)

    return layer


def initial_state() -> dict[str, Tensor]:
    """Convolutions by He initialisation; BatchNorm as the identity; a random dense layer."""
    import torch

    state: dict[str, Tensor] = {}
    for name, (inputs, outputs, k, _) in CONVS.items():
        weight = torch.randn(outputs, inputs, k, k) * (2 / (outputs * k * k)) ** 0.5
        # Channels last makes torch's training 1.8 times faster on CPUs.
        state[f"{name}/weight"] = weight.contiguous(memory_format=torch.channels_last)
        for part in PARAMETERS["BatchNormalization"]:
            state[f"{name}/bn/{part}"] = torch.full((outputs,), float(part in ("scale", "var")))
    state["classifier/weight"] = torch.randn(len(LABELS), 64) / 8
    state["classifier/bias"] = torch.zeros(len(LABELS))
    for name, tensor in state.items():
        tensor.requires_grad_(not name.endswith(("/mean", "/var")))
    return state


def normalize(images: Tensor) -> Tensor:
    """Pixels [N,28,28] uint8 as the network's input [N,1,28,28] float32."""
    return (images.float().unsqueeze(1) - MEAN) / STD


def train(images: Bytes, labels: Bytes, epochs: int, seed: int) -> dict[str, Tensor]:
    """The state after training on images [N,28,28] and labels [N]."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    batches = len(images) // BATCH  # a shuffled epoch's rest is left out
    padded = functional.pad(torch.tensor(images), [SHIFT] * 4)
    shifted = padded.unfold(1, 28, 1).unfold(2, 28, 1)  # a view: [N, offset y, offset x, 28, 28]
    targets = torch.tensor(labels).long()
    state = initial_state()
    weights = [tensor for tensor in state.values() if tensor.requires_grad]
    sgd = torch.optim.SGD(weights, PEAK_RATE, 0.9, weight_decay=WEIGHT_DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        sgd, PEAK_RATE, epochs * batches, pct_start=0.2, cycle_momentum=False
    )
    for epoch in range(1, epochs + 1):
        start, total = perf_counter(), 0.0
        for batch in torch.randperm(len(images))[: batches * BATCH].view(batches, BATCH):
            y, x = torch.randint(2 * SHIFT + 1, (2, BATCH))
            crops = shifted[batch, y, x]
            crops = torch.where(torch.rand(BATCH, 1, 1) < 0.5, crops, crops.flip(2))
            logits = resnet8(computing(state, training=True), normalize(crops))
            loss = functional.cross_entropy(logits, targets[batch], label_smoothing=SMOOTHING)
            sgd.zero_grad()
            torch.autograd.backward(loss)
            sgd.step()
            schedule.step()
            total += loss.item() / batches
        seconds = perf_counter() - start
        print(f"epoch {epoch}: loss {total:.4f}, {seconds:.0f} s", flush=True)
    return state


def onnx_model(state: dict[str, Tensor]) -> ModelProto:
    """The network as ONNX, with BatchNorm kept: folding it is for Sparing to do."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    fixed: dict[str, Any] = {"BatchNormalization": {"epsilon": EPSILON}, "Gemm": {"transB": 1}}

    def layer(op: str, name: str, *inputs: str) -> str:
        attributes = fixed.get(op, {})
        if op == "Conv":
            _, _, k, stride = CONVS[name]
            attributes = {"kernel_shape": [k] * 2, "pads": [k // 2] * 4, "strides": [stride] * 2}
        output = "logits" if op == "Gemm" else name
        parameters = [f"{name}/{part}" for part in PARAMETERS.get(op, [])]
        nodes.append(helper.make_node(op, [*inputs, *parameters], [output], name, **attributes))
        return output

    resnet8(layer, "input")
    arrays = {name: np.ascontiguousarray(tensor.detach()) for name, tensor in state.items()}
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 28, 28])
    scores = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])
    graph = helper.make_graph(nodes, "resnet8_fashion_mnist", [image], [scores], weights)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, ir_version=8, opset_imports=[opset], producer_name="sparing")
    preprocessing = {"channels": 1, "layout": "NCHW", "mean": [MEAN], "size": 28, "std": [STD]}
    metadata = {"sparing.labels": LABELS, "sparing.preprocessing": preprocessing}
    helper.set_model_props(model, {k: json.dumps(v, sort_keys=True) for k, v in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def check(model: bytes, state: dict[str, Tensor], images: Bytes, labels: Bytes) -> None:
    """Print the accuracy of the ONNX bytes; an error if they do not compute what was trained."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    exported, trained = [], []
    with torch.no_grad():
        for chunk in torch.tensor(images).chunk(20):
            x = normalize(chunk)
            trained.append(resnet8(computing(state, training=False), x).numpy())
            exported.append(session.run(None, {"input": x.numpy()})[0])
    difference = np.abs(np.concatenate(exported) - np.concatenate(trained)).max()
    print(f"largest difference between onnxruntime's and torch's logits: {difference:.1e}")
    if not difference < 1e-3:  # float32 rounding through ten layers stays near 1e-5
        raise SystemExit("train_default: the exported model does not compute what was trained")
    for runtime, logits in (("torch", trained), ("onnxruntime", exported)):
        right = np.concatenate(logits).argmax(1) == labels
        full, part = right.mean(), right[:EMBEDDED].mean()
        print(f"{runtime}: {full:.2%} of {len(right)} test images, {part:.2%} of the embedded ones")


def load(folder: Path, part: str) -> tuple[Bytes, Bytes]:
    """Images [N,28,28] and labels [N] of "train" or "t10k", from gzipped IDX files."""
    try:
        images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    except OSError as error:
        raise SystemExit(f"train_default: {error}; apt-get install dataset-fashion-mnist") from None
    pixels = np.frombuffer(images, np.uint8, offset=16)  # after the magic number and three sizes
    return pixels.reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def main() -> None:
    """Train, check, then write, so that a failure leaves the old files alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DEBIAN_DATA, help="folder of the IDX files")
    for option, default in (("--epochs", 20), ("--seed", 0), ("--threads", 1)):
        parser.add_argument(option, type=int, default=default, help=f"default {default}")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to")
    args = parser.parse_args()
    if not all(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxruntime")):
        raise SystemExit("train_default: missing packages; pip install torch onnx onnxruntime")
    import torch

    torch.set_num_threads(args.threads)
    (images, labels), (test_images, test_labels) = load(args.data, "train"), load(args.data, "t10k")
    state = train(images, labels, args.epochs, args.seed)
    model = onnx_model(state).SerializeToString(deterministic=True)
    check(model, state, test_images, test_labels)
    chosen = np.random.default_rng(args.seed).choice(len(images), CALIBRATION, replace=False)
    arrays: dict[str, Any] = {"images": test_images[:EMBEDDED], "labels": test_labels[:EMBEDDED]}
    arrays |= {"calibration_images": images[chosen], "calibration_labels": labels[chosen]}
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out / "fashion_mnist.npz", **arrays)
    (args.out / "resnet8_fashion_mnist.onnx").write_bytes(model)


if __name__ == "__main__":
    main()
