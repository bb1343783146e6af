"""The table of operators, and how a node's inputs and attributes are bound to a function.

An operator is a plain function: its positional parameters are the ONNX inputs, its keyword-only
parameters the ONNX attributes (same names, same defaults). Two keyword-only names are not
attributes: `opset`, the version of the default domain, for operators whose meaning changed; and
`outputs`, how many outputs the node asks for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ModelError

Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Strings: TypeAlias = tuple[str, ...]
Function = TypeVar("Function", bound=Callable[..., Any])

REQUIRED = inspect.Parameter.empty


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_float(value: object) -> bool:
    return isinstance(value, float) or _is_int(value)


def _all(value: object, check: Callable[[object], bool]) -> bool:
    return isinstance(value, tuple) and all(map(check, value))


# annotation of an attribute's parameter -> test of a value
_TYPES: Mapping[str, Callable[[object], bool]] = {
    "int": _is_int,
    "float": _is_float,
    "str": lambda value: isinstance(value, str),
    "Ints": lambda value: _all(value, _is_int),
    "Floats": lambda value: _all(value, _is_float),
    "Strings": lambda value: _all(value, lambda one: isinstance(one, str)),
    "Array": lambda value: isinstance(value, np.ndarray),
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One entry of the table: a function and what its signature says."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[tuple[str, bool], ...]  # name, may be absent
    variadic: bool
    attributes: Mapping[str, tuple[str, bool]]  # name -> type, must be present
    context: frozenset[str]  # which of "opset" and "outputs" it asks for

    def bind(
        self, arguments: Sequence[Array | None], attributes: Mapping[str, Any]
    ) -> tuple[list[Array | None], dict[str, Any]]:
        """The function's arguments; ModelError where count or types do not fit."""
        positional = list(arguments)
        while not self.variadic and positional and positional[-1] is None:
            positional.pop()
        least = sum(not optional for _, optional in self.inputs)
        most = None if self.variadic else len(self.inputs)
        if len(positional) < least or (most is not None and len(positional) > most):
            wanted = f"{least}" if least == most else f"{least} to {most or 'any number of'}"
            raise ModelError(f"expected {wanted} inputs, got {len(positional)}")
        for (name, optional), value in zip(self.inputs, positional, strict=False):
            if value is None and not optional:
                raise ModelError(f"expected a value for input {name!r}, got none")
        if self.variadic and any(value is None for value in positional):
            raise ModelError("expected a value for every input, got an empty one")
        for name, value in attributes.items():
            if name not in self.attributes:
                known = sorted(self.attributes) or "none"
                raise ModelError(f"unknown attribute {name!r}; known: {known}")
            expected = self.attributes[name][0]
            if not _TYPES[expected](value):
                raise ModelError(f"attribute {name!r}: expected {expected}, got {value!r:.80}")
        for name, (_, required) in self.attributes.items():
            if required and name not in attributes:
                raise ModelError(f"attribute {name!r} is missing")
        return positional, dict(attributes)


TABLE: dict[str, Operator] = {}


def operator(name: str) -> Callable[[Function], Function]:
    """Enter a function into the table as the meaning of ONNX operator `name`."""

    def register(function: Function) -> Function:
        if name in TABLE:
            raise ValueError(f"operator {name} is registered twice")
        inputs: list[tuple[str, bool]] = []
        attributes: dict[str, tuple[str, bool]] = {}
        variadic = False
        context: set[str] = set()
        for parameter in inspect.signature(function).parameters.values():
            kind = str(parameter.annotation).removesuffix(" | None")
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                variadic = True
            elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                inputs.append((parameter.name, parameter.default is None))
            elif parameter.name in ("opset", "outputs"):
                context.add(parameter.name)
            elif kind not in _TYPES:
                raise TypeError(f"{name}: attribute {parameter.name} has unknown type {kind}")
            else:
                attributes[parameter.name] = (kind, parameter.default is REQUIRED)
        TABLE[name] = Operator(
            name, function, tuple(inputs), variadic, attributes, frozenset(context)
        )
        return function

    return register
