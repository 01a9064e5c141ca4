"""The steps of the job, one module each: read, transform, join, sum, write, chart.

This package does not know how bytes are cut or where a cluster comes from.
"""
