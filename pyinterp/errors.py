"""Every error Sparing raises on purpose. All derive from `SparingError`, so that one
`except` separates bad input from a bug; each message says what was expected, what came, and where.
"""

from __future__ import annotations


class SparingError(Exception):
    """Base of all errors that Sparing raises on purpose."""


class FormatError(SparingError):
    """A file is not what it claims to be: truncated, corrupt, hostile, or of an unknown version."""


class ModelError(SparingError):
    """A graph is invalid: a missing value, a cycle, shapes or attributes that do not fit."""


class UnsupportedOperatorError(ModelError):
    """The model uses operators that have no reference; the message lists all of them at once."""


class InputError(SparingError):
    """A feed, argument or image does not fit the model: name, shape, dtype or range."""


class QuantizationError(SparingError):
    """The numeric contract cannot hold for a layer, e.g. its int32 accumulator could overflow."""


class NativeError(SparingError):
    """The compiled kernels are asked for but absent, or a forced ISA cannot run on this CPU."""
