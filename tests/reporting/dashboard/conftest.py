from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.reporting.dashboard.server import DashboardServer


@pytest.fixture(scope="module")
def dashboard(demo: Path) -> Iterator[DashboardServer]:
    """The pages over the demo base, as anybody on this machine reads them."""
    with DashboardServer(WorkspaceManager(demo)) as server:
        yield server
