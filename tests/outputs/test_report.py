"""The report tells what was asked for, what came of it, when, where and with which versions."""

from __future__ import annotations

import json
import socket
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.ledgers import CHECKS, CUSTOMERS, TOTALS, source

from pipeline.outputs.report import RunLog
from pipeline.settings import AgeGroups, Settings
from pipeline.steps.plan import Plan
from pipeline.steps.render import Layout
from pipeline.steps.spending import summarize

GROUPS = AgeGroups(("Zoë's", "Old"), (Decimal("6.5"), Decimal(60)), "right")
PLAN = Plan(
    customers=source("customers", a=1, b=1),
    purchases=source("purchases", c=1),
    layout=Layout("customer_id,product", ",,", ","),
    join="broadcast",
    block_size=1 << 20,
    partitions=1,
)


def test_a_run_that_has_succeeded(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    summary = summarize([{"Old": (Decimal("0.0000001"), 3)}], [{"Old": 2}], GROUPS)
    log = RunLog(Settings(customers=("a.csv",), purchases=("b.csv",), age_groups=GROUPS))

    with log.timed("prepare"):
        log.note_plan(PLAN)
    log.write_complete(path, PLAN, TOTALS, CHECKS, summary)

    text = path.read_text(encoding="utf-8")
    report = json.loads(text)
    assert text.endswith("}\n")
    assert "Zoë's" in text
    assert (report["format"], report["status"]) == (3, "complete")
    assert report["settings"]["customers"] == ["a.csv"]
    assert report["settings"]["age_groups"] == {
        "labels": ["Zoë's", "Old"],
        "bounds": ["6.5", "60"],
        "closed": "right",
    }
    assert report["inputs"] == {
        "customers": [
            {"file": "a.csv", "bytes": 500, "modified": None},
            {"file": "b.csv", "bytes": 500, "modified": None},
        ],
        "purchases": [{"file": "c.csv", "bytes": 500, "modified": None}],
    }
    assert report["join"] == "broadcast"
    assert report["host"] == socket.gethostname()
    assert list(report["stages"]) == ["prepare"]
    assert 0 <= report["stages"]["prepare"] <= report["seconds"]
    assert lasted(report) >= 0
    assert report["totals"]["purchases"]["total"] == "99999999999999999999.000000000000000001"
    assert report["totals"]["customers_without_purchases"] == 4
    assert report["totals"]["customers"]["value_examples"] == CUSTOMERS.value_examples
    assert report["checks"] == [
        {"name": "records, joined and written", "expected": 34, "actual": 34},
        {
            "name": "sum of the amounts, read and in the age groups",
            "expected": "0.1",
            "actual": "0.10",
        },
    ]
    assert report["age_groups"] == [
        {
            "age_group": "Zoë's",
            "total_spending": "0.0000000",
            "purchases": 0,
            "customers": 0,
            "spending_per_customer": None,
            "share_of_total": "0.0000",
        },
        {
            "age_group": "Old",
            "total_spending": "0.0000001",
            "purchases": 3,
            "customers": 2,
            "spending_per_customer": "0.00",
            "share_of_total": "1.0000",
        },
    ]
    assert set(report["versions"]) >= {
        *("age-group-spending", "python", "dask", "distributed", "pandas", "pyarrow", "matplotlib")
    }
    assert all(report["versions"].values())


def test_a_run_that_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "failed.json"

    RunLog(Settings(customers=("a.csv",), purchases=("b.csv",))).write_failed(
        path, ValueError("no such thing")
    )

    report = json.loads(path.read_text())
    assert (report["status"], report["error"]) == ("failed", "no such thing")
    assert report["settings"]["customers"] == ["a.csv"]
    assert lasted(report) >= 0


def test_an_error_without_words_is_named(tmp_path: Path) -> None:
    RunLog(Settings()).write_failed(tmp_path / "failed.json", AssertionError())

    assert json.loads((tmp_path / "failed.json").read_text())["error"] == "AssertionError"


def test_every_run_has_an_id_of_its_own() -> None:
    assert RunLog(Settings()).run_id != RunLog(Settings()).run_id


def lasted(report: dict[str, Any]) -> float:
    """Return the seconds between the start and the end of a run."""
    start, end = (datetime.fromisoformat(report[name]) for name in ("started", "ended"))
    return (end - start).total_seconds()
