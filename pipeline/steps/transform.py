"""Add `full_name` and `age_group` to customers, by pure functions of a partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import NUMBER, to_arrow, to_text
from pipeline.engine.ledger import with_totals
from pipeline.engine.partitions import on_partitions
from pipeline.settings import AgeGroups
from pipeline.steps.read import FIRST_NAME, LAST_NAME, PARSED

FULL_NAME = "full_name"
AGE_GROUP = "age_group"
ADDED = (FULL_NAME, AGE_GROUP)  # to a customer's columns, in this order


@dataclass(frozen=True)
class Transformed:
    """How many customers of a block each age group has, by label, without zeros."""

    groups: Mapping[str, int]


def transform(customers: dd.DataFrame, groups: AgeGroups) -> dd.DataFrame:
    """Add `full_name` and `age_group` to lazy customers.

    Totals: `Transformed`.
    """
    return on_partitions(_transform, customers, groups, step="transform")


def _transform(customers: pd.DataFrame, groups: AgeGroups) -> pd.DataFrame:
    transformed = add_age_group(add_full_name(customers), groups)
    counts = transformed[AGE_GROUP].value_counts()
    return with_totals(transformed, Transformed(counts[counts > 0].to_dict()), before=customers)


def add_full_name(customers: pd.DataFrame) -> pd.DataFrame:
    """Add `full_name` (text): first and last name, separated by a space.

    If one is missing, it is the other; if both are missing, it is null.
    """
    first = to_arrow(customers[FIRST_NAME])
    last = to_arrow(customers[LAST_NAME])
    both = pc.binary_join_element_wise(first, last, pa.scalar(" ", first.type))
    full = pc.coalesce(both, first, last)
    return customers.assign(**{FULL_NAME: to_text(full).set_axis(customers.index)})


def add_age_group(customers: pd.DataFrame, groups: AgeGroups) -> pd.DataFrame:
    """Add `age_group` (ordered categorical over `groups.all_labels`) from the parsed age.

    A missing age is `Unknown`; an age below the first bound is `Under …`.
    """
    # Customers have few distinct ages: classify each of them once.
    age = to_arrow(customers[PARSED]).dictionary_encode()
    group = np.zeros(len(age.dictionary) + 1, np.int16)
    for place, bound in enumerate(groups.bounds):
        # If closed on the right, a boundary age belongs to the group it ends. The first bound ends
        # only `Under …`, which excludes it: it is in the first group (pandas: include_lowest).
        begins = pc.greater if groups.closed == "right" and place > 0 else pc.greater_equal
        reached = begins(age.dictionary, pa.scalar(Decimal(bound), NUMBER))
        group[:-1] += reached.to_numpy(zero_copy_only=False)
    group[-1] = len(groups.all_labels) - 1
    group = group[pc.fill_null(age.indices, len(age.dictionary)).to_numpy()]
    codes = pd.Categorical.from_codes(group, dtype=age_group_dtype(groups))
    return customers.assign(**{AGE_GROUP: codes})


def age_group_dtype(groups: AgeGroups) -> pd.CategoricalDtype:
    """Return the dtype of `age_group`: its labels, youngest first and `Unknown` last."""
    return pd.CategoricalDtype(list(groups.all_labels), ordered=True)
