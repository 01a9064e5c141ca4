"""Columns of text and exact numbers, in Arrow and pandas, and their control totals.

Knows nothing of files or Dask.
"""
