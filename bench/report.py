"""A benchmark report as one HTML file: tables, and plots as embedded SVG; no scripts, no links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .plots import check_packages, figure_of, svg_of

if TYPE_CHECKING:
    from .harness import Report, Result

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sparing: benchmark</title><style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 2px solid #888 } .text { text-align: left } .bad { color: #b00 }
figure { margin: 1em 0 } svg { max-width: 100%; height: auto }
</style></head><body>
<h1>Benchmark</h1>
<p>{{ machine.cpu }}, {{ machine.usable_cpus }} usable CPUs; instruction set
{{ machine.isa or "none (no C kernels)" }}. Peak of one core in GMAC/s, measured in the same run:
{% for mix, rate in machine.peak_gmacs.items() %}{{ mix }} {{ "%.0f" % rate }}{{ ", " if not
loop.last }}{% else %}not measured{% endfor %}.</p>
<p>Batch {{ settings.batch }}, {{ settings.seconds }} s for each contestant, in turns, seed
{{ machine.seed }}. All checks of integer results: <b{% if not report.passed %} class="bad"{% endif
%}>{{ "passed" if report.passed else "FAILED" }}</b>.</p>
{% for svg in plots %}<figure>{{ svg | safe }}</figure>
{% endfor %}
<table><tr>{% for name in columns %}<th{% if loop.index <= 2 %} class="text"{% endif %}>{{ name
}}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td{% if loop.index <= 2 %} class="text"{% endif %}>{{
cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p>GMAC/s: multiply-accumulates of the dense layers over the median time; effective: without the
zeros. Agreement: share of images with the reference's top class.</p>
<h2>Models</h2>
<table><tr><th class="text">model</th><th>GMAC</th><th>parameters</th><th>zeros</th><th>layers in
integers</th><th class="text">input</th></tr>
{% for m in report.models %}<tr><td class="text">{{ m.name }}</td><td>{{ "%.3f" % (m.macs / 1e9)
}}</td><td>{{ "{:,}".format(m.parameters) }}</td><td>{{ "%.1f" % (100 * m.sparsity) }} %</td><td>{{
m.quantized_layers }} of {{ m.layers }}</td><td class="text">{{ m.data }}</td></tr>
{% endfor %}</table>
{% if report.absent %}<h2>Absent</h2><ul>{% for miss in report.absent %}
<li>{{ miss.engine }} on {{ miss.model }}: {{ miss.reason }}</li>{% endfor %}</ul>{% endif %}
<h2>Versions</h2>
<p>{{ machine.system }}, Python {{ machine.python }}{% for name, version in
machine.versions.items() %}, {{ name }} {{ version }}{% endfor %}</p>
</body></html>
"""

_COLUMNS = (
    *("model", "engine", "threads", "min ms", "p50", "p90", "p99", "runs", "GMAC/s", "effective"),
    *("of peak", "x reference", "file bytes", "resident bytes", "load s", "agreement", "check"),
)


def write_html(report: Report, path: Path) -> None:
    """Write the report; raises InputError where jinja2 or matplotlib is missing."""
    check_packages()
    import jinja2

    environment = jinja2.Environment(autoescape=True)
    text = environment.from_string(_TEMPLATE).render(
        report=report,
        machine=report.machine,
        settings=report.settings,
        columns=_COLUMNS,
        rows=[_row(result) for result in report.results],
        plots=[_latency(report, threads) for threads in report.settings.threads] + [_sizes(report)],
    )
    path.write_text(text, encoding="utf-8")


def _row(r: Result) -> list[str]:
    return [
        r.model,
        r.engine,
        str(r.threads),
        *(f"{value:.3f}" for value in (r.min_ms, r.p50_ms, r.p90_ms, r.p99_ms)),
        str(r.count),
        f"{r.dense_gmacs:.1f}",
        f"{r.effective_gmacs:.1f}",
        "" if r.peak_fraction is None else f"{r.peak_fraction:.0%}",
        f"{r.speedups['numpy']:.1f}",
        f"{r.file_bytes:,}",
        "" if r.resident_bytes is None else f"{r.resident_bytes:,}",
        f"{r.load_seconds:.3f}",
        "" if r.agreement is None else f"{r.agreement:.1%}",
        r.check,
    ]


def _latency(report: Report, threads: int) -> str:
    """Bars of the median, with the 90th percentile as a whisker, for one number of threads."""
    results = [r for r in report.results if r.threads == threads]
    labels = [f"{r.model}  {r.engine}" for r in results]
    figure, axes = figure_of(len(results))
    medians = [r.p50_ms for r in results]
    whiskers = [[0.0] * len(results), [r.p90_ms - r.p50_ms for r in results]]
    positions = range(len(results))
    axes.barh(positions, medians, xerr=whiskers, color=[_colour(r) for r in results], capsize=2)
    axes.set_yticks(positions, labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"milliseconds a batch (threads: {threads}): median, and 90th percentile")
    return svg_of(figure)


def _sizes(report: Report) -> str:
    """Latency against the size of the file, one point for each contestant."""
    figure, axes = figure_of(8)
    for engine in dict.fromkeys(r.engine for r in report.results):
        points = [r for r in report.results if r.engine == engine]
        axes.scatter(
            [r.file_bytes for r in points],
            [r.p50_ms for r in points],
            label=engine,
            color=_colour(points[0]),
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("file bytes")
    axes.set_ylabel("median milliseconds")
    axes.legend()
    return svg_of(figure)


_COLOURS: Sequence[tuple[str, str]] = (
    ("c", "#0b6e4f"),
    ("numba", "#6fae9b"),
    ("numpy", "#bbbbbb"),
    ("onnxruntime", "#1f5fa8"),
    ("openvino", "#8a4f9e"),
    ("mnn", "#c9772b"),
)


def _colour(result: Result) -> str:
    return dict(_COLOURS)[result.engine]
