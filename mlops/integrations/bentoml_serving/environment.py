"""The environment of the child processes: the user's own, without what would point the tools elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# A BentoML home, a tracking server or a metrics directory of another project must not reach a child.
_FOREIGN: Final = ("BENTOML_", "MLFLOW_", "_MLFLOW_", "PROMETHEUS_MULTIPROC_DIR", "MLOPS_")


def child_environment(home: Path, **extra: str) -> dict[str, str]:
    """Return the environment for a child whose BentoML home is ``home``.

    Args:
        home: The child's BentoML home.
        extra: Further variables.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return {
        **kept,
        "BENTOML_HOME": str(home),
        # Exactly "true": BentoML does not understand "1" here.
        "BENTOML_DO_NOT_TRACK": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Loading a packaged model needs no tracking store; this one is never created.
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/unused.db",
        **extra,
    }
