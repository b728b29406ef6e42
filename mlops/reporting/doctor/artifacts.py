"""What is wrong between a project's MLflow database and its files: places, models, runs without one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mlops.integrations.mlflow_tracking import MLflowTracking, store
from mlops.integrations.mlflow_tracking.leftovers import leftovers
from mlops.integrations.mlflow_tracking.versions import local_path, model_id_in
from mlops.reporting.doctor.finding import SHOWN, Check, Finding, named
from mlops.reporting.doctor.subject import Subject
from mlops.workspace.model import METADATA_FILE

# The states of a logged model (mlflow/protos/service_pb2.pyi, LoggedModelStatus).
_PENDING: Final = 1
_READY: Final = 2
# A model may be logged outside of any run; it is not written for so long.
_WRITTEN_SECONDS: Final = 86_400.0


def findings(subject: Subject, tracking: MLflowTracking, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield where the database and the files differ.

    Args:
        subject: The project.
        tracking: Its store.
        connection: Its database, whose schema is known.
    """
    yield from _locations(subject, connection)
    yield from _models(subject, connection)
    yield from _unfinished(subject, tracking, connection)
    yield from _orphans(subject, tracking)


def _locations(subject: Subject, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield what the database says is outside of the workspace's own artifacts."""
    workspace = subject.workspace
    path, present = store.database_path(workspace), store.artifact_root(workspace)
    row = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    former = local_path(str(row[0]).rpartition("/")[0]) if row else None
    if former is not None and former != present:
        # <workspace>/mlflow/artifacts
        of_another = (former.parents[1] / METADATA_FILE).exists() if len(former.parents) > 1 else False

        def repoint() -> str | None:
            done = store.adopt(path, workspace, operation="doctor", timeout=subject.timeout)
            return "it names its own now" if done else None

        yield subject.finding(
            Check.LOCATION,
            f"The database {path} was "
            + ("copied" if of_another else "moved")
            + f" here, and names {former} as "
            "the place of its artifacts",
            "opening the project corrects it, and so does: mlops doctor --fix",
            problem=of_another,
            repair=repoint,
            path=str(path),
            place=str(former),
        )
        return
    foreign: set[str] = set()
    for table, column in store.LOCATION_COLUMNS:
        # Names from a constant; a trace's tags hold other things too.
        only = " AND key = 'mlflow.artifactLocation'" if table == "trace_tags" else ""
        for (value,) in connection.execute(
            f"SELECT {column} FROM {table} WHERE ({column} LIKE 'file:%' OR {column} LIKE '/%'){only}"  # noqa: S608
            f" AND NOT ({column} = :root OR substr({column}, 1, length(:root) + 1) = :root || '/')",
            {"root": present.as_uri()},
        ):
            location = local_path(str(value))
            if location is not None and not location.is_relative_to(present):
                foreign.add(str(location))
    if places := sorted(foreign):
        base = workspace.root_path.parent.resolve()
        inside = any(Path(place).is_relative_to(base) for place in places)
        yield subject.finding(
            Check.LOCATION,
            f"The database {path} names {named(places)}, outside of the project's artifacts",
            "what lies there is neither exported nor removed with the project: log it again inside of a run",
            problem=inside,
            path=str(path),
            places=places[:SHOWN],
        )


def _models(subject: Subject, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield logged models and registered versions whose files are gone."""
    logged = dict(
        connection.execute(
            "SELECT model_id, artifact_location FROM logged_models"
            " WHERE lifecycle_stage = 'active' AND status = ?",
            (_READY,),
        )
    )
    gone = {f"models:/{model}" for model, location in logged.items() if _is_gone(location)}
    lost = set(gone)
    for name, version, source, location in connection.execute(
        "SELECT name, version, source, storage_location FROM model_versions"
        " WHERE current_stage <> 'Deleted_Internal'"
    ):
        if source in gone or location in gone or _is_gone(str(location or source or "")):
            lost.discard(f"models:/{model_id_in(str(source or ''))}")
            lost.add(f"models:/{name}/{version}")
    if uris := sorted(lost):
        yield subject.finding(
            Check.MODEL_FILES,
            f"The files of {named(uris)} are gone",
            "restore them from an export of the project, or delete the versions in MLflow",
            models=uris[:SHOWN],
        )


def _unfinished(
    subject: Subject, tracking: MLflowTracking, connection: sqlite3.Connection
) -> Iterator[Finding]:
    """Yield logged models that are being written by what the database says, while nobody does."""
    models = [
        str(model)
        for (model,) in connection.execute(
            "SELECT l.model_id FROM logged_models l LEFT JOIN runs r ON r.run_uuid = l.source_run_id"
            " WHERE l.lifecycle_stage = 'active' AND l.status = ? AND l.creation_timestamp_ms < ?"
            " AND r.status IS NOT 'RUNNING' ORDER BY l.model_id",
            (_PENDING, (time.time() - _WRITTEN_SECONDS) * 1000),
        )
    ]

    def fail() -> str:
        client = tracking.client(operation="doctor")
        with tracking.translated("doctor"):
            for model in models:
                client.finalize_logged_model(model, "FAILED")
        return "it is FAILED now"

    if models:
        yield subject.finding(
            Check.UNFINISHED_MODEL,
            f"A model was being logged when its process was killed: {named(models)}",
            "mark it FAILED, as MLflow does with one that cannot be stored: mlops doctor --fix",
            repair=fail,
            models=models[:SHOWN],
        )


def _is_gone(location: str) -> bool:
    path = local_path(location) if location else None
    # MLflow makes the directory with the first file.
    return path is not None and path.is_absolute() and not (path.is_dir() and any(path.iterdir()))


def _orphans(subject: Subject, tracking: MLflowTracking) -> Iterator[Finding]:
    """Yield artifacts of runs and logged models that the database does not have."""
    found = leftovers(tracking, operation="doctor").orphaned
    if found:
        yield subject.finding(
            Check.ARTIFACTS,
            f"No run or logged model of the database has the artifacts in {named(found)}",
            "if nobody needs them, remove them; mlops usage --gc says how much they take",
            problem=False,
            paths=[str(path) for path in found[:SHOWN]],
        )
