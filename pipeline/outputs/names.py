"""The names of everything that a run creates in its output folder or below its prefix."""

from __future__ import annotations

COMBINED = "combined_data.csv"
SPENDING = "age_group_spending.csv"
CHART = "total_spending_by_age_group.png"
REJECTED = "rejected_rows.csv"
REPORT = "run_report.json"

# In commit order. The report comes last: it marks a complete run.
OUTPUTS = (COMBINED, SPENDING, CHART, REJECTED, REPORT)
FAILED = "failed_run.json"  # next to the outputs; the next run deletes it when it starts

# What a run makes and later deletes: its lock, its staging area (the prefix of its name), and the
# mark of a commit.
LOCK = ".lock"
UNFINISHED = ".unfinished-"
FINISHED = ".finished"


def is_reserved(path: str) -> bool:
    """Return whether a run may write or delete `path`, relative to the output folder or prefix.

    Its components are separated by `/`.
    """
    first = path.partition("/")[0]
    is_temporary = first in (LOCK, FINISHED) or first.startswith(UNFINISHED)
    return is_temporary or path in (*OUTPUTS, FAILED)
