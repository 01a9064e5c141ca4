"""Folders and object stores: places for data, versions of files, uploads, retries, errors.

Knows nothing about what is stored.
"""
