"""Ids as they are compared: trimmed text, of which plain integers are faster to look up."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns.arrow import bounds, holds_only, text_bytes
from pipeline.columns.totals import hashes

_PLAIN_INTEGER = "^(0|[1-9][0-9]{0,17})$"


def key_hashes(ids: pa.Array) -> np.ndarray:
    """Return a hash of each id as it is compared (uint64); 0 for a missing one."""
    return hashes(trimmed(ids))


def trimmed(ids: pa.Array) -> pa.Array:
    """Return ids without surrounding blanks; blank ids become null."""
    if not holds_only(ids, "!", "~"):
        ids = pc.utf8_trim_whitespace(ids)
    return pc.if_else(pc.equal(pc.binary_length(ids), 0), None, ids) if _has_empty(ids) else ids


def plain_integers(keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, plain): the integers, and which keys are integers in their shortest form.

    `values` (int64) is 0 where `plain` (bool) is false. `7` is plain; `007`, `+7`, `-7`, `7.0` and
    integers of more than 18 digits are not.
    """
    if holds_only(keys, "0", "9") and not _any_leads_with_zero(keys):
        try:
            values = _filled(pc.cast(keys, pa.int64()))
        except pa.ArrowInvalid:  # too many digits
            pass
        else:
            if values.max(initial=0) < 10**18:
                return values, _valid(keys)
    plain = pc.fill_null(pc.match_substring_regex(keys, _PLAIN_INTEGER), False)
    values = _filled(pc.cast(pc.if_else(plain, keys, None), pa.int64()))
    return values, plain.to_numpy(zero_copy_only=False)


def _any_leads_with_zero(digits: pa.Array) -> bool:
    """Return whether any text has a zero before other digits."""
    starts = bounds(digits)
    data = text_bytes(digits)
    if not data.size:
        return False
    zero = data.take(starts[:-1], mode="clip") == ord("0")
    return bool((zero & (np.diff(starts) > 1)).any())


def _has_empty(ids: pa.Array) -> bool:
    return bool(pc.any(pc.equal(pc.binary_length(ids), 0)).as_py())


def _filled(integers: pa.Array) -> np.ndarray:
    return pc.fill_null(integers, 0).to_numpy(zero_copy_only=False)


def _valid(array: pa.Array) -> np.ndarray:
    return pc.is_valid(array).to_numpy(zero_copy_only=False)
