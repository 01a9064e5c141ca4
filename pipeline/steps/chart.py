"""Draw the table of results as a bar chart."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.settings import UNKNOWN, AgeGroups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# The result of `spending.summarize`, or its columns as lists.
Table: TypeAlias = "pd.DataFrame | Mapping[str, Sequence[Any]]"
# `draw_chart`, or a function that does the same elsewhere.
Draw: TypeAlias = "Callable[[pd.DataFrame, AgeGroups, str, Path], None]"

_INK, _FAINT = "#222222", "#6b6b6b"
# From the color-blind safe palette of Okabe and Ito. The two also differ in lightness, so they
# stay distinct in greyscale.
_MOST, _OTHER = "#0072B2", "#9CCBE8"
_PREFIXES = tuple(
    (Decimal(10) ** power, sign) for power, sign in ((12, "T"), (9, "B"), (6, "M"), (3, "k"))
)
_THREE_DIGITS = Context(prec=3)


def draw_chart(spending: Table, groups: AgeGroups, amount: str, path: Path) -> None:
    """Write a PNG (1,500 x 960 pixels) of what each age group spends.

    `amount` names the column that was summed.
    """
    figure_of(spending, groups, amount).savefig(
        path,
        metadata={"Software": None},
        pil_kwargs={"compress_level": 1},  # fast, as the job waits for it; a seventh larger
    )


def preload() -> None:
    """Import what `draw_chart` needs; this takes longer than drawing."""
    _empty_figure().canvas.draw()


def figure_of(spending: Table, groups: AgeGroups, amount: str) -> Figure:
    """Return the chart that `draw_chart` writes."""
    figure = _empty_figure()
    totals: list[Decimal] = list(spending["total_spending"])
    most = totals.index(max(totals))
    room = 80 // len(totals)  # characters below a bar
    axes = figure.add_axes((0.105, 0.19, 0.87, 0.64))
    bars = axes.bar(
        range(len(totals)),
        [float(total) for total in totals],
        width=0.62,
        color=[_MOST if place == most else _OTHER for place in range(len(totals))],
    )
    for bar, total, share in zip(bars, totals, spending["share_of_total"], strict=True):
        above = total >= 0
        for line, text in enumerate((readable(total), "" if share is None else f"{share:.1%}")):
            axes.annotate(
                text,
                (bar.get_x() + bar.get_width() / 2, bar.get_height()),
                xytext=(0, (22 - 17 * line) if above else (-5 - 17 * line)),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=11 if line else 14,
                fontweight="normal" if line else "bold",
                color=_FAINT if line else _INK,
                # Keeps the grid lines from striking through the labels.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
    axes.set_xticks(
        range(len(totals)),
        [
            "\n".join(
                [*_wrap(label, room), *_wrap(ages(groups, label)), f"{customers:,} customers"]
            )
            for label, customers in zip(spending["age_group"], spending["customers"], strict=True)
        ],
        fontsize=11,
        parse_math=False,  # here and below: a $ in a label or column name is plain text
    )
    axes.set_xlabel("Age group (years of age)", fontsize=11, color=_FAINT, labelpad=8)
    axes.set_ylabel(
        f"Total spending (sum of {amount})",
        fontsize=11,
        color=_FAINT,
        labelpad=8,
        parse_math=False,
    )
    axes.yaxis.set_major_formatter(lambda value, _: readable(Decimal(round(value, 6))))
    axes.tick_params(length=0, colors=_FAINT)
    axes.tick_params(axis="x", colors=_INK, pad=7)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#9a9a9a")
    axes.margins(y=0.16)
    if not any(totals):
        axes.set_ylim(0, 1)
    if min(totals) < 0:
        axes.axhline(0, color="#9a9a9a", linewidth=0.8)
    figure.text(
        0.025,
        0.925,
        textwrap.shorten(finding(spending), 75, placeholder=" …"),
        fontsize=18,
        fontweight="bold",
        color=_INK,
        parse_math=False,
    )
    figure.text(
        0.025,
        0.875,
        "Total spending by age group and its share of the whole, in the currency of the data",
        fontsize=11.5,
        color=_FAINT,
    )
    return figure


def finding(spending: Table) -> str:
    """Return the main finding of the table, in one line."""
    totals: list[Decimal] = list(spending["total_spending"])
    whole, most = sum(totals, Decimal(0)), max(totals)
    if most <= 0:
        return "No age group spends anything"
    label = list(spending["age_group"])[totals.index(most)]
    who = "Customers of unknown age spend" if label == UNKNOWN else f"{label} customers spend"
    # With negative totals, the whole may be less than the largest part.
    of_whole = f" of {readable(whole)}" if min(totals) >= 0 else ""
    return f"{who} the most: {readable(most)}{of_whole}"


def ages(groups: AgeGroups, label: str) -> str:
    """Return the age range of a group, such as `18 to under 30`."""
    if label == UNKNOWN:
        return "no usable age"
    if label == groups.under:
        return ""
    place = groups.labels.index(label)
    first, last = groups.bounds[place], groups.bounds[place + 1 :][:1]
    begins = f"{first}" if groups.closed == "left" or place == 0 else f"over {first}"
    if not last:
        return f"{begins} and older" if begins == f"{first}" else begins
    return f"{begins} to {'under ' if groups.closed == 'left' else ''}{last[0]}"


def readable(number: Decimal) -> str:
    """Format a number for display: 950, 950.25, 1.30 k, 38.7 M; from 1,000 T on, 1.30e+15."""
    size = abs(number)
    if size >= Decimal("999.5e12"):
        return f"{number:.2e}"
    for factor, prefix in _PREFIXES:
        if size >= factor * Decimal("0.9995"):
            scaled = _THREE_DIGITS.divide(number, factor)
            places = max(0, 2 - scaled.adjusted())
            return f"{scaled:.{places}f} {prefix}"
    return f"{number:,.0f}" if number == number.to_integral_value() else f"{number:,.2f}"


def _empty_figure() -> Figure:
    """Return an empty figure that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), dpi=150)
    FigureCanvasAgg(figure)
    return figure


def _wrap(text: str, width: int = 40) -> list[str]:
    """Wrap text into at most two lines of `width` characters; no lines if it is empty."""
    return textwrap.wrap(text, max(width, 8), max_lines=2, placeholder=" …")
