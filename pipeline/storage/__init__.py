"""Folders and object stores: where data lies, versions of it, uploads, retries, errors.

Knows nothing of what is stored.
"""
