"""Sparing: run compressed (quantized and pruned) CNNs on CPUs, with the same bits everywhere.

The public names are loaded on first use, because importing `sparing.kernels` or `sparing.ops` runs
this file first and must not pull in everything above them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors as errors
    from .compression.finetune import finetune as finetune
    from .compression.mixed_precision import sensitivity as sensitivity
    from .compression.prune import prune as prune
    from .compression.quantize import quantize as quantize
    from .compression.search.compress import compress as compress
    from .compression.storage_float import store_floats as store_floats
    from .evaluation import evaluate as evaluate
    from .formats import load as load
    from .formats import save as save
    from .image_data import images as images
    from .model import Model as Model
    from .model import Node as Node
    from .model import TensorInfo as TensorInfo
    from .session import Session as Session
    from .tuning import tune as tune

    __version__: str

# public name -> module that defines it ("" for a module that is itself the public name)
_HOMES = {
    "Model": "model",
    "Node": "model",
    "Session": "session",
    "TensorInfo": "model",
    "compress": "compression.search.compress",
    "errors": "",
    "evaluate": "evaluation",
    "finetune": "compression.finetune",
    "images": "image_data",
    "load": "formats",
    "prune": "compression.prune",
    "quantize": "compression.quantize",
    "save": "formats",
    "sensitivity": "compression.mixed_precision",
    "store_floats": "compression.storage_float",
    "tune": "tuning",
}

__all__ = [
    "Model",
    "Node",
    "Session",
    "TensorInfo",
    "compress",
    "errors",
    "evaluate",
    "finetune",
    "images",
    "load",
    "prune",
    "quantize",
    "save",
    "sensitivity",
    "store_floats",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("sparing")
    elif name not in _HOMES:
        raise AttributeError(f"module 'sparing' has no attribute {name!r}")
    elif _HOMES[name]:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    else:
        value = import_module(f".{name}", __name__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
