"""Other engines that run the same model: onnxruntime, OpenVINO and MNN, where they are installed.

Each reads the model's ONNX file, for quantized models the QDQ one, and gets the same inputs and the
same number of threads.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import InputError
from ..model import Array

Run: TypeAlias = Callable[[Mapping[str, Array]], list[Array]]


def peer_version(name: str) -> str | None:
    """The installed version of a peer, or None where it is absent. InputError for unknown names."""
    if name not in PEERS:
        raise InputError(f"peers: expected some of {', '.join(PEERS)}, got {name!r}")
    module, distribution, _ = PEERS[name]
    return version(distribution) if find_spec(module) is not None else None


def prepare_peer(name: str, path: Path, folder: Path) -> Path:
    """The file that a peer loads for an ONNX file: that one, or its own format in `folder`.

    Raises RuntimeError where the peer cannot convert the model.
    """
    return _convert_to_mnn(path, folder) if name == "mnn" else path


def try_peer(
    name: str, path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]], noise: Path
) -> None:
    """Load and run a file on a peer in a process of its own: some engines crash on some models, and
    would take the other contestants with them.

    noise: an `.npz` of one batch of inputs, in the order of `shapes`. Raises RuntimeError where the
    process is killed by a signal; errors of the peer are left for `load_peer` to raise.
    """
    given = [name, str(path), str(threads), json.dumps(dict(shapes)), str(noise)]
    died = killed_by([sys.executable, "-c", _TRIAL, *given])
    if died:
        raise RuntimeError(f"{name} crashed on the model ({died})")


_TRIAL = """
import json, sys
from pathlib import Path
import numpy as np
from sparing.bench.peers import load_peer
name, path, threads, shapes, noise = sys.argv[1:]
shapes = {key: tuple(shape) for key, shape in json.loads(shapes).items()}
run = load_peer(name, Path(path), int(threads), shapes)
with np.load(noise) as arrays:
    run(dict(zip(shapes, arrays.values(), strict=True)))
"""


def killed_by(command: list[str]) -> str:
    """Name of the signal that ended a command, or "" where it ended by itself."""
    code = subprocess.run(command, capture_output=True).returncode
    return signal.Signals(-code).name if code < 0 else ""


def load_peer(name: str, path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> Run:
    """A function that runs a file, which `prepare_peer` gave, on a peer that is installed.

    shapes: of the inputs, which some engines fix when they load a model.
    Raises whatever the peer raises where it cannot take the model.
    """
    return PEERS[name][2](path, threads, shapes)


def _onnxruntime(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))


def _openvino(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # no bfloat16 behind the caller's back
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        results = request.infer(dict(feeds))
        return [np.array(results[output]) for output in compiled.outputs]

    return run


def _mnn(path: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> Run:
    import MNN.expr as expr
    import MNN.nn as nn

    config = {"precision": "high", "backend": 0, "numThread": threads}  # 0: the CPU
    module = nn.load_module_from_file(
        str(path),
        list(shapes),
        _output_names(path.with_suffix(".onnx")),
        runtime_manager=nn.create_runtime_manager((config,)),
        shape_mutable=False,
    )

    def run(feeds: Mapping[str, Array]) -> list[Array]:
        inputs = []
        for name in shapes:
            variable = expr.placeholder(list(feeds[name].shape), expr.NCHW, expr.float)
            variable.write(feeds[name])
            inputs.append(variable)
        return [np.array(expr.convert(y, expr.NCHW).read()) for y in module.forward(inputs)]

    return run


def _convert_to_mnn(path: Path, folder: Path) -> Path:
    """MNN's own format, beside a copy of the ONNX file that the outputs' names are read from."""
    copy = folder / f"{path.stem}.onnx"
    if copy != path:
        copy.write_bytes(path.read_bytes())
    converted = copy.with_suffix(".mnn")
    command = [sys.executable, "-c", "from MNN.tools.mnnconvert import main; main()"]
    command += ["-f", "ONNX", "--modelFile", str(copy.resolve())]
    command += ["--MNNModel", str(converted.resolve()), "--bizCode", "sparing"]
    command.append("--detectSparseSpeedUp")  # its sparse kernels, where it finds them faster
    # the converter leaves files in its working folder
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode or not converted.exists():
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RuntimeError(f"MNN cannot convert the model: {' '.join(last)}")
    return converted


def _output_names(path: Path) -> list[str]:
    from ..formats.onnx_reader import read_onnx

    return [info.name for info in read_onnx(path).outputs]


# name -> module that tells whether it is installed, distribution, loader
PEERS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime", _onnxruntime),
    "openvino": ("openvino", "openvino", _openvino),
    "mnn": ("MNN", "MNN", _mnn),
}
