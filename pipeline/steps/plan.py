"""The plan of a run: its inputs, their blocks, the output layout and the join strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from distributed import Client

from pipeline.csv_text.finding import Files, find_files
from pipeline.csv_text.headers import open_source
from pipeline.csv_text.messages import counted, printable
from pipeline.csv_text.ranges import cut_into_ranges
from pipeline.csv_text.sources import Source
from pipeline.engine.cluster import thread_memory, worker_memory
from pipeline.engine.preflight import check_cluster
from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.steps.render import Layout, layout
from pipeline.steps.sizes import choose_block_size, choose_join, choose_partitions
from pipeline.storage.places import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """The files of both tables."""

    customers: Files
    purchases: Files


@dataclass(frozen=True)
class Plan:
    """The two tables, the layout of the combined table, the join, and the block size in bytes.

    `partitions` is how many a shuffle would have.
    """

    customers: Source
    purchases: Source
    layout: Layout
    join: str
    block_size: int
    partitions: int

    @property
    def tables(self) -> tuple[Source, Source]:
        """Customers and purchases."""
        return self.customers, self.purchases

    @property
    def bytes(self) -> int:
        """The size of all inputs in bytes."""
        return sum(table.size for table in self.tables)

    def __str__(self) -> str:
        """Describe the plan in three lines."""
        return f"{self.customers}\n{self.purchases}\njoin: {self.join}"

    def describe(self, settings: Settings, outputs: tuple[str, ...]) -> str:
        """Describe the plan in full: files, their numbers of blocks, columns, outputs."""
        files = [
            f"  {file.name}: {counted(file.size, 'byte')}, about "
            f"{counted(-(-file.size // self.block_size), 'block')}"
            f"{'' if file.is_plain else ', read as a stream'}"
            for source in self.tables
            for file in source.files
        ]
        results = f"outputs in {printable(settings.output_dir)}: {', '.join(outputs)}"
        return "\n".join((str(self), *files, f"columns: {self.layout.header}", results))


def find_inputs(settings: Settings) -> Inputs:
    """Find the files that a run reads; open none, and write nothing.

    Raises a UsageError that says what is wrong with the paths of one or both tables.
    """
    return Inputs(
        *_of_both(
            lambda: find_files("customers", settings.customers),
            lambda: find_files("purchases", settings.purchases),
        )
    )


def make_plan(settings: Settings, inputs: Inputs, client: Client) -> Plan:
    """Read and check the headers of the inputs, and choose how to join; write nothing.

    Raises UsageError if a column is missing, or if two columns of the result share a name.
    """
    columns = settings.columns
    customers, purchases = _open_tables(settings, inputs)
    total = customers.plain_size + purchases.plain_size
    return Plan(
        customers,
        purchases,
        layout(customers.columns, purchases.columns, columns, settings.escape_formulas),
        choose_join(settings.join, customers.plain_size, worker_memory(client)),
        settings.block_size or choose_block_size(total, thread_memory(client)),
        choose_partitions(total, thread_memory(client)),
    )


def _open_tables(settings: Settings, inputs: Inputs) -> list[Source]:
    """Open both tables; raise a UsageError that says what is wrong with one or both."""
    try:
        return _open(settings, inputs)
    except UsageError as error:
        try:
            purchases, customers = _open(settings, Inputs(inputs.purchases, inputs.customers))
        except UsageError:
            raise error from None
        raise UsageError(
            f"--customers and --purchases seem to be swapped: {customers.files[0].name} has the "
            f"columns of purchases, and {purchases.files[0].name} those of customers"
        ) from error


def _open(settings: Settings, inputs: Inputs) -> list[Source]:
    def open_table(table: str, files: Files, required: Mapping[str, str]) -> Source:
        source = open_source(table, files, required, settings.dialect_of(table))
        return replace(source, left_out=files.left_out)

    columns = settings.columns
    return _of_both(
        lambda: open_table("customers", inputs.customers, columns.of_customers),
        lambda: open_table("purchases", inputs.purchases, columns.of_purchases),
    )


def _of_both(*of_tables: Callable[[], T]) -> list[T]:
    """Return both results; raise a UsageError that says what is wrong with one or both."""
    found: list[T] = []
    faults: list[UsageError] = []
    for of_table in of_tables:
        try:
            found.append(of_table())
        except UsageError as error:
            faults.append(error)
    if faults:
        raise UsageError("; also, ".join(map(str, faults))) from faults[0]
    return found


def prepare(plan: Plan, client: Client, place: Place, output_dir: str) -> Plan:
    """Check that the cluster can run a plan, and cut the inputs into byte ranges.

    All workers must be able to write into `place`, a part of `output_dir`. Raises ClusterError (see
    `check_cluster`).
    """
    check_cluster(client, plan.tables, place, output_dir)
    customers, purchases = (cut_into_ranges(table, plan.block_size) for table in plan.tables)
    return replace(plan, customers=customers, purchases=purchases)
