"""This package as it is installed on a machine."""

from __future__ import annotations

import hashlib
from importlib import import_module, resources


def source_digest() -> str:
    """Return a digest of this package's source, which depends on nothing but the code.

    Imports only the standard library, so a scheduler can call it, too.
    """
    # Resources, not paths: the package may have been uploaded as a zip file.
    folders, sources = [("", resources.files(import_module("pipeline")))], {}
    while folders:
        prefix, folder = folders.pop()
        for item in folder.iterdir():
            if item.is_dir():
                folders.append((f"{prefix}{item.name}/", item))
            elif item.name.endswith(".py"):
                sources[prefix + item.name] = item.read_bytes()
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    return digest.hexdigest()
