"""The ``.dvc`` file beside a dataset: what plain DVC needs to find the data, and what git can track."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlops import plain_yaml
from mlops.integrations.dvc_data.hashing import FULL_HASH

SUFFIX: Final = ".dvc"
_PLAIN_KEYS: Final = {"md5", "size", "nfiles", "hash", "path", "isexec"}
# DVC reads YAML 1.2, where such text is a number; PyYAML writes 1.1 and would leave some of it unquoted.
_NUMBER_LIKE: Final = re.compile(r"[-+.]?[0-9][0-9._]*(?:[eE][-+]?[0-9]+)?")
# A pointer of a dataset is a few lines; whatever is larger is something else.
_MAX_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Pointer:
    """A ``.dvc`` file that says where one dataset's bytes are, and nothing else.

    Args:
        path: Name of the file or directory beside the pointer.
        md5: Hash of the content.
        size: Bytes, if stated.
        files: Number of files of a directory, if stated.
    """

    path: str
    md5: str
    size: int | None
    files: int | None


def pointer_path(source: Path) -> Path:
    """Return where the pointer of a dataset is: beside it, with ``.dvc`` appended to its name."""
    return source.with_name(source.name + SUFFIX)


def pointer_text(name: str, *, md5: str, size: int, files: int | None) -> str:
    """Return the YAML that DVC writes for one tracked file or directory.

    Args:
        name: Name of the file or directory beside the pointer.
        md5: Hash of the content.
        size: Bytes.
        files: Number of files of a directory; None for a file.
    """
    lines = ["outs:", f"- md5: {_scalar(md5)}", f"  size: {size}"]
    if files is not None:
        lines.append(f"  nfiles: {files}")
    lines += ["  hash: md5", f"  path: {_scalar(name)}", ""]
    return "\n".join(lines)


def read_pointer(path: Path) -> Pointer | None:
    """Read a pointer file; None if it is not one that this package or ``dvc add`` would write again."""
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        document = plain_yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError):
        return None
    return _parse(document)


def _parse(document: Any) -> Pointer | None:
    if not isinstance(document, dict) or set(document) != {"outs"}:
        return None
    outs = document["outs"]
    if not isinstance(outs, list) or len(outs) != 1 or not isinstance(outs[0], dict):
        return None
    out = outs[0]
    if not set(out) <= _PLAIN_KEYS or out.get("hash", "md5") != "md5":
        return None
    name, md5, size, files = (out.get(key) for key in ("path", "md5", "size", "nfiles"))
    if not isinstance(name, str) or not isinstance(md5, str) or not FULL_HASH.fullmatch(md5):
        return None
    return Pointer(
        name, md5, size if isinstance(size, int) else None, files if isinstance(files, int) else None
    )


def _scalar(text: str) -> str:
    import yaml

    if _NUMBER_LIKE.fullmatch(text):
        return f"'{text}'"
    dumped: str = yaml.safe_dump(text, allow_unicode=True, width=1_000_000)
    return dumped.removesuffix("...\n").rstrip("\n")
