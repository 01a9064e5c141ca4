"""A run in progress: its steps, with its settings, and what they have counted so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import dask.dataframe as dd
import pandas as pd
from distributed import Client, Future

from pipeline.csv_text.sources import Source
from pipeline.engine.cluster import worker_memory
from pipeline.engine.compute import keep_copies
from pipeline.engine.ledger import Entry, Ledger
from pipeline.engine.partitions import schema
from pipeline.settings import Settings
from pipeline.steps.blocks import Blocks
from pipeline.steps.join import Broadcast
from pipeline.steps.lookup import Lookup
from pipeline.steps.plan import Plan
from pipeline.steps.read import REJECTS, BlockRead, read, wanted_of_customers, wanted_of_purchases
from pipeline.steps.render import Rendered, render
from pipeline.steps.shuffle import Shuffle
from pipeline.steps.sizes import check_lookup_fits
from pipeline.steps.skew import find_hot
from pipeline.steps.transform import transform
from pipeline.steps.write import Target, Written, write_combined
from pipeline.storage.places import Place


class Quality(Protocol):
    """Notes what the steps count, and judges it."""

    ledger: Ledger

    def note(self, entry: Entry) -> None:
        """Add an entry to the ledger."""

    def judge(self, *tables: str) -> None:
        """Raise DataError if too much of these tables is bad."""


@dataclass(frozen=True)
class Job(Blocks):
    """A run in progress. Its steps take and return lazy dataframes.

    `place` is where workers keep temporary data, `target` where the combined table goes. `quality`
    notes what the steps count.
    """

    settings: Settings
    plan: Plan
    place: Place
    target: Target
    quality: Quality

    @classmethod
    def start(
        cls,
        client: Client,
        settings: Settings,
        plan: Plan,
        quality: Quality,
        *,
        place: Place,
        target: Target,
    ) -> Job:
        """Return the run of a plan; nothing is computed yet."""
        return cls(client, plan.block_size, quality.note, settings, plan, place, target, quality)

    @property
    def ledger(self) -> Ledger:
        """What the steps have counted so far."""
        return self.quality.ledger

    @property
    def written(self) -> list[Written]:
        """The blocks of the combined table, in order."""
        return self.ledger.all(Written)

    @property
    def rejects(self) -> Place:
        """Where workers keep rejected records, if a block has many."""
        return self.place.below(REJECTS)

    def read_customers(self, table: Source) -> dd.DataFrame:
        """Read customers (see `read.read`)."""
        wanted = wanted_of_customers(self.settings.columns, self.settings.escape_formulas)
        return read(table, wanted, self.rejects)

    def read_purchases(self, table: Source) -> dd.DataFrame:
        """Read purchases (see `read.read`)."""
        wanted = wanted_of_purchases(self.settings.columns, self.settings.escape_formulas)
        return read(table, wanted, self.rejects)

    def transform(self, customers: dd.DataFrame) -> dd.DataFrame:
        """Add `full_name` and `age_group` (see `transform.transform`)."""
        return transform(customers, self.settings.age_groups)

    def render(self, customers: dd.DataFrame) -> dd.DataFrame:
        """Render customers as CSV text (see `render.render`)."""
        return render(customers, self.settings.escape_formulas)

    def write(self, joined: dd.DataFrame) -> dd.DataFrame:
        """Write joined records (see `write.write_combined`)."""
        escape = self.settings.escape_formulas
        return write_combined(joined, self.target, self.plan.layout, escape)

    def check_customers(self) -> None:
        """Check, before the broadcast, that the customers are usable and fit into memory.

        Raises DataError or ClusterError.
        """
        self.quality.judge("customers")
        blocks = self.ledger.all(BlockRead)
        records = sum(block.records for block in blocks)
        size = sum(block.bytes for block in blocks)
        check_lookup_fits(records, size, worker_memory(self.client))

    def broadcast(self, lookup: Future) -> Broadcast:
        """Return the broadcast join with a lookup on the cluster."""
        nobody = Lookup.build(self._customers_schema(), self.plan.layout.no_customer)
        # Most customers have purchases, and the lines of the others are short.
        slices = -(-len(self.ledger.all(Rendered)) // 4)
        copies = keep_copies(self.client, lookup)
        return Broadcast(lookup, copies, nobody, self.place.below("matched"), slices)

    def shuffle(self) -> Shuffle:
        """Return the shuffle join; looks for hot ids in a sample of purchases first."""
        plan = self.plan
        how = self.client, plan.purchases, self.block_size
        return Shuffle(
            count=plan.partitions,
            hot=find_hot(*how, self.read_purchases, plan.partitions),
            no_customer=plan.layout.no_customer,
            purchases=schema(self.read_purchases(plan.purchases)),
            customers=self._customers_schema(),
        )

    def _customers_schema(self) -> pd.DataFrame:
        return schema(self.render(self.transform(self.read_customers(self.plan.customers))))
