"""Measure the overhead of a block in the client, the scheduler and the worker.

Each is a separate process. The overhead does not depend on the size of a block, so small blocks
stand in for large ones.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import psutil
from bench.cluster import cluster, cost
from distributed import Client

from pipeline import Settings, run

_BLOCK = 1024  # bytes, the minimum block size
_LINE = "{},A lamp with a long name,{}.25\n"
_CUSTOMERS = 1000


@click.command(help=__doc__)
@click.option("--blocks", default=100_000, show_default=True, help="Number of blocks to run.")
@click.option("--to", type=click.Path(path_type=Path), help="Folder for the data.  [default: /tmp]")
def main(blocks: int, to: Path | None) -> None:
    """Print a table: what each block costs each process."""
    with TemporaryDirectory(dir=to) as name:
        settings = write_tables(Path(name), blocks)
        with cluster(Path(name)) as others, Client(scheduler_file=f"{name}/scheduler.json") as at:
            every = {"client": psutil.Process(), **others}
            at.wait_for_workers(1)
            run(replace(settings, block_size=None), at, draw=no_chart)  # imports, and one block
            before = {who: cost(process) for who, process in every.items()}
            begin = time.perf_counter()
            run(settings, at, draw=no_chart)
            wall = time.perf_counter() - begin
            after = {who: cost(process) for who, process in every.items()}
    click.echo(f"{blocks:,} blocks in {wall:.0f} s, {1000 * wall / blocks:.2f} ms each\n")
    click.echo("| process | CPU per block | memory per block | peak memory |")
    click.echo("| --- | --- | --- | --- |")
    for who, (seconds, memory) in after.items():
        each = 1000 * (seconds - before[who].seconds) / blocks
        kib = (memory - before[who].memory) / blocks / 1024
        click.echo(f"| {who} | {each:.2f} ms | {kib:.1f} KiB | {memory / 1e6:,.0f} MB |")


def write_tables(folder: Path, blocks: int) -> Settings:
    """Write customers, and that many blocks of purchases; return settings that read them."""
    customers, purchases = folder / "customers.csv", folder / "purchases.csv"
    with customers.open("w") as file:
        file.write("customer_id,first_name,last_name,age\n")
        file.writelines(f"{row},Ada,Byron,{18 + row % 60}\n" for row in range(_CUSTOMERS))
    lines = [_LINE.format(row % _CUSTOMERS, row % 977) for row in range(10_000)]
    size = sum(map(len, lines))
    with purchases.open("w") as file:
        file.write("customer_id,product,price\n")
        whole, rest = divmod(blocks * _BLOCK, size)
        for _ in range(whole):
            file.writelines(lines)
        file.writelines(lines[: rest * len(lines) // size])
    return Settings(
        (str(customers),),
        (str(purchases),),
        str(folder / "outputs"),
        join="broadcast",
        block_size=_BLOCK,
        fsync=False,
    )


def no_chart(*_: object) -> None:
    """Draw nothing: that costs the same for any number of blocks."""


if __name__ == "__main__":
    main()
