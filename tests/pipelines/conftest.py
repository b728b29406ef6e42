from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops import MLOpsClient


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient("churn", base_path=base) as opened:
        yield opened
