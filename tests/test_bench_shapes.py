"""The layer shapes of known networks add up to their published sizes."""

from __future__ import annotations

import pytest

from sparing.bench.shapes import NETWORKS, layers

# weights without biases and BatchNorm (torchvision's counts less those; EfficientNet-Lite0 as
# published for TensorFlow), and 1e9 multiply-accumulates of one 224x224 image
PUBLISHED = {
    "resnet18": (11_678_912, 1.81),
    "resnet50": (25_502_912, 4.09),
    "vgg11": (132_851_392, 7.61),
    "mobilenet_v2": (3_469_760, 0.30),
    "efficientnet_lite0": (4_608_992, 0.39),
}


def test_every_network_is_listed() -> None:
    assert set(NETWORKS) == set(PUBLISHED)


@pytest.mark.parametrize("network", NETWORKS)
def test_published_size(network: str) -> None:
    found = layers(network)
    weights, gmacs = PUBLISHED[network]
    sizes = [
        layer.outputs * layer.channels // layer.groups * layer.kernel[0] * layer.kernel[1]
        for layer in found
    ]
    assert sum(size * layer.times for size, layer in zip(sizes, found, strict=True)) == weights
    total = sum(layer.macs * layer.times for layer in found) / 1e9
    assert total == pytest.approx(gmacs, rel=0.02)  # published to two or three digits
    assert len({layer.name for layer in found}) == len(found)
