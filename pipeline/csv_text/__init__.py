"""CSV as text: files, the blocks they are cut into, records, fields, quoting.

Knows nothing of customers, purchases or Dask.
"""
