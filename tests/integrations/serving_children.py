"""A project for serving tests that outlives a test, and processes of their own that work in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mlops.integrations.bentoml_serving import BentoServing
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

CHILD = """
import sys, time
from pathlib import Path
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext
from mlops.integrations.bentoml_serving import BentoServing, bento_model, store
serving = BentoServing(ToolContext(ProjectWorkspace.load_metadata(Path(sys.argv[1])), resolve().settings))
def deploy(version="1", build_bento=True):
    return serving.deploy(Path(sys.argv[2]), model="iris", version=version, build_bento=build_bento)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code that has ``serving``, the adapter of the workspace named first, and ``deploy``."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def project_in(base: Path) -> BentoServing:
    """Make the project ``churn`` in an empty directory."""
    (base / ".mlops").mkdir()
    workspace = ProjectWorkspace("churn", base / "churn")
    workspace.ensure_directories()
    workspace.save_metadata()
    return BentoServing(ToolContext(workspace, resolve(environ={}).settings))
