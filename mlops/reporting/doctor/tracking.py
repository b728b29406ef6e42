"""What is wrong with a project's MLflow store: its database and its schema."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mlops.integrations.mlflow_tracking import MLflowTracking, queries, server, store
from mlops.reporting.doctor import artifacts
from mlops.reporting.doctor.finding import Check, Finding
from mlops.reporting.doctor.subject import Subject

# Measured: 225 MB in half a second, so that a look that is not deep takes a quarter of one at most.
_QUICKLY_CHECKED_BYTES: Final = 100_000_000
_REPORTED_ROWS: Final = 10
_DOWN_REVISION: Final = re.compile(r"^down_revision\s*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the store.

    Raises:
        IntegrationUnavailableError: It cannot be read, or its server does not answer.
    """
    tracking = MLflowTracking(subject.context)
    if not tracking.embedded:
        with subject.reaching(server.redact(tracking.uri)):
            server.require_reachable(tracking.uri, operation="doctor", workspace=subject.project)
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
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is None or row[0] not in queries.KNOWN_SCHEMAS:
            yield from _schema(subject, tracking, "" if row is None else str(row[0]))
            return
        yield from artifacts.findings(subject, tracking, connection)


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
