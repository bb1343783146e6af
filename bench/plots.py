"""Plots of reports, as SVG text."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from ..errors import InputError


def check_packages() -> None:
    """Raise InputError where a package that reports need is missing."""
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise InputError(f"HTML reports need {' and '.join(missing)}: pip install 'sparing[bench]'")


def figure_of(rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.8 + 0.3 * rows), layout="constrained")
    return figure, figure.subplots()


def svg_of(figure: Any) -> str:
    """The figure as an SVG element, without the XML header; the same input gives the same text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sparing", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
