"""CSV as text: files, the blocks they are cut into, records, fields, quoting.

Knows nothing about customers, purchases or Dask.
"""
