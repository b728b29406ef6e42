"""One project with something of every kind, made once per test run and imported where it is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlops import MLOpsClient, WorkspaceManager
from mlops.files import locked
from tests.contract.populate import populate_everything

# Where it was made: removed at once, so that nothing can depend on it.
ORIGINAL = "made-here-and-removed"


def archive_of_everything(cache: Path) -> Path:
    """Return an archive of the project ``churn``, whose own base exists no more.

    Args:
        cache: A directory that every worker of the test run shares.
    """
    archive = cache / "everything.tar.zst"
    with locked(cache / "everything.lock", timeout=240):
        if not archive.exists():
            work = cache / ORIGINAL
            (work / "base" / ".mlops").mkdir(parents=True)
            manager = WorkspaceManager(work / "base")
            populate_everything(MLOpsClient("churn", workspace_manager=manager), work)
            manager.export_workspace("churn", archive)
            shutil.rmtree(work)
    return archive
