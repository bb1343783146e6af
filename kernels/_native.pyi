"""Types of the cffi module that the build makes from csrc/sparing.h."""

from typing import Any

ffi: Any
lib: Any
