from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "mlflow",
    "dvc",
    "bentoml",
    "evidently",
    "pandas",
    "numpy",
    "pyarrow",
    "sklearn",
    "apscheduler",
    "dask",
}


def imported_by(code: str, *arguments: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level packages it imported."""
    script = (
        f"{code}\nimport sys, json; print(json.dumps(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import mlops",
        "from mlops import *",
        "from mlops import MLOpsClient; MLOpsClient.from_project('churn', base_path=sys.argv[1])",
        "from mlops import MLOpsClient; MLOpsClient.from_project('old', base_path=sys.argv[1])",
        "from mlops import create_client; create_client('churn', repo_root=sys.argv[1])",
        "from mlops import WorkspaceManager as M; M(sys.argv[1]).bootstrap(['a', 'b'])",
        "from mlops import WorkspaceManager as M; M(sys.argv[1]).get_all_workspaces_status()",
        "from mlops import MLOpsClient; c = MLOpsClient('old', base_path=sys.argv[1]); c.get_status()",
        "from mlops import Project; Project('old', projects_dir=sys.argv[1]).get_stats()",
        "from mlops import MLOpsClient; c = MLOpsClient('old', base_path=sys.argv[1]); c.environment()",
        "from mlops.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from mlops.cli import main\ntry: main(['--base-path', sys.argv[1], 'status'])\n"
        "except SystemExit: pass",
    ],
)
def test_no_tool_is_imported_before_it_is_used(base: Path, code: str) -> None:
    from mlops import WorkspaceManager

    WorkspaceManager(base).create_workspace("old")
    assert imported_by(f"import sys\n{code}", str(base)) & HEAVY == set()


def test_help_imports_no_validation_library_either() -> None:
    code = "from mlops.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert "pydantic" not in imported_by(code)


def test_every_public_name_can_be_imported() -> None:
    import mlops

    for name in mlops.__all__:
        assert getattr(mlops, name) is not None
    assert set(mlops.__all__) <= set(dir(mlops))
    with pytest.raises(AttributeError, match="nonsense"):
        mlops.nonsense  # noqa: B018
