"""The command line: turns options into settings, and errors into one line and an exit code.

This package does not know how results are computed.
"""
