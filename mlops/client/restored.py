"""Data that was restored for a run that is done again: the code there versions it as if it were at home.

To the project the worktree is a foreign place. Without this the versions that the code adds in it would
become datasets of their own, which nobody finds again once the worktree is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.plugins import variables

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.dvc_data import DataVersion


def to_variable(versions: Iterable[tuple[Path, DataVersion]]) -> str:
    """Return what tells the processes of a run which data was restored for it, and where.

    Args:
        versions: Places with the version each has.
    """
    return json.dumps({str(path.resolve()): [version.name, version.md5] for path, version in versions})


def restored_version(session: ProjectSession, path: Path | str) -> DataVersion | None:
    """Return the version that was restored to a path for this process, if its content is still that.

    Args:
        session: The project.
        path: A file or directory.
    """
    text = os.environ.get(variables.RESTORED)
    place = Path(path).resolve()
    if text is None or str(place) not in (known := json.loads(text)):
        return None
    name, md5 = known[str(place)]
    if _md5(place, session.project_name) != md5:
        return None
    return replace(session.data.find(md5), name=name, path=place)


def _md5(path: Path, project: str) -> str | None:
    from mlops.integrations.dvc_data import hashing, listing, snapshot
    from mlops.integrations.dvc_data.operation import Operation

    seen = snapshot.take(path, Operation("dvc_add", project))
    if seen is None:
        return None
    hashes = {file: hashing.file_md5(path / file if file else path) for file in seen.files}
    return listing.listing_md5(listing.listing_bytes(hashes)) if path.is_dir() else hashes[""]
