"""The public names of the package, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from models import qdq_net

import sparing
from sparing.formats.onnx_reader import read_onnx
from sparing.kernels.registry import available_backends


def fresh(script: str) -> str:
    """What the script prints in a new interpreter."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", sparing.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert name in dir(sparing)
    assert getattr(sparing, name).__name__.rpartition(".")[2] == name


def test_the_list_of_names_is_the_table() -> None:
    assert sparing.__all__ == sorted(sparing._HOMES)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="'sparing' has no attribute 'nothing'"):
        _ = sparing.nothing


def test_the_version_is_that_of_the_distribution() -> None:
    try:
        installed = version("sparing")
    except PackageNotFoundError:
        pytest.skip("sparing runs from its folder, not installed")
    assert sparing.__version__ == installed


def test_importing_loads_nothing_beyond_numpy() -> None:
    loaded = fresh(
        "import sys, __future__, numpy; before = set(sys.modules)\n"
        "import sparing\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    assert loaded.split() == ["sparing"]


def test_a_first_session_imports_nothing(tmp_path: Path) -> None:
    """What it needs came with `sparing.Session`, so that it loads as fast as the second."""
    if "c" not in available_backends():
        pytest.skip("the others compile at first use, or need nothing")
    path = tmp_path / "net.sparing"
    sparing.save(read_onnx(qdq_net()), path)
    loaded = fresh(
        "import sys, sparing; sparing.Session; before = set(sys.modules)\n"
        f"sparing.Session({str(path)!r})\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    assert [name for name in loaded.split() if name.startswith(("sparing", "safetensors"))] == []


def test_importing_costs_little() -> None:
    """At most 0.05 s beyond NumPy; the best of three, since other work may share the machine."""
    script = (
        "import time, numpy; start = time.perf_counter()\n"
        "import sparing\n"
        "print(time.perf_counter() - start)\n"
    )
    assert min(float(fresh(script)) for _ in range(3)) <= 0.05


def test_loading_a_container_needs_no_onnx(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A compressed model runs with NumPy, cffi and safetensors alone."""
    path = tmp_path_factory.mktemp("plain") / "net.sparing"
    fresh(
        "import sys; sys.modules.update(dict.fromkeys(['onnx', 'ml_dtypes', 'numba', 'rich']))\n"
        "import numpy, sparing\n"
        "from sparing.model import Tensor\n"
        "info = sparing.TensorInfo('w', numpy.dtype('f4'), (3,))\n"
        "model = sparing.Model((), (), (info,), {'w': Tensor(numpy.arange(3, dtype='f4'))})\n"
        f"sparing.save(model, {str(path)!r})\n"
        f"assert sparing.load({str(path)!r}).weights['w'].numpy().tolist() == [0, 1, 2]\n"
    )


def test_the_missing_extra_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("plain") / "net.onnx"
    path.write_bytes(b"any")
    message = fresh(
        "import sys; sys.modules['onnx'] = None\n"
        "import sparing\n"
        f"try: sparing.load({str(path)!r})\n"
        "except sparing.errors.FormatError as error: print(error)\n"
    )
    assert "pip install 'sparing[onnx]'" in message
