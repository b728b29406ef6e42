"""What a value counts as where results are reused: most as their bytes, some as what they stand for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlops.files import hash_file
from mlops.pipelines.kinds import is_data_version


def identity_of(value: Any, digest: str) -> str:
    """Return what tells a value from others that a step would make something else of.

    A ``Path`` counts with the content of the file or directory it names, a data version as the version,
    whenever it was added; everything else as the bytes it is stored as.

    Args:
        value: The value.
        digest: SHA-256 of the bytes it is stored as.
    """
    if isinstance(value, Path):
        return _hash(digest, _content(value))
    if is_data_version(value):
        return _hash("data", value.name, value.md5)
    return digest


def _content(path: Path) -> str:
    if path.is_file():
        return hash_file(path)
    if not path.is_dir():
        return "missing"
    files = sorted(each for each in path.rglob("*") if each.is_file())
    return _hash(*(part for file in files for part in (file.relative_to(path).as_posix(), hash_file(file))))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
