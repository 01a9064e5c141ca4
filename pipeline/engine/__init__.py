"""Dask: clusters, preflight checks, computing, progress, memory and start-up.

Knows nothing of what a column means.
"""
