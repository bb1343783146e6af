"""ConvTranspose as a convolution: one that makes all pixels of a block as channels, which
DepthToSpace then puts in their places (Shi et al., 2016, arXiv:1609.07009).

Of stride s, output row s * q + r of the uncropped result is the sum over m of input row q - m times
the kernel's row r + s * m. That is a convolution of ceil(kernel / s) taps for each of the s
remainders r, and likewise for columns. Cropping (ConvTranspose's pads) is padding less, as far as
whole blocks go, and then a Slice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .fold_linear import fresh_name, number
from .model import Array, Attribute, Model, Node, Tensor

# functions of one value (and constants of one element): positions may change before or after
POINTWISE = frozenset(
    (
        *("Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu"),
        *("Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh"),
    )
)
_OPSET = 11  # DepthToSpace has both orders, and Slice takes its numbers as inputs
_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Geometry:
    """block: the stride. taps: (height, width) of the convolution. pads: as Conv has them. crop: of
    the result, top, left, bottom, right. groups: where there are several, a pixel's channels are
    [C, block, block], else [block, block, C].
    """

    block: int
    taps: tuple[int, int]
    pads: tuple[int, ...]
    crop: tuple[int, ...]
    groups: int

    def by_block(self, values: Array) -> Array:
        """Values of output channels, [C, ...], for the channels before DepthToSpace."""
        area = self.block**2
        if self.groups > 1:
            return np.repeat(values, area, axis=0)
        return np.tile(values, (area, *(1,) * (values.ndim - 1)))


def convolve_transposed(model: Model) -> Model:
    """Every 2-D ConvTranspose with constant weights, equal strides and no dilation; BatchNorm and
    functions of one value behind it move before the DepthToSpace. The same object where there is
    none.
    """
    found = [node for node in model.nodes if node.op_type == "ConvTranspose" and not node.domain]
    if not found or model.opset < _OPSET:
        return model
    return _Rewriter(model).run()


def _ints(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(v) for v in node.attributes.get(name, default))  # type: ignore[union-attr]


class _Rewriter:
    def __init__(self, model: Model) -> None:
        self.model, self.weights = model, dict(model.weights)
        self.producers, self.readers = model.producers(), model.consumers()
        self.outputs = {info.name for info in model.outputs}
        self.taken = {*model.weights, *self.producers, *(i.name for i in model.inputs)}
        self.done: set[str] = set()  # first outputs of nodes that moved

    def run(self) -> Model:
        nodes: list[Node] = []
        for node in self.model.nodes:
            if node.outputs[0] in self.done:
                continue
            geometry = self._geometry(node)
            nodes += [node] if geometry is None else self._rewritten(node, geometry)
        if len(self.weights) == len(self.model.weights):
            return self.model
        return self.model.replace(nodes=tuple(nodes), weights=self.weights)

    def _name(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _weight(self, wanted: str, values: Array) -> str:
        name = self._name(wanted)
        self.weights[name] = Tensor(np.ascontiguousarray(values))
        return name

    def _geometry(self, node: Node) -> _Geometry | None:
        """None for other operators, and where the node has to stay."""
        if node.op_type != "ConvTranspose" or node.domain or not self._constant(node):
            return None
        strides, dilations = _ints(node, "strides", (1, 1)), _ints(node, "dilations", (1, 1))
        extra, pads = _ints(node, "output_padding", (0, 0)), _ints(node, "pads", (0, 0, 0, 0))
        plain = "output_shape" not in node.attributes and len(set(strides)) == 1
        shape = self._shape(node.inputs[1])
        if not plain or set(dilations) != {1} or len(shape) != 4:
            return None
        if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return None
        if node.attributes.get("auto_pad") == "VALID":
            pads = (0,) * 4
        block, kernel = strides[0], shape[2:]
        taps = tuple(-(-k // block) for k in kernel)
        # what the result of whole blocks has too much, at both ends
        excess = [*pads[:2]]
        excess += [
            block * t - k - e + p for t, k, e, p in zip(taps, kernel, extra, pads[2:], strict=True)
        ]
        conv_pads = tuple(t - 1 - e // block for t, e in zip(taps * 2, excess, strict=True))
        if min(conv_pads) < 0:
            return None
        crop = tuple(e % block for e in excess)
        groups = int(number(node, "group", 1))
        return _Geometry(block, (taps[0], taps[1]), conv_pads, crop, groups)

    def _shape(self, name: str) -> tuple[int, ...]:
        node = self.producers.get(name)
        return self.weights[name if node is None else node.inputs[0]].shape

    def _constant(self, node: Node) -> bool:
        """Whether weight and bias are constants, or such behind a DequantizeLinear without zero
        points."""
        for name in filter(None, node.inputs[1:]):
            source = self.producers.get(name)
            if source is None:
                if name not in self.weights:
                    return False
                continue
            if source.op_type != "DequantizeLinear" or "block_size" in source.attributes:
                return False
            if any(n not in self.weights for n in source.inputs if n):
                return False
            if len(source.inputs) > 2 and self.weights[source.inputs[2]].numpy().any():
                return False
            along = name != node.inputs[1] or number(source, "axis", 1) == 1
            if not along and self.weights[source.inputs[1]].numpy().size > 1:
                return False
        return True

    def _rewritten(self, node: Node, g: _Geometry) -> list[Node]:
        nodes, inputs = self._parameters(node, g)
        chain = self._chain(node) if g.block > 1 else []
        final = chain[-1].outputs[0] if chain else node.outputs[0]
        value = final if g.block == 1 else self._name(f"{node.outputs[0]}/blocks")
        attributes: dict[str, Attribute] = {
            "pads": g.pads,
            "group": g.groups,
            "kernel_shape": g.taps,
        }
        nodes.append(Node("Conv", (node.inputs[0], *inputs), (value,), attributes, node.label))
        if g.block == 1:
            return nodes
        for link in chain:
            self.done.add(link.outputs[0])
            parameters = [
                self._weight(f"{name}/blocks", g.by_block(self.weights[name].numpy()))
                if link.op_type == "BatchNormalization"
                else name
                for name in link.inputs[1:]
            ]
            after = self._name(f"{link.outputs[0]}/blocks")
            nodes.append(replace(link, inputs=(value, *parameters), outputs=(after,)))
            value = after
        quantizer = self._quantizer(final)
        nodes += self._quantized(value, quantizer)
        return nodes + self._placed(node, g, nodes[-1].outputs[0], final, quantizer)

    def _quantized(self, value: str, quantizer: Node | None) -> list[Node]:
        """QuantizeLinear and DequantizeLinear of a value that is only moved before its quantizer:
        so that the layer is quantized as it was, and its bytes move.
        """
        nodes: list[Node] = []
        if quantizer is None:
            return nodes
        for op_type in ("QuantizeLinear", "DequantizeLinear"):
            after = self._name(f"{value}/{op_type}")
            nodes.append(Node(op_type, (value, *quantizer.inputs[1:]), (after,), {}, after))
            value = after
        return nodes

    def _placed(
        self, node: Node, g: _Geometry, value: str, final: str, quantizer: Node | None
    ) -> list[Node]:
        """DepthToSpace and, where something is cropped, a Slice."""
        cropped = any(g.crop)
        whole = self._name(f"{final}/uncropped") if cropped else final
        attributes: dict[str, Attribute] = {
            "blocksize": g.block,
            "mode": "CRD" if g.groups > 1 else "DCR",
        }
        nodes = [Node("DepthToSpace", (value,), (whole,), attributes, f"{node.label}/pixels")]
        if cropped:
            nodes += self._quantized(whole, quantizer)
            ends = [-c if c else _TO_THE_END for c in g.crop[2:]]
            bounds = [
                self._weight(f"{node.label}/{key}", np.array(values, np.int64))
                for key, values in (("starts", g.crop[:2]), ("ends", ends), ("axes", (2, 3)))
            ]
            inputs = (nodes[-1].outputs[0], *bounds)
            nodes.append(Node("Slice", inputs, (final,), {}, f"{node.label}/crop"))
        return nodes

    def _chain(self, node: Node) -> list[Node]:
        """The functions of one value, and BatchNorms, that follow with nobody else reading."""
        chain: list[Node] = []
        value = node.outputs[0]
        while len(self.readers.get(value, [])) == 1 and value not in self.outputs:
            reader = self.readers[value][0]
            constant = all(name in self.weights for name in reader.inputs[1:] if name)
            movable = reader.op_type in POINTWISE or reader.op_type == "BatchNormalization"
            if reader.domain or not movable or not constant or any(reader.outputs[1:]):
                break
            chain.append(reader)
            value = reader.outputs[0]
        return chain

    def _quantizer(self, value: str) -> Node | None:
        """A QuantizeLinear, of one scale, that alone reads a value."""
        readers = self.readers.get(value, [])
        if len(readers) != 1 or value in self.outputs or readers[0].op_type != "QuantizeLinear":
            return None
        scale = self.weights.get(readers[0].inputs[1])
        return readers[0] if scale is not None and scale.numpy().size == 1 else None

    def _parameters(self, node: Node, g: _Geometry) -> tuple[list[Node], list[str]]:
        """Names of weight and bias of the convolution, and the nodes that dequantize them."""
        made: list[Node] = []
        names = []
        for part, name in zip(("weight", "bias"), filter(None, node.inputs[1:]), strict=False):
            source = self.producers.get(name)
            stored = name if source is None else source.inputs[0]
            label = f"{node.label}/{part}"
            values = self.weights[stored].numpy()
            values = _of_blocks(values, g) if part == "weight" else g.by_block(values)
            new = self._weight(f"{label}/blocks", values)
            if source is not None:
                scale = self.weights[source.inputs[1]].numpy()
                if scale.size > 1:
                    scale = g.by_block(np.tile(scale, g.groups) if part == "weight" else scale)
                inputs = (new, self._weight(f"{label}/scale", scale))
                new = self._name(f"{label}/dequantized")
                axis: dict[str, Attribute] = {"axis": 0} if scale.size > 1 else {}
                made.append(Node("DequantizeLinear", inputs, (new,), axis, new))
            names.append(new)
        return made, names


def _of_blocks(weight: Array, g: _Geometry) -> Array:
    """[C, O / groups, kh, kw] of a ConvTranspose to [O * block * block, C / groups, taps...]."""
    inputs, each = weight.shape[:2]
    block, (rows, columns) = g.block, g.taps
    padded = np.zeros((inputs, each, rows * block, columns * block), weight.dtype)
    padded[:, :, : weight.shape[2], : weight.shape[3]] = weight
    # row r + block * m of the kernel meets the input row that lies m before
    taps = padded.reshape(g.groups, inputs // g.groups, each, rows, block, columns, block)
    taps = taps[:, :, :, ::-1, :, ::-1]
    order = (0, 2, 4, 6, 1, 3, 5) if g.groups > 1 else (0, 4, 6, 2, 1, 3, 5)
    return taps.transpose(order).reshape(-1, inputs // g.groups, rows, columns)
