"""A session: a model, planned for this machine, that runs inputs."""

from __future__ import annotations

import gc
import importlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeAlias

import numpy as np

from .cost import saved_costs
from .cpus import usable_cpus
from .errors import InputError, NativeError
from .executor import Executor
from .explain import Explanation
from .formats import load
from .kernels.registry import Backend, available_backends, import_kernels
from .lower import lower
from .model import Array, Model, TensorInfo
from .plan import make_plan

BackendChoice: TypeAlias = Backend | Literal["auto"]

MAX_PLANS = 4  # plans kept for different input shapes; the least recently used goes first


class Session:
    """Runs a model: `session.run(None, {"input": images})`, as onnxruntime's sessions do.

    model: a `Model`, or the path of a `.sparing` or `.onnx` file. backend: "c", "numba", "numpy"
    (the reference, unfused work and all), or "auto", the first of these that is installed.
    threads: how many the C kernels may use; None for all CPUs that this process may use. formats:
    weight formats to choose kernels from ("dense_s8", "csr_s8", ...), for comparisons; None for
    all.

    Safe to use from several threads at once. A changed batch or image size makes a new plan, kept
    in a small cache. Raises InputError, FormatError, UnsupportedOperatorError, ModelError or
    QuantizationError where the model cannot be loaded or lowered.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        backend: BackendChoice = "auto",
        threads: int | None = None,
        formats: Sequence[str] | None = None,
    ) -> None:
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads: expected a positive number, got {threads!r}")
        self.backend: Backend = resolve_backend(backend)
        self.threads = usable_cpus() if threads is None else threads
        self._formats = formats
        self._source: Model | str | os.PathLike[str] = model
        self._plans: OrderedDict[tuple[tuple[int, ...], ...], Executor] = OrderedDict()
        self._last: tuple[tuple[tuple[int, ...], ...], Executor] | None = None  # that was used
        self._lock = threading.Lock()
        with _collections_paused():
            self._load()

    def _load(self) -> None:
        """Plan for one image at once: a bad model is refused here, and its weights are let go."""
        loaded = self._source if isinstance(self._source, Model) else load(self._source)
        self.inputs: tuple[TensorInfo, ...] = loaded.inputs
        self.outputs: tuple[TensorInfo, ...] = loaded.outputs
        self._input_names = frozenset(info.name for info in loaded.inputs)
        self._output_names = [info.name for info in loaded.outputs]
        self.metadata: Mapping[str, Any] = loaded.metadata
        shapes = self._default_shapes()
        if shapes is not None:
            self._executor(shapes, loaded)

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        """The named outputs (None: all, in the model's order) for one set of inputs.

        Raises InputError where names, dtypes or shapes are not the model's.
        """
        names = self._output_names
        if isinstance(outputs, str):
            raise InputError(f"outputs: expected a list of names or None, got {outputs!r}")
        unknown = [name for name in outputs or () if name not in names]
        if unknown:
            raise InputError(f"expected outputs among {names}, got {unknown}")
        arrays = self._checked(feeds)
        results = self._executor(tuple([array.shape for array in arrays])).run(arrays)
        if outputs is None:
            return results
        named = dict(zip(names, results, strict=True))
        return [named[name] for name in outputs]

    def profile(self, feeds: Mapping[str, Array]) -> list[tuple[str, float]]:
        """Run once; each step's label and the seconds it took."""
        arrays = self._checked(feeds)
        executor = self._executor(tuple(array.shape for array in arrays))
        labels = [planned.label for planned in executor.plan.steps]
        return list(zip(labels, executor.profile(arrays), strict=True))

    def explain(self, shapes: Mapping[str, Sequence[int]] | None = None) -> Explanation:
        """Layer by layer: the kernel, why it was chosen, and its expected cost.

        shapes: input shapes to plan for; None for a batch of one.
        """
        key = self._default_shapes()
        if shapes is not None:
            _expect_names(shapes, self.inputs, "shapes")
            key = tuple(tuple(shapes[info.name]) for info in self.inputs)
        if key is None:
            raise InputError("the model's image size is free: explain(shapes) needs the shapes")
        return self._executor(key).explanation

    def _default_shapes(self) -> tuple[tuple[int, ...], ...] | None:
        """Shapes of a batch of one; None where more than the batch size is left open."""
        if any(info.shape is None for info in self.inputs):
            return None
        shapes = [tuple(info.shape or ()) for info in self.inputs]
        if any(not isinstance(d, int) for shape in shapes for d in shape[1:]):
            return None
        return tuple(tuple(d if isinstance(d, int) else 1 for d in shape) for shape in shapes)

    def _checked(self, feeds: Mapping[str, Array]) -> list[Array]:
        if not isinstance(feeds, Mapping):
            raise InputError(f"feeds: expected {{name: array}}, got {type(feeds).__name__}")
        if feeds.keys() != self._input_names:
            _expect_names(feeds, self.inputs, "feeds")
        arrays = []
        for info in self.inputs:
            array = feeds[info.name]
            if not isinstance(array, np.ndarray):
                raise InputError(f"input {info}: expected an array, got {type(array).__name__}")
            if array.dtype != info.dtype:
                raise InputError(f"input {info}: expected {info.dtype}, got {array.dtype}")
            if not array.flags.c_contiguous:
                array = np.asarray(array, order="C")
            arrays.append(array)
        return arrays

    def _executor(
        self, shapes: tuple[tuple[int, ...], ...], loaded: Model | None = None
    ) -> Executor:
        last = self._last
        if last is not None and last[0] == shapes:
            return last[1]
        with self._lock:
            found = self._plans.get(shapes)
            if found is None:
                with _collections_paused():
                    found = self._plans[shapes] = self._plan(shapes, loaded)
            self._plans.move_to_end(shapes)
            while len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
            self._last = shapes, found
        return found

    def _plan(self, shapes: tuple[tuple[int, ...], ...], loaded: Model | None) -> Executor:
        model = loaded if loaded is not None else self._model()
        named = {info.name: s for info, s in zip(self.inputs, shapes, strict=True)}
        costs = saved_costs(self.backend, self.threads)
        lowered = lower(model, named)
        return Executor(make_plan(lowered, self.backend, self.threads, costs, self._formats))

    def _model(self) -> Model:
        """The model again, for another plan: from its file, since only packed weights are kept."""
        if isinstance(self._source, Model):
            return self._source
        model = load(self._source)
        if (model.inputs, model.outputs) != (self.inputs, self.outputs):
            raise InputError(f"{self._source}: the file changed since the session was made")
        return model


@contextmanager
def _collections_paused() -> Iterator[None]:
    """Python's garbage collections wait: planning makes many objects, nearly all of which stay, and
    a collection looks at all that the process has."""
    were_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were_enabled:
            gc.enable()


def _import_early() -> None:
    """What is imported at first use elsewhere: the first session shall not wait for it."""
    importlib.import_module("sparing.formats.container")
    if "c" in available_backends():
        with suppress(ImportError, NativeError):  # a broken backend raises when it is used
            import_kernels("c")


def resolve_backend(backend: BackendChoice) -> Backend:
    """The backend meant by a choice. Raises InputError, or NativeError for an absent one."""
    available = available_backends()
    if backend == "auto":
        return available[0]
    if backend not in ("c", "numba", "numpy"):
        raise InputError(f"backend: expected auto, c, numba or numpy, got {backend!r}")
    if backend not in available:
        missing = {"c": "Sparing was installed without a C compiler", "numba": "numba is missing"}
        raise NativeError(f"backend {backend!r} is not available: {missing[backend]}")
    return backend


def _expect_names(given: Mapping[str, object], inputs: Sequence[TensorInfo], what: str) -> None:
    expected = [info.name for info in inputs]
    if set(given) != set(expected):
        raise InputError(f"expected {what} for {expected}, got {sorted(given)}")


_import_early()
