"""Draw how long each engine takes, with one panel per size of data."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.engines import DISK
from bench.results import Results, Summary

_INK, _FAINT, _LINE = "#222222", "#6b6b6b", "#9a9a9a"
# From the color-blind safe palette of Okabe and Ito. Ours also differs in lightness, so it stays
# distinct in greyscale.
_OURS, _OTHER, _FAILED = "#0072B2", "#B9C3CC", "#D55E00"
_NAMES = {
    "ours": "this job",
    "polars": "Polars",
    "duckdb": "DuckDB",
    "datafusion": "DataFusion",
    "daft": "Daft",
    "spark": "Spark",
    "pandas": "pandas",
    "dask": "plain Dask",
    DISK: "the disk (dd)",
}


def draw(results: list[Results], path: Path) -> None:
    """Write a PNG of wall time (median, fastest to slowest) and CPU time of each engine."""
    engines = list(dict.fromkeys(engine for each in results for engine in each.runs))
    width, height = max(3.5 * len(results), 5.6) + 1.5, 0.62 * len(engines) + 1.95
    figure = Figure(figsize=(width, height), dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(
        left=1.15 / width,
        right=1 - 0.35 / width,
        bottom=0.5 / height,
        top=1 - 1.5 / height,
        wspace=0.12,
    )
    for axes, each in zip(panels, results, strict=True):
        _panel(axes, each, engines)
    panels[0].set_yticks(
        range(len(engines)), [_NAMES.get(engine, engine) for engine in engines], fontsize=11
    )
    panels[0].invert_yaxis()
    for label, engine in zip(panels[0].get_yticklabels(), engines, strict=True):
        label.set(color=_INK, fontweight="bold" if engine == "ours" else "normal")
    left = 0.2 / width
    figure.text(
        left,
        1 - 0.4 / height,
        "Seconds from start to end",
        fontsize=15,
        fontweight="bold",
        color=_INK,
    )
    figure.text(
        left,
        1 - 0.64 / height,
        "Thick: wall time, median; the line goes from the fastest run to the slowest. Thin: CPU.",
        fontsize=9,
        color=_FAINT,
    )
    figure.savefig(path, metadata={"Software": None})


def _panel(axes: Axes, results: Results, engines: list[str]) -> None:
    for place, engine in enumerate(engines):
        if results.runs.get(engine):
            _bar(axes, place, Summary.of(results.runs[engine]), engine == "ours")
        else:
            _label(axes, 0, place, "not run", _FAINT, 9)
    for line, text in enumerate((results.limits(), results.sizes(), results.title())):
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 4 + 13 * line),
            textcoords="offset points",
            fontsize=10 if line == 2 else 9,
            fontweight="bold" if line == 2 else "normal",
            color=_INK if line == 2 else _FAINT,
        )
    axes.set_xlabel("seconds", fontsize=9, color=_FAINT)
    axes.tick_params(length=0, labelsize=9, colors=_FAINT)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_LINE)
    axes.margins(x=0.24, y=0.04)  # room for the figures after the bars
    axes.set_xlim(left=0)


def _bar(axes: Axes, place: int, summary: Summary, ours: bool) -> None:
    if summary.failure:
        _label(axes, 0, place, summary.failure, _FAILED, 10)
        return
    colour = _OURS if ours else _OTHER
    axes.barh(place - 0.1, summary.wall, height=0.46, color=colour)
    axes.barh(place + 0.26, summary.cpu, height=0.12, color=colour, alpha=0.6)
    axes.plot((summary.least, summary.most), (place - 0.1,) * 2, color=_INK, linewidth=1.2)
    weight = "bold" if ours else "normal"
    _label(axes, summary.most, place - 0.1, _seconds(summary.wall), _INK, 11, weight)
    _label(axes, summary.cpu, place + 0.26, f"{_seconds(summary.cpu)} CPU", _FAINT, 7)


def _label(
    axes: Axes, x: float, y: float, text: str, colour: str, size: int, weight: str = "normal"
) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=size,
        fontweight=weight,
        color=colour,
        # Keeps the grid lines from striking through the labels.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
