"""Errors of this library, and of the file system, as MLflow's server answers them.

MLflow's clients and its pages try an answer of 500 again for minutes, so whatever will not get better by
waiting is answered with a status of the four hundreds, and with the next step in the message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from mlops.errors import (
    ConfigError,
    InvalidProjectNameError,
    MLOpsError,
    WorkspaceExistsError,
    WorkspaceLockedError,
    WorkspaceNotFoundError,
)

# The first that fits; the names are those of MLflow's error codes, whose HTTP status follows.
_CODES: Final[tuple[tuple[type[MLOpsError], str], ...]] = (
    (WorkspaceNotFoundError, "RESOURCE_DOES_NOT_EXIST"),  # 404
    (WorkspaceExistsError, "RESOURCE_ALREADY_EXISTS"),  # 400
    (InvalidProjectNameError, "INVALID_PARAMETER_VALUE"),  # 400
    (ConfigError, "INVALID_PARAMETER_VALUE"),  # 400
    (WorkspaceLockedError, "TEMPORARILY_UNAVAILABLE"),  # 503: here waiting helps
    (MLOpsError, "RESOURCE_CONFLICT"),  # 409
)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turn an error of this library's or the file system's into MLflow's, for the server to send.

    Raises:
        MlflowException: With the message, the next step and a status that fits.
    """
    try:
        yield
    except MLOpsError as error:
        from mlflow.exceptions import MlflowException
        from mlflow.protos import databricks_pb2

        name = next(name for kind, name in _CODES if isinstance(error, kind))
        text = str(error) if not error.hint else f"{error} ({error.hint})"
        raise MlflowException(text, error_code=getattr(databricks_pb2, name)) from error
    except OSError as error:
        from mlflow.exceptions import MlflowException
        from mlflow.protos import databricks_pb2

        raise MlflowException(
            f"The project's files cannot be used: {error}", error_code=databricks_pb2.RESOURCE_CONFLICT
        ) from error
