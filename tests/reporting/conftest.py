from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.demo import build_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """A base with the projects of ``tests.reporting.demo``; only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        patch.setenv("DO_NOT_TRACK", "true")
        patch.setenv("BENTOML_DO_NOT_TRACK", "true")
        work = tmp_path_factory.mktemp("demo-cwd")
        patch.chdir(work)
        return build_demo(tmp_path_factory.mktemp("demo") / "base", cache=shared_cache)
