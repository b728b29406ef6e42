"""The loader of models that are a directory of files, such as an adapter or a checkpoint.

MLflow finds this module by the name stored in the model; it must stay importable under that name. It imports
nothing of MLflow, and no class is pickled, so such a model loads wherever this package is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops.errors import IntegrationError


class ArtifactModel:
    """A directory of files in the place of a model.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Refuse: nothing is known about how these files predict.

        Raises:
            IntegrationError: Always; the hint names the directory to load from.
        """
        raise IntegrationError(
            "This model is a directory of files and cannot predict by itself",
            tool="mlflow",
            operation="predict",
            hint=f"load the files in {self.path} with their own framework, or log an object that predicts",
        )


def _load_pyfunc(path: str) -> ArtifactModel:
    return ArtifactModel(Path(path))
