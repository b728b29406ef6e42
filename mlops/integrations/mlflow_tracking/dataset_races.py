"""Several threads or processes recording one dataset at once: MLflow's store refuses all but the first."""

from __future__ import annotations

import functools
import importlib
from typing import Any, Final

# Each attempt finds the dataset stored by the one that was faster, so the second always ends it; another race
# for a second dataset of the same call may need a third.
_ATTEMPTS: Final = 5


def install() -> None:
    """Make ``SqlAlchemyStore.log_inputs`` look again when another writer stored the dataset meanwhile.

    The store looks for the dataset, inserts it, and fails on its unique key if another was faster.
    Nothing of the call is stored then, so it can be repeated.
    """
    from mlflow.exceptions import MlflowException

    store = importlib.import_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore
    original = store.log_inputs

    @functools.wraps(original)
    def log_inputs(self: Any, *arguments: Any, **named: Any) -> Any:
        for _ in range(_ATTEMPTS - 1):
            try:
                return original(self, *arguments, **named)
            except MlflowException as error:
                text = str(error).lower()
                if "unique constraint" not in text or "dataset" not in text:
                    raise
        return original(self, *arguments, **named)

    store.log_inputs = log_inputs
