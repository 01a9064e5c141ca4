"""Run the job on Kubernetes with Dask's operator, from a pod that mounts the shared volume.

Replace REGISTRY, the name of the claim and the paths with yours.
"""

from __future__ import annotations

from dask_kubernetes.operator import KubeCluster, make_cluster_spec
from distributed import Client

from pipeline import Settings, run

if __name__ == "__main__":
    spec = make_cluster_spec(
        name="spending",
        image="REGISTRY/age-group-spending",
        n_workers=4,
        worker_command=["dask", "worker"],
        resources={"limits": {"cpu": "2", "memory": "4Gi"}},
    )
    spec["spec"]["scheduler"]["spec"]["containers"][0]["args"] = ["dask", "scheduler"]
    worker = spec["spec"]["worker"]["spec"]
    worker["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]
    worker["containers"][0]["volumeMounts"] = [{"name": "shared", "mountPath": "/shared"}]
    with KubeCluster(custom_cluster_spec=spec) as cluster, Client(cluster) as client:
        run(Settings(("/shared/crm",), ("/shared/sales",), "/shared/result"), client)
