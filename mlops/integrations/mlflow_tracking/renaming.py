"""A store under a project's present name: its experiment, its registered models and what its tags say."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from mlops.integrations.mlflow_tracking import store

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking
    from mlops.workspace.model import ProjectWorkspace

# Every table that keeps the project's name as a tag, with its columns for key and value.
_TAG_TABLES: Final = (
    ("tags", "key", "value"),
    ("logged_model_tags", "tag_key", "tag_value"),
    ("registered_model_tags", "key", "value"),
    ("model_version_tags", "key", "value"),
)
# As many models as MLflow returns on one page.
_PAGE: Final = 1000


def adopt(tracking: MLflowTracking, former: ProjectWorkspace, *, moved: bool) -> None:
    """Give the store the present workspace's path and names; see ``MLflowTracking.adopt``."""
    if tracking.embedded:
        if tracking.database.exists():
            _in_database(tracking, former)
    elif moved:
        _on_server(tracking, former)


def _in_database(tracking: MLflowTracking, former: ProjectWorkspace) -> None:
    workspace, timeout = tracking.context.workspace, tracking.context.settings.lock_timeout
    path, operation = tracking.database, "adopt"
    store.adopt(path, workspace, operation=operation, timeout=timeout)
    try:
        with (
            workspace.lock(store.TOOL, timeout=timeout, operation=operation),
            contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20.0)) as connection,
        ):
            # MLflow declares its foreign keys so that versions, tags and aliases follow a model's name.
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            _rename(connection, former, project=workspace.project_name, prefix=tracking.model_prefix)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise store.unreadable(path, error, operation=operation, workspace=workspace.project_name) from error
    tracking.forget()


def _rename(connection: sqlite3.Connection, former: ProjectWorkspace, *, project: str, prefix: str) -> None:
    if former.bentoml_tag_prefix != prefix:
        # A model that has the new name already, registered by hand, keeps it.
        connection.execute(
            "UPDATE registered_models SET name = :new || substr(name, length(:old) + 1)"
            " WHERE substr(name, 1, length(:old)) = :old"
            # The new prefix may start with the old one.
            " AND NOT (substr(:new, 1, length(:old)) = :old AND substr(name, 1, length(:new)) = :new)"
            " AND NOT EXISTS ("
            "  SELECT 1 FROM registered_models AS other WHERE other.workspace = registered_models.workspace"
            "  AND other.name = :new || substr(registered_models.name, length(:old) + 1))",
            {"old": former.bentoml_tag_prefix, "new": prefix},
        )
    if former.project_name != project:
        for table, key, value in _TAG_TABLES:
            # Names from a constant above; the values are bound.
            connection.execute(
                f"UPDATE {table} SET {value} = ? WHERE {key} = ? AND {value} = ?",  # noqa: S608
                (project, store.PROJECT_TAG, former.project_name),
            )


def _on_server(tracking: MLflowTracking, former: ProjectWorkspace) -> None:
    """Rename the experiment and the models one by one; what is renamed already is not found again."""
    operation, project = "adopt", tracking.project
    client = tracking.client(operation=operation)
    old, new = former.bentoml_tag_prefix or "", tracking.model_prefix
    with tracking.translated(operation):
        named_by_hand = tracking.experiment_name != project
        found = client.get_experiment_by_name(
            tracking.experiment_name if named_by_hand else former.project_name
        )
        if found is not None and found.tags.get(store.WORKSPACE_TAG) == former.id:
            client.set_experiment_tag(found.experiment_id, store.PROJECT_TAG, project)
            if not named_by_hand:
                client.rename_experiment(found.experiment_id, project)
        if old == new:
            return
        names: list[str] = []
        token = None
        while True:
            page = client.search_registered_models(
                filter_string=f"name LIKE '{old}%'", max_results=_PAGE, page_token=token
            )
            # `_` in a LIKE pattern matches any character.
            names.extend(model.name for model in page if model.name.startswith(old))
            token = page.token
            if not token:
                break
        for name in names:
            client.set_registered_model_tag(name, store.PROJECT_TAG, project)
            client.rename_registered_model(name, f"{new}{name.removeprefix(old)}")
