"""Compiled loops over arrays of bytes and integers.

No Python objects, Arrow, files or column names; every integer has an explicit type.
"""
