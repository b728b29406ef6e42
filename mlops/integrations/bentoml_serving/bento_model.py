"""Writing a Bento model: the files of an MLflow model, linked or copied, and their description."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlops.files import measure
from mlops.integrations.bentoml_serving import entries, model_card

# The folder of a Bento model that holds the MLflow model; bentoml.mlflow uses the same name.
MLFLOW_FOLDER: Final = "mlflow_model"
# MLflow rewrites these in place, with set_signature for one; a link would change what is deployed.
_REWRITTEN: Final = frozenset({model_card.MODEL_FILE, "conda.yaml", "python_env.yaml", "requirements.txt"})
_WRITABLE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def write(
    source: Path,
    target: Path,
    *,
    name: str,
    version: str,
    labels: Mapping[str, str],
    metadata: Mapping[str, Any],
    bentoml_version: str,
    linkable: Sequence[Path],
) -> str:
    """Write a complete Bento model into a scratch directory.

    Args:
        source: The MLflow model directory.
        target: The directory to make.
        name: The name part of the tag.
        version: The version part of the tag.
        labels: Text labels.
        metadata: What the user stores with the model.
        bentoml_version: The installed version, which the file records.
        linkable: Directories whose files are hard-linked where the file system can. A file of the user's may
            be rewritten in place by the next training, so everything else is copied.

    Returns:
        The content's digest.
    """
    roots = [root.resolve() for root in linkable]
    content = target / MLFLOW_FOLDER
    content.mkdir(parents=True)
    for path in model_card.model_files(source):
        relative = path.relative_to(source)
        copy = content / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        real = path.resolve(strict=True)
        kept = str(relative) not in _REWRITTEN and any(root in real.parents for root in roots)
        place(real, copy, link=kept)
    model_card.forget_locations(content)
    # Of what was staged, not of the source: that may be changing while it is read.
    digest = model_card.digest(content)
    description = {
        "name": name,
        "version": version,
        "module": "",
        "labels": dict(labels),
        "options": {},
        "metadata": {**metadata, entries.OWN_METADATA: {"digest": digest, "size": measure(content).bytes}},
        "context": {
            "framework_name": "mlflow",
            "framework_versions": {},
            "bentoml_version": bentoml_version,
            "python_version": platform.python_version(),
        },
        "signatures": {},
        "api_version": "v1",
        "creation_time": datetime.now(UTC).isoformat(),
    }
    # JSON is YAML, so the file needs no YAML writer and no quoting rules.
    write_durable(
        target / entries.MODEL_FILE, json.dumps(description, indent=2, ensure_ascii=False).encode("utf-8")
    )
    return digest


def place(source: Path, target: Path, *, link: bool) -> None:
    """Put a file's content at ``target``: as a hard link if wanted and possible, else as a durable copy.

    A linked file loses its write permission, so that nothing rewrites it in place under both names.
    """
    if link:
        with contextlib.suppress(OSError):
            target.hardlink_to(source)
            mode = stat.S_IMODE(source.stat().st_mode)
            if mode & _WRITABLE:
                # Only the owner may; a file of somebody else's stays as it is.
                with contextlib.suppress(PermissionError):
                    source.chmod(mode & ~_WRITABLE)
            return
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())


def write_durable(path: Path, content: bytes) -> None:
    """Write a file of a scratch directory so that it is on disk before the directory is published."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
