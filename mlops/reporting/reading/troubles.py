"""What reading something damaged ends in, and what is said of it."""

from __future__ import annotations

import sqlite3
from typing import Final

from mlops.errors import MLOpsError

# A damaged file shows itself in many ways, none of which may end a report on the others.
UNREADABLE: Final = (
    *(MLOpsError, OSError, sqlite3.Error),
    *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
)
CORRUPT: Final = "corrupt"


def said(error: BaseException) -> str:
    """Return what an error says on one line, with its kind where the message alone says little."""
    from mlops.integrations.mlflow_tracking.server import redact

    text = " ".join(redact(str(error)).split())
    return text if isinstance(error, MLOpsError | OSError) else f"{type(error).__name__}: {text}"
