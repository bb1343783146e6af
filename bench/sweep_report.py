"""Sweeps as one HTML file: time against sparsity as plots, with the break-even marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .plots import check_packages, figure_of, svg_of
from .sweep import Sweep, break_even_text

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sparing: sweep of sparsity</title><style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; color: #222 }
figure { margin: 1em 0 } svg { max-width: 100%; height: auto }
</style></head><body>
<h1>Time against sparsity</h1>
{% for sweep, svg, text in parts %}
<h2>{{ sweep.subject }}</h2>
<p>{{ text }}. All checks of integer results: <b>{{ "passed" if sweep.passed else "FAILED" }}</b>.
</p><figure>{{ svg | safe }}</figure>
{% endfor %}
{% set first = parts[0][0] %}
<p>{{ first.machine.cpu }}; {{ first.settings.backend }}, instruction set
{{ first.machine.isa or "none (no C kernels)" }}; threads: {{ first.settings.threads }}; zeros by
magnitude, granularity {{ first.settings.granularity }}; {{ first.settings.seconds }} s for each
contestant, in turns; seed {{ first.settings.seed }}.</p>
</body></html>
"""


def write_html(sweeps: Sequence[Sweep], path: Path) -> None:
    """Write the sweeps; raises InputError where jinja2 or matplotlib is missing."""
    check_packages()
    import jinja2

    parts = [(sweep, _plot(sweep), break_even_text(sweep)) for sweep in sweeps]
    text = jinja2.Environment(autoescape=True).from_string(_TEMPLATE).render(parts=parts)
    path.write_text(text, encoding="utf-8")


def _plot(sweep: Sweep) -> str:
    figure, axes = figure_of(10)
    for name in dict.fromkeys(point.contestant for point in sweep.points):
        points = [point for point in sweep.points if point.contestant == name]
        line = "--" if points[0].kind == "dense" else "-"
        zeros = [100 * point.sparsity for point in points]
        axes.plot(zeros, [point.p50_ms for point in points], line, marker="o", label=name)
    if sweep.break_even is not None:
        axes.axvline(100 * sweep.break_even, color="#b00", linewidth=1)
        axes.annotate(
            f"break-even: {sweep.break_even:.0%}",
            (100 * sweep.break_even, 0.95),
            xycoords=("data", "axes fraction"),
            color="#b00",
        )
    axes.set_xlabel("zeros, per cent")
    axes.set_ylabel("milliseconds (median)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return svg_of(figure)
