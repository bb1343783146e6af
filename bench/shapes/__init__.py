"""Layer shapes of networks everyone knows, one distinct layer a line of a text file.

A line holds: name, input channels, height, width, output channels, kernel height and width,
stride, padding (top, left, bottom, right), groups, and how often the network has such a layer.
Fully connected layers are 1x1 convolutions of one pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

NETWORKS = ("resnet18", "resnet50", "vgg11", "mobilenet_v2", "efficientnet_lite0")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of one image; `times`: how often it occurs in its network."""

    network: str
    name: str
    channels: int
    height: int
    width: int
    outputs: int
    kernel: tuple[int, int]
    stride: int
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    groups: int
    times: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one such layer on one image."""
        top, left, bottom, right = self.pads
        out_h = (self.height + top + bottom - self.kernel[0]) // self.stride + 1
        out_w = (self.width + left + right - self.kernel[1]) // self.stride + 1
        per_output = self.channels // self.groups * self.kernel[0] * self.kernel[1]
        return out_h * out_w * self.outputs * per_output


def layers(network: str) -> list[Layer]:
    """The distinct layers of a network of NETWORKS, in its order."""
    found = []
    for line in files(__name__).joinpath(f"{network}.txt").read_text("utf-8").splitlines():
        name, *rest = line.split("#")[0].split() or [""]
        if name:
            c, h, w, o, kh, kw, stride, *more = map(int, rest)
            top, left, bottom, right, groups, times = more
            pads = (top, left, bottom, right)
            found.append(Layer(network, name, c, h, w, o, (kh, kw), stride, pads, groups, times))
    return found
