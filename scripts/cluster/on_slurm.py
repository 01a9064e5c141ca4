"""Run the job on SLURM with dask-jobqueue, from a login node.

The Python environment must be on a shared file system. Replace the queue, the account and the paths
with yours.
"""

from __future__ import annotations

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client

from pipeline import Settings, run

if __name__ == "__main__":
    # Jobs may queue for a long time. One process with many threads keeps one copy of the customers.
    dask.config.set({"distributed.scheduler.no-workers-timeout": "1 hour"})
    cluster = SLURMCluster(
        queue="normal",
        account="ACCOUNT",
        walltime="01:00:00",
        cores=8,
        processes=1,
        memory="32GB",
        local_directory="/tmp",
    )
    cluster.scale(jobs=4)
    with cluster, Client(cluster) as client:
        run(Settings(("/scratch/crm",), ("/scratch/sales",), "/scratch/result"), client)
