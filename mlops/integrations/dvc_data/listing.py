"""The ``.dir`` object of a directory: which files it has, by their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

from mlops.integrations.dvc_data.hashing import FULL_HASH
from mlops.integrations.dvc_data.ledger import Entry


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


def contents_of(md5: str, listing: bytes | None) -> dict[str, str] | None:
    """Return a version's files by relative path, with their hashes; a file has the one key ``""``.

    Args:
        md5: The version.
        listing: For a directory its listing's bytes; None, or nonsense, gives None.
    """
    if not md5.endswith(".dir"):
        return {"": md5}
    return None if listing is None else parse_listing(listing)


def describe_missing(
    entries: Iterable[Entry], files: Mapping[str, Mapping[str, str] | None], missing: Collection[str]
) -> list[str]:
    """Return what versions lack, for people: files, or the list of them.

    Args:
        entries: The versions.
        files: Per version's md5 its files with their hashes, None where the list is unknown.
        missing: The objects that are gone.
    """
    lost = []
    for entry in entries:
        listed = files[entry.md5]
        label = f"{entry.name}@{entry.md5}"
        names = [name for name, md5 in sorted((listed or {}).items()) if md5 in missing]
        lost += [f"{name} of {label}" if name else label for name in names]
        if not names and (listed is None or entry.md5 in missing):
            lost.append(f"the file list of {label}")
    return lost


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
