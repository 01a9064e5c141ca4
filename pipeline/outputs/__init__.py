"""The outputs of a run: the checks, the reports, and how outputs are staged and committed.

This package does not know how results are computed.
"""
