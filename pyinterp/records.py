"""Records: dataclasses that type checkers hold to be frozen.

At run time they are plain dataclasses, which are made in a quarter of the time that frozen ones
take: loading a model makes hundreds of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, eq=True, **options):
        """`dataclass` with the same options; objects have the hash that frozen ones have."""
        assert frozen
        return dataclass(eq=eq, unsafe_hash=eq, **options)
