"""A project whose schedules name functions of a module in the working directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlops import PipelineScheduler
from mlops.workspace import WorkspaceManager


def scheduler_of(base: Path, work: str, monkeypatch: pytest.MonkeyPatch) -> PipelineScheduler:
    """Write the module ``scheduled_work``, make it importable and return the project's scheduler."""
    Path("scheduled_work.py").write_text(work)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "scheduled_work", raising=False)
    WorkspaceManager(base).create_workspace("churn")
    return PipelineScheduler("churn", base_path=base)
