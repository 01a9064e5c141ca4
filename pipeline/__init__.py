"""Spending by age group: joins customers with their purchases on Dask dataframes.

from distributed import Client
from pipeline import Settings, run

report = run(Settings(customers=("customers.csv",), purchases=("sales/",)), Client())
print(report.spending)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.settings import AgeGroups, Columns, Settings

if TYPE_CHECKING:
    from pipeline.job import run

__version__ = "2.0.0"

__all__ = ["AgeGroups", "Columns", "Settings", "__version__", "run"]


def __getattr__(name: str) -> Any:
    # Importing Dask takes most of a second: `--help` must not wait for it.
    if name == "run":
        from pipeline.job import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
