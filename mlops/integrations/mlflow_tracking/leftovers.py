"""What a project's MLflow store keeps although nothing shows it: deleted runs, and artifacts of no run.

MLflow only marks what is deleted, so that it can be restored; ``mlflow gc`` removes it. Only the workspace's
own store is looked into, without importing MLflow; what a server keeps costs the workspace nothing.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.errors import IntegrationUnavailableError
from mlops.files import measure
from mlops.integrations.mlflow_tracking import queries, store

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

# What MLflow calls runs and logged models; directories of other names are the user's own.
_RUN: Final = re.compile(r"[0-9a-f]{32}")
_MODEL: Final = re.compile(r"m-[0-9a-f]{32}")
_MODELS: Final = "models"
_ACTIVE: Final = "active"
_STAGES: Final = (
    "SELECT run_uuid, lifecycle_stage FROM runs UNION ALL SELECT model_id, lifecycle_stage FROM logged_models"
)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What could go.

    Args:
        deleted: The deleted runs and models.
        deleted_paths: Their directories, as far as they have any.
        orphaned: The directories, with files in them, of runs and models that the store does not know.
    """

    deleted: tuple[str, ...] = ()
    deleted_paths: tuple[Path, ...] = ()
    orphaned: tuple[Path, ...] = ()


def leftovers(tracking: MLflowTracking, *, operation: str) -> Leftovers:
    """Return what could go of a project's own store; nothing is changed.

    Args:
        tracking: The project's adapter.
        operation: The calling method, for errors.

    Raises:
        IntegrationUnavailableError: The store is of a version of MLflow that is not known here.
    """
    # The directories first: a run that starts meanwhile is known before it has one.
    present = _directories(tracking.artifact_root)
    rows = _select(tracking, _STAGES, operation=operation)
    if rows is None:
        return Leftovers()
    stages = dict(rows)
    deleted = tuple(sorted(name for name, stage in stages.items() if stage != _ACTIVE))
    return Leftovers(
        deleted,
        tuple(path for path in present if stages.get(path.name, _ACTIVE) != _ACTIVE),
        # Of a run that it removes, MLflow leaves the empty directory.
        tuple(path for path in present if path.name not in stages and measure(path).files),
    )


def tag_values(tracking: MLflowTracking, *prefixes: str, operation: str) -> set[str] | None:
    """Return the values of all tags with one of these prefixes, of deleted runs too; None on a server.

    Args:
        tracking: The project's adapter.
        *prefixes: What the tags' names start with.
        operation: The calling method, for errors.

    Raises:
        IntegrationUnavailableError: The store is of a version of MLflow that is not known here.
    """
    if not tracking.embedded:
        return None
    rows = _select(tracking, "SELECT key, value FROM tags", operation=operation) or []
    return {value for key, value in rows if key.startswith(prefixes)}


def gc_command(tracking: MLflowTracking) -> str:
    """Return the command that removes what is deleted for good."""
    uri = shlex.quote(tracking.uri)
    return f"mlflow gc --backend-store-uri {uri} --tracking-uri {uri}"


def _select(tracking: MLflowTracking, query: str, *, operation: str) -> list[tuple[str, str]] | None:
    """Return rows of the workspace's own store; None where there is none."""
    if not tracking.embedded or not tracking.database.exists():
        return None
    tracking.flush_store(operation)
    try:
        if queries.known_schema(tracking.database):
            with store.reading(tracking.database) as connection:
                return [(str(first), str(second)) for first, second in connection.execute(query)]
    except sqlite3.Error as error:
        raise store.unreadable(
            tracking.database, error, operation=operation, workspace=tracking.project
        ) from error
    raise IntegrationUnavailableError(
        f"{tracking.database} has tables of a version of MLflow that is not known here",
        tool=store.TOOL,
        operation=operation,
        workspace=tracking.project,
        hint="upgrade with: pip install -U mlops-workspaces",
    )


def _directories(root: Path) -> list[Path]:
    """Return the directories of runs and logged models: <root>/<experiment>/<run>, .../models/<model>."""
    return sorted(
        [
            *_named(root.glob("*/*"), _RUN),
            *_named(root.glob(f"*/{_MODELS}/*"), _MODEL),
        ]
    )


def _named(paths: Iterable[Path], name: re.Pattern[str]) -> list[Path]:
    return [path for path in paths if name.fullmatch(path.name) and path.is_dir()]
