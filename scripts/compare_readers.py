"""Read the cases of tests/support/cases.py with pandas, Dask, Polars and DuckDB; show the outcomes.

Every reader gets the delimiter and the encoding (from a byte order mark, too), and reads all
columns as text, as its documentation advises. `correct`: exactly the good records, in order, or an
error if a file must be refused. `error`: an error, and no records. `silent`: wrong records, and no
error.
"""

from __future__ import annotations

import codecs
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import dask.dataframe as dd
import duckdb
import pandas as pd
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.case import Case
from support.cases import CASES

from pipeline.settings import Dialect

Rows = list[tuple[str, ...]]
OUTCOMES = ("correct", "error", "silent")
# Dask's default is 64 MB. Tiny blocks on these small cases stand in for large files.
BLOCK_SIZES = ("default", 4, 8, 16)


def with_pandas(case: Case, paths: list[str]) -> list[Rows]:
    """Read each file separately, and concatenate them."""
    frames = [pd.read_csv(path, **_pandas_options(case)) for path in paths]
    return [_rows(pd.concat(frames, ignore_index=True))]


def with_dask(case: Case, paths: list[str]) -> list[Rows]:
    """Read all files together, at several block sizes."""
    results = []
    for size in BLOCK_SIZES:
        frame = dd.read_csv(paths, blocksize=size, **_pandas_options(case))
        results.append(_rows(frame.compute(scheduler="sync")))
    return results


def with_polars(case: Case, paths: list[str]) -> list[Rows]:
    """Scan all files together; encodings other than UTF-8 need the eager reader."""
    encoding = _encoding(case)
    if encoding == "utf-8":
        frame = pl.scan_csv(
            paths, separator=(case.dialect.delimiter or ","), infer_schema=False
        ).collect()
    else:
        frame = pl.concat(
            pl.read_csv(
                path,
                separator=(case.dialect.delimiter or ","),
                infer_schema=False,
                encoding=encoding,
            )
            for path in paths
        )
    return [[tuple(value or "" for value in row) for row in frame.rows()]]


def with_duckdb(case: Case, paths: list[str]) -> list[Rows]:
    """Read all files together, matching their columns by name."""
    encoding = _encoding(case).replace("iso8859-1", "latin-1")
    query = (
        "SELECT * FROM read_csv(?, all_varchar = true, header = true, delim = ?, encoding = ?, "
        "union_by_name = ?)"
    )
    with duckdb.connect() as connection:
        rows = connection.execute(
            query, [paths, (case.dialect.delimiter or ","), encoding, len(paths) > 1]
        ).fetchall()
    return [[tuple(value or "" for value in row) for row in rows]]


READERS: dict[str, Callable[[Case, list[str]], list[Rows]]] = {
    "pandas": with_pandas,
    "Dask": with_dask,
    "Polars": with_polars,
    "DuckDB": with_duckdb,
}


def outcome(reader: Callable[[Case, list[str]], list[Rows]], case: Case, folder: Path) -> str:
    """Return the outcome of reading a case: one of `OUTCOMES`."""
    paths = []
    for name, content in case.contents.items():
        path = folder / name
        path.write_bytes(content)
        paths.append(str(path))
    try:
        results = reader(case, paths)
    except KeyboardInterrupt:
        raise
    except BaseException:  # Polars' PanicException is not an Exception
        return "correct" if case.error else "error"
    wanted = [tuple(value or "" for value in row) for row in case.records]
    return "correct" if not case.error and all(rows == wanted for rows in results) else "silent"


def comparable() -> list[Case]:
    """Return all cases except for this job's own rules: dialects, columns, record size, NUL."""
    return [
        case
        for case in CASES
        if case.group != "Dialects"
        and "need a column" not in case.error
        and case.dialect.max_record_size == Dialect().max_record_size
        and "NUL" not in case.name
    ]


@click.command()
@click.option("--each", is_flag=True, help="Print a row for each case instead of each group.")
def main(each: bool) -> None:
    """Read the test cases with other readers; print a Markdown table of the outcomes."""
    cases = comparable()
    found = {}
    for case in cases:
        for name, reader in READERS.items():
            with TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[case.id, name] = outcome(reader, case, Path(folder))
    first = ["case"] if each else ["cases", "number"]
    click.echo(_line(*first, *READERS))
    click.echo(_line(*["---"] * (len(first) + len(READERS))))
    if each:
        for case in cases:
            click.echo(_line(case.id, *(found[case.id, name] for name in READERS)))
        return
    groups = list(dict.fromkeys(case.group for case in cases))
    for group in [*groups, "all"]:
        members = [case for case in cases if group in (case.group, "all")]
        counts = [Counter(found[case.id, name] for case in members) for name in READERS]
        cells = [" / ".join(str(count[what]) for what in OUTCOMES) for count in counts]
        click.echo(_line(group, str(len(members)), *cells))


def _pandas_options(case: Case) -> dict[str, object]:
    return {
        "dtype": str,
        "keep_default_na": False,
        "sep": case.dialect.delimiter or ",",
        "encoding": _encoding(case),
    }


def _encoding(case: Case) -> str:
    (content, *_) = case.contents.values()
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return encoding
    return case.dialect.encoding


def _rows(frame: pd.DataFrame) -> Rows:
    texts = frame.astype(object).where(frame.notna(), "")
    return [tuple(row) for row in texts.itertuples(index=False, name=None)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
