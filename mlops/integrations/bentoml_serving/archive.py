"""Copying a store out of its workspace, and putting a copy in place of a store."""

from __future__ import annotations

import os
from pathlib import Path

from mlops.errors import ArchiveError
from mlops.integrations.bentoml_serving.bento_model import place
from mlops.integrations.bentoml_serving.store import PARTS, REPLACED, BentoStore


def export_store(store: BentoStore, destination: Path) -> None:
    """Copy the models and Bentos into an existing directory; a file stored under two tags is copied once."""
    with store.lock("export"):
        copies: dict[tuple[int, int], Path] = {}
        for part in PARTS:
            _copy_tree(store.home / part, destination / part, copies)


def restore_store(store: BentoStore, source: Path) -> None:
    """Replace the models and Bentos by an exported copy, completely or, after a crash, not at all.

    Raises:
        ArchiveError: The directory holds no exported store.
    """
    if not (source / "models").is_dir():
        raise ArchiveError(
            f"{source} holds no exported BentoML store: it has no directory 'models'",
            operation="restore",
            workspace=store.workspace.project_name,
            hint="pass the directory that export() wrote",
        )
    with store.scratch("restore", "restore") as (staging, _):
        copies: dict[tuple[int, int], Path] = {}
        for part in PARTS:
            _copy_tree(source / part, staging / part, copies)
        with store.lock("restore"):
            store.recover()
            replaced = store.home / REPLACED
            replaced.mkdir()
            for part in PARTS:
                (store.home / part).rename(replaced / part)
                (staging / part).rename(store.home / part)
            replaced.rename(staging / "replaced")


def _copy_tree(source: Path, target: Path, copies: dict[tuple[int, int], Path]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for folder, _, files in os.walk(source):
        inside = target / Path(folder).relative_to(source)
        inside.mkdir(exist_ok=True)
        for name in files:
            path = Path(folder, name)
            copy = inside / name
            stat = path.stat()
            identity = (stat.st_dev, stat.st_ino)
            if stat.st_nlink > 1 and identity in copies:
                place(copies[identity], copy, link=True)
                continue
            place(path, copy, link=False)
            copies[identity] = copy
