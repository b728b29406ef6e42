from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOREIGN = ("MLOPS_", "MLFLOW_", "_MLFLOW_", "DVC_", "BENTOML_", "EVIDENTLY_", "AWS_")
MLOPS = [sys.executable, "-c", "from mlops.cli import main; main()"]
Result = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def inherited(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a user's shell has: this Python on PATH, a home, and nothing that names a store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "XDG_CACHE_HOME": str(shared_cache),
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }


@pytest.fixture(scope="session")
def shell(inherited: dict[str, str]) -> Callable[..., Result]:
    """Run a program as a user would."""

    def run(*command: str, cwd: Path, check: bool = True, **extra: str) -> Result:
        done = subprocess.run(
            command, cwd=cwd, env=inherited | extra, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def mlops(shell: Callable[..., Result]) -> Callable[..., Result]:
    """Run ``mlops --base-path <base> ...``."""

    def run(base: Path, *arguments: str, cwd: Path, check: bool = True, **extra: str) -> Result:
        return shell(*MLOPS, "--base-path", str(base), *arguments, cwd=cwd, check=check, **extra)

    return run
