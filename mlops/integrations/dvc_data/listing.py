"""The ``.dir`` object of a directory: which files it has, by their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from mlops.integrations.dvc_data.hashing import FULL_HASH


def listing_bytes(hashes: Mapping[str, str]) -> bytes:
    """Return a directory's listing as DVC writes it; DVC must be loaded.

    Args:
        hashes: Relative path with ``/`` to md5.
    """
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for name, md5 in hashes.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    return bytes(tree.as_bytes())


def listing_md5(listing: bytes) -> str:
    """Return a listing's hash, which ends in ``.dir``.

    Not by DVC's ``Tree.digest``, which leaves a copy of each in fsspec's process-wide memory filesystem.
    """
    return f"{hashlib.md5(listing, usedforsecurity=False).hexdigest()}.dir"


def parse_listing(listing: bytes) -> dict[str, str] | None:
    """Return the files of a listing with their hashes; None if it is none, or leads out of its directory.

    A listing may come from a remote that others write to, and paths are made of what it says.
    """
    try:
        files = {str(item["relpath"]): str(item["md5"]) for item in json.loads(listing)}
    except (ValueError, KeyError, TypeError):
        return None
    for name, md5 in files.items():
        if not {"", ".", ".."}.isdisjoint(name.split("/")) or not FULL_HASH.fullmatch(md5):
            return None
    return files
