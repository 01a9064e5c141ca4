#!/usr/bin/env python3
"""Time this job and its peers end to end, on the same files, in interleaved rounds.

    scripts/benchmark --customers 1000000 --purchases 10000000 --rounds 5
    scripts/benchmark --data FOLDER --engines ours,pandas    # FOLDER/customers.csv, purchases.csv
    scripts/benchmark --from small.json --from large.json --chart benchmark.png

Before each run, the disk is idle and the inputs are in the page cache. All engines must agree on
the totals and the number of records. The files in scripts/peers say what each peer leaves out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import psutil
from bench.chart import draw
from bench.engines import BY_DEFAULT, DISK, ENGINES, Setup, find_missing
from bench.measure import measure
from bench.results import Results
from dask.utils import parse_bytes


@click.command(context_settings={"show_default": True})
@click.option("--customers", default=1_000_000, help="Number of customers to generate.")
@click.option("--purchases", default=10_000_000, help="Number of purchases to generate.")
@click.option("--shape", default="plain", help="Kind of files; see scripts/generate_data.py.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of existing files to use instead."
)
@click.option("--rounds", default=3, help="Runs of each engine; one that fails is not repeated.")
@click.option(
    "--engines", default=",".join(BY_DEFAULT), help="Comma-separated list; may include spark."
)
@click.option("--cores", type=click.IntRange(1), help="Pin each run to this many cores.")
@click.option(
    "--memory",
    metavar="SIZE",
    help="Kill a run that exceeds this, such as 4GiB; engines with a limit get 80% of it.",
)
@click.option(
    "--fsync",
    is_flag=True,
    help="Time until the outputs are on disk; dd shows how long the disk alone takes.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder for inputs and outputs.  [default: /tmp]",
)
@click.option("--option", "extra", multiple=True, help="An option to pass to this job. Repeatable.")
@click.option("--save", type=click.Path(path_type=Path), help="Save the results as JSON.")
@click.option(
    "--from",
    "saved",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Run nothing; show results saved with --save. Repeatable.",
)
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the results as a PNG.")
def main(
    customers: int,
    purchases: int,
    shape: str,
    data: Path | None,
    rounds: int,
    engines: str,
    cores: int | None,
    memory: str | None,
    fsync: bool,
    work: Path | None,
    extra: tuple[str, ...],
    save: Path | None,
    saved: tuple[Path, ...],
    chart: Path | None,
) -> None:
    """Print a Markdown table: medians over the rounds, and the ratio to the first engine."""
    if saved:
        results = [Results.load(path) for path in saved]
    else:
        names = engines.split(",")
        if unknown := set(names) - set(ENGINES):
            raise click.BadParameter(f"{', '.join(sorted(unknown))}: not in {', '.join(ENGINES)}")
        if missing := [text for text in map(find_missing, names) if text]:
            raise click.ClickException("; ".join(missing))
        with tempfile.TemporaryDirectory(dir=work) as name:
            folder = Path(name)
            limit = parse_bytes(memory) if memory else None
            available = psutil.virtual_memory().available
            source, touched = data or folder / "in", min(limit or available, available // 2)
            setup = Setup(source, folder, fsync, cores, limit, extra=extra, touched=touched)
            if data is None:
                _make(setup.source, customers, purchases, shape)
            results = [measure(setup, [*names, *([DISK] if fsync else [])], rounds)]
    click.echo("\n\n".join(each.table() for each in results))
    if save:
        results[-1].save(save)
    if chart:
        draw(results, chart)


def _make(source: Path, customers: int, purchases: int, shape: str) -> None:
    script = str(Path(__file__).with_name("generate_data.py"))
    command = [sys.executable, script, "--odd", "0", "--shape", shape, "--to", str(source)]
    sizes = ["--customers", str(customers), "--purchases", str(purchases)]
    subprocess.run([*command, *sizes], check=True)


if __name__ == "__main__":
    main()
