"""`full_name` and `age_group`: pure functions of a partition of customers."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import NUMBER, to_arrow, to_text
from pipeline.read import PARSED
from pipeline.settings import AgeGroups

FIRST_NAME = "first_name"
LAST_NAME = "last_name"
FULL_NAME = "full_name"
AGE_GROUP = "age_group"


def add_full_name(customers: pd.DataFrame) -> pd.DataFrame:
    """Add `full_name` (text): first and last name with one space between.

    Where one is missing it is the other alone; where both are, it is missing.
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
    # Many customers share few ages, each of which is looked at once.
    age = to_arrow(customers[PARSED]).dictionary_encode()
    group = np.zeros(len(age.dictionary) + 1, np.int16)
    for place, bound in enumerate(groups.bounds):
        # Closed right, a boundary age belongs to the group that it ends; the first bound has no
        # group before it, and belongs to the first group either way (pandas: include_lowest).
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
