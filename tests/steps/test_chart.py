"""The chart says what the table says, and can be read."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from PIL import Image

from pipeline.settings import AgeGroups
from pipeline.steps.chart import ages, draw_chart, figure_of, finding, readable
from pipeline.steps.spending import summarize

GROUPS = AgeGroups()
LONG = AgeGroups(
    ("Customers who have just come of age", "Those in the middle of their lives", "x" * 60),
    (Decimal(18), Decimal(30), Decimal(45)),
)


def summary(totals: dict[str, str], groups: AgeGroups = GROUPS) -> pd.DataFrame:
    """Return a table of results: each group with its total, 4 purchases and 1,200 customers."""
    spending = {group: (Decimal(total), 4) for group, total in totals.items()}
    return summarize([spending], [dict.fromkeys(totals, 1_200)], groups)


def drawn(figure: Figure) -> list[Text]:
    """Return the texts that can be seen; draws the figure, so that they have their places."""
    figure.canvas.draw()
    frame = figure.axes[0].yaxis
    low, high = sorted(frame.get_view_interval())
    hidden = {
        id(label)
        for tick in frame.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not low <= tick.get_loc() <= high
    }
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text() and id(text) not in hidden
    ]


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in drawn(figure))


TABLES = {
    "usual": ({"Young": "1300000.50", "Middle-aged": "38700000", "Senior": "950"}, GROUPS),
    "with unknown": ({"Under 18": "5", "Young": "30", "Unknown": "20.25"}, GROUPS),
    "all zero": ({}, GROUPS),
    "negative": ({"Young": "-500", "Senior": "1000", "Unknown": "-30"}, GROUPS),
    "all negative": ({"Young": "-500", "Middle-aged": "-1", "Senior": "-20"}, GROUPS),
    "sum is zero": ({"Young": "-500", "Senior": "500"}, GROUPS),
    "one group": ({"All": "12.5"}, AgeGroups(("All",), (Decimal(0),))),
    "long labels": (dict.fromkeys(LONG.all_labels, "99950"), LONG),
    "huge": ({"Young": "99999999999999999999.999999999999999999", "Senior": "1"}, GROUPS),
    "tiny": ({"Young": "0.000000000000000001"}, GROUPS),
}
every_table = pytest.mark.parametrize(("totals", "groups"), TABLES.values(), ids=TABLES)


@every_table
def test_every_text_lies_within_the_picture_and_none_over_another(
    totals: dict[str, str], groups: AgeGroups
) -> None:
    figure = figure_of(summary(totals, groups), groups, "price")

    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn(figure)]

    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert not any(
        one.overlaps(other) for place, one in enumerate(labels) for other in labels[:place]
    )
    below = figure.axes[0].xaxis.label.get_window_extent()
    assert not any(below.overlaps(label) for label in labels)


@every_table
def test_the_bars_are_the_totals(totals: dict[str, str], groups: AgeGroups) -> None:
    table = summary(totals, groups)

    axes = figure_of(table, groups, "price").axes[0]

    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights == [float(total) for total in table["total_spending"]]
    low, high = axes.get_ylim()
    assert low <= min([0, *heights])
    assert high >= max([0, *heights])
    assert low == 0 or min(heights) < 0  # nothing below zero where no total is


def test_the_texts_of_the_chart() -> None:
    totals = {"Young": "1300000.50", "Middle-aged": "38700000", "Senior": "950", "Unknown": "20.25"}

    found = words(figure_of(summary(totals), GROUPS, "price"))

    for expected in (
        "Middle-aged customers spend the most: 38.7 M of 40.0 M",
        "Young\n18 to under 30\n1,200 customers",
        "Middle-aged\n30 to under 45\n1,200 customers",
        "Senior\n45 and older\n1,200 customers",
        "Unknown\nno usable age\n1,200 customers",
        "Age group (years of age)",
        "Total spending (sum of price)",
        *("1.30 M", "3.2%", "38.7 M", "96.8%", "950", "0.0%", "20.25"),
    ):
        assert f"\n{expected}\n" in f"\n{found}\n"


def test_one_bar_stands_out_and_it_is_the_largest() -> None:
    axes = figure_of(summary({"Young": "1", "Middle-aged": "3"}), GROUPS, "price").axes[0]

    colours = [bar.get_facecolor() for bar in axes.containers[0]]
    assert colours[0] == colours[2] != colours[1]


@pytest.mark.parametrize("name", ["$", "$x$", "a_$\\foo$", "\\$5", "50 % & {more}"])
def test_signs_in_a_label_or_a_column_are_only_signs(name: str, tmp_path: Path) -> None:
    groups = AgeGroups((name,), (Decimal(0),))
    table = summary({name: "5"}, groups)

    found = words(figure_of(table, groups, name))
    draw_chart(table, groups, name, tmp_path / "chart.png")

    assert f"{name}\n0 and older\n1,200 customers" in found
    assert f"Total spending (sum of {name})" in found
    assert f"{name} customers spend the most: 5 of 5" in found


def test_the_file_is_a_png_of_150_dpi_and_always_the_same(tmp_path: Path) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"

    for path in (first, again):
        draw_chart(summary({"Young": "5"}), GROUPS, "price", path)

    with Image.open(first) as image:
        assert image.format == "PNG"
        assert image.size == (1500, 960)
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert first.read_bytes() == again.read_bytes()
    assert imread(first).std() > 0.05  # not a blank picture


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({"Senior": "10", "Young": "5"}, "Senior customers spend the most: 10 of 15"),
        ({"Unknown": "10"}, "Customers of unknown age spend the most: 10 of 10"),
        ({"Under 18": "2.50"}, "Under 18 customers spend the most: 2.50 of 2.50"),
        ({"Young": "5", "Senior": "5"}, "Young customers spend the most: 5 of 10"),
        ({"Young": "1000", "Senior": "-990"}, "Young customers spend the most: 1.00 k"),
        ({}, "No age group spends anything"),
        ({"Young": "-5", "Middle-aged": "-1", "Senior": "-2"}, "No age group spends anything"),
    ],
)
def test_finding(totals: dict[str, str], said: str) -> None:
    assert finding(summary(totals)) == said


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ("left", ["", "18 to under 30", "30 to under 45", "45 and older", "no usable age"]),
        ("right", ["", "18 to 30", "over 30 to 45", "over 45", "no usable age"]),
    ],
)
def test_ages(closed: Literal["left", "right"], expected: list[str]) -> None:
    groups = AgeGroups(closed=closed)

    assert [ages(groups, label) for label in groups.all_labels] == expected


@pytest.mark.parametrize("closed", ["left", "right"])
def test_ages_of_a_single_group(closed: Literal["left", "right"]) -> None:
    assert ages(AgeGroups(("All",), (Decimal("0.5"),), closed), "All") == "0.5 and older"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("0.00", "0"),
        ("5", "5"),
        ("12.5", "12.50"),
        ("950", "950"),
        ("999", "999"),
        ("999.49", "999.49"),
        ("999.5", "1.00 k"),
        ("1000", "1.00 k"),
        ("9994", "9.99 k"),
        ("9995", "10.0 k"),
        ("99949", "99.9 k"),
        ("99950", "100 k"),
        ("999499", "999 k"),
        ("999500", "1.00 M"),
        ("1300000.50", "1.30 M"),
        ("38700000", "38.7 M"),
        ("1e9", "1.00 B"),
        ("2.5e12", "2.50 T"),
        ("999.4e12", "999 T"),
        ("999.5e12", "1.00e+15"),
        ("-1e20", "-1.00e+20"),
        ("-1300000", "-1.30 M"),
        ("-9995", "-10.0 k"),
        ("-12.5", "-12.50"),
    ],
)
def test_readable(number: str, text: str) -> None:
    assert readable(Decimal(number)) == text
