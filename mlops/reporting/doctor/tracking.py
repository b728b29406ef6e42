"""What is wrong with a project's MLflow store: its database, the places it names, the files behind them."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mlops.errors import IntegrationUnavailableError
from mlops.integrations.mlflow_tracking import MLflowTracking, queries, store
from mlops.integrations.mlflow_tracking.versions import local_path, model_id_in
from mlops.reporting.doctor.finding import SHOWN, Check, Finding
from mlops.reporting.doctor.subject import Subject
from mlops.workspace.model import METADATA_FILE
from mlops.workspace.tools import ToolState

# SQLite reads about 1 GB/s from memory: a tenth of a second at most for a look that is not deep.
_QUICKLY_CHECKED_BYTES: Final = 100_000_000
_REPORTED_ROWS: Final = 10
_DOWN_REVISION: Final = re.compile(r"^down_revision\s*=\s*[\"'](\w+)[\"']", re.MULTILINE)
# The states that MLflow gives a logged model whose files are complete (service.proto, LoggedModelStatus).
_READY: Final = 2
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the store.

    Raises:
        IntegrationUnavailableError: It cannot be read, or its server does not answer.
    """
    tracking = MLflowTracking(subject.context)
    if not tracking.embedded:
        health = tracking.health()
        if health.state is ToolState.UNAVAILABLE:
            raise IntegrationUnavailableError(
                f"{health.error}", hint=f"make {health.location} reachable, then look again"
            )
        return
    yield from _interrupted_restore(subject)
    path = tracking.database
    if not path.exists():
        return
    try:
        yield from _database(subject, tracking)
    except sqlite3.DatabaseError as error:
        raise store.unreadable(path, error, operation="doctor", workspace=subject.project) from error


def _database(subject: Subject, tracking: MLflowTracking) -> Iterator[Finding]:
    with store.reading(tracking.database) as connection:
        if (damage := _damage(connection, tracking.database, deep=subject.deep)) is not None:
            yield subject.finding(
                Check.DATABASE,
                f"The database {tracking.database} is damaged: {damage}",
                "restore the project from an export, or save what is left with: sqlite3 mlflow.db .recover",
                path=str(tracking.database),
            )
            return
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if revision not in queries.KNOWN_SCHEMAS:
            yield from _schema(subject, tracking, str(revision))
            return
        yield from _locations(subject, connection)
        yield from _models(subject, connection)
        yield from _orphans(subject, connection)


def _damage(connection: sqlite3.Connection, path: Path, *, deep: bool) -> str | None:
    if not deep and path.stat().st_size > _QUICKLY_CHECKED_BYTES:
        return None
    try:
        check = "integrity_check" if deep else "quick_check"
        states = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_REPORTED_ROWS})")]
        if states != ["ok"]:
            return "; ".join(states)
        broken = connection.execute("PRAGMA foreign_key_check").fetchmany(_REPORTED_ROWS) if deep else []
    except sqlite3.DatabaseError as error:
        return str(error)
    if broken:
        tables = sorted({f"{child} without its {parent}" for child, _, parent, _ in broken})
        return f"rows refer to others that are gone: {', '.join(tables)}"
    return None


def _schema(subject: Subject, tracking: MLflowTracking, revision: str) -> Iterator[Finding]:
    known = _migrations()
    if revision in known - _outdated():
        # The installed MLflow's own; what this library does not read itself is read through it.
        return
    older = revision in known
    yield subject.finding(
        Check.SCHEMA,
        f"The database {tracking.database} has the MLflow schema {revision}, which is "
        + ("of an older MLflow than the installed one" if older else "not one of the installed MLflow"),
        f"back the file up, then run: mlflow db upgrade '{tracking.uri}'"
        if older
        else "install the MLflow that wrote it, or a newer one",
        path=str(tracking.database),
        schema=revision,
    )


@cache
def _migrations() -> frozenset[str]:
    return frozenset(path.name.partition("_")[0] for path in _migration_files())


@cache
def _outdated() -> frozenset[str]:
    """Return the schemas that a migration of the installed MLflow starts from."""
    texts = (path.read_text(encoding="utf-8") for path in _migration_files())
    return frozenset(found[1] for text in texts if (found := _DOWN_REVISION.search(text)))


def _migration_files() -> list[Path]:
    found = find_spec("mlflow")
    places = [] if found is None else list(found.submodule_search_locations or ())
    return [
        file for place in places for file in Path(place).glob("store/db_migrations/versions/[0-9a-f]*_*.py")
    ]


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
    foreign: dict[str, int] = {}
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
                foreign[str(location)] = foreign.get(str(location), 0) + 1
    if foreign:
        base = workspace.root_path.parent.resolve()
        inside = any(Path(place).is_relative_to(base) for place in foreign)
        first = min(foreign)
        more = f" and {len(foreign) - 1} more places" if len(foreign) > 1 else ""
        yield subject.finding(
            Check.LOCATION,
            f"The database {path} names {first}{more}, outside of the project's artifacts",
            "what lies there is neither exported nor removed with the project: log it again inside of a run",
            problem=inside,
            path=str(path),
            places=sorted(foreign)[:SHOWN],
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
    if lost:
        uris = sorted(lost)
        more = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
        yield subject.finding(
            Check.MODEL_FILES,
            f"The files of {uris[0]}{more} are gone",
            "restore them from an export of the project, or delete the versions in MLflow",
            models=uris[:SHOWN],
        )


def _is_gone(location: str) -> bool:
    path = local_path(location) if location else None
    # MLflow makes the directory with the first file.
    return path is not None and path.is_absolute() and not (path.is_dir() and any(path.iterdir()))


def _orphans(subject: Subject, connection: sqlite3.Connection) -> Iterator[Finding]:
    """Yield artifacts of runs that the database does not have."""
    runs = {str(run) for (run,) in connection.execute("SELECT run_uuid FROM runs")}
    root = store.artifact_root(subject.workspace)
    found = [
        path
        for path in sorted(root.glob("*/*"))
        if _RUN_ID.fullmatch(path.name) and path.name not in runs and path.is_dir()
    ]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield subject.finding(
            Check.ARTIFACTS,
            f"{found[0]}{more} holds artifacts of a run that the database does not have",
            "if nobody needs them, remove them; a run that was deleted for good leaves none",
            problem=False,
            paths=[str(path) for path in found[:SHOWN]],
        )


def _interrupted_restore(subject: Subject) -> Iterator[Finding]:
    workspace = subject.workspace
    previous, database = store.previous_store(workspace), store.database_path(workspace)
    if not previous.exists():
        return

    def recover() -> str | None:
        with workspace.lock(store.TOOL, timeout=subject.timeout, operation="doctor"):
            if not previous.exists():
                return None
            if not database.exists():
                store.recover(workspace)
                return "the former store is back"
            shutil.rmtree(previous)
            return "the new store was complete, so the former one was removed"

    yield subject.finding(
        Check.RESTORE,
        f"A restore of the MLflow store was cut off; the former store is in {previous}",
        "opening the project, or mlops doctor --fix, finishes it",
        repair=recover,
        path=str(previous),
    )
