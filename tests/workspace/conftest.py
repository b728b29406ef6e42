from __future__ import annotations

from pathlib import Path

import pytest

from mlops import WorkspaceManager
from tests.workspace.populated import archive_of_everything


@pytest.fixture
def everything(shared_cache: Path, clean_environment: None) -> Path:
    return archive_of_everything(shared_cache)


@pytest.fixture
def manager(base: Path) -> WorkspaceManager:
    return WorkspaceManager(base)


@pytest.fixture
def populated(manager: WorkspaceManager, everything: Path) -> WorkspaceManager:
    """A base that holds the project ``churn`` with something of every kind."""
    manager.import_workspace(everything)
    return manager
