"""Reading every project of a base: only what changed since the last time, and none in the way of another."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlops
from mlops import names, settings
from mlops.errors import MLOpsError, WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.files import STATE_DIRECTORY
from mlops.reporting import codec
from mlops.reporting.facts import ProjectReport, StorageFacts, Trouble
from mlops.reporting.memory import FRESH_NANOSECONDS, MOST_PATHS, SEPARATOR, Memory, Remembered
from mlops.reporting.reading import days, storage
from mlops.reporting.reading.machine import Machine, look
from mlops.workspace import base
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.reporting.helpers import Helpers
    from mlops.reporting.reading.project import ProjectReading
    from mlops.reporting.servers import Servers
    from mlops.workspace.manager import WorkspaceManager

Progress = Callable[[int, int], object]


def collect(
    manager: WorkspaceManager,
    helpers: Helpers,
    *,
    projects: Sequence[str] | None,
    cache: bool,
    progress: Progress | None,
    now: datetime,
) -> tuple[ProjectReport, ...]:
    """Return what there is to say of each project, by name.

    Args:
        manager: The base.
        helpers: For reading many projects.
        projects: Only these; None for all.
        cache: Whether to use, and keep, what did not change.
        progress: Called with the number of projects that are done, and of all.
        now: The moment the report is about, aware.

    Raises:
        WorkspaceNotFoundError: There is no project of a name given.
        ConfigError: The base's pyproject.toml cannot be read.
    """
    roots = {root.name: root for root in base.project_directories(manager.base_path)}
    if projects is not None:
        for name in projects:
            if name not in roots:
                manager.get_workspace(name)
        roots = {name: roots[name] for name in sorted(set(projects))}
    memory = Memory(manager.base_path) if cache else None
    fresh: list[Remembered] = []
    found: dict[str, ProjectReport] = {}
    table = settings.tool_table(manager.location.root)[0]
    collection = Collection(manager.base_path, table, now=now)
    key = collection.key()
    known = memory.recall(key, None if projects is None else list(roots)) if memory else {}
    for read, kept in collection.read(roots, known, helpers):
        found[read.project_name] = read
        if kept is not None:
            fresh.append(kept)
        if progress is not None:
            progress(len(found), len(roots))
    if memory and (fresh or known.keys() - roots.keys()):
        memory.keep(key, fresh, known=None if projects is not None else roots)
    return tuple(found[name] for name in sorted(found))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A project that is being read.

    Args:
        root: Its directory.
        since: When the walk began, in nanoseconds since the epoch.
        walk: What the walk found.
        entries: Its section ``schedules``.
        mounted: A directory outside that it depends on, or None.
        lasting: Whether the walk tells of everything that the facts depend on.
    """

    root: Path
    since: int
    walk: storage.Walk
    entries: Sequence[Mapping[str, Any]] = ()
    mounted: Path | None = None
    lasting: bool = True


class Collection:
    """One pass over the projects of a base.

    Args:
        base_path: The base.
        table: The table of its pyproject.toml.
        now: The moment the report is about, aware.
        machine: Its tools; looked for if they are not given.
    """

    def __init__(
        self, base_path: Path, table: Mapping[str, Any], *, now: datetime, machine: Machine | None = None
    ) -> None:
        self.base_path = base_path
        self.table = {k: v for k, v in table.items() if k in settings.NAMES}
        self.now = now
        self._first = days.first_day(now)
        self.machine = machine or look()
        # The settings of every project that has none of its own.
        self._common: settings.ProjectSettings | None = None
        # Without this directory no project has a server.
        self._serving = (base_path / STATE_DIRECTORY / "serving").is_dir()

    def key(self) -> str:
        """Return what the facts of all projects depend on beside their files."""
        variables = {n: v for n, v in os.environ.items() if n.startswith(settings.ENV_PREFIX)}
        parts = [mlops.__version__, codec.shape(ProjectReport), dict(self.machine.versions), variables]
        text = json.dumps([*parts, self.table], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def read(
        self, roots: Mapping[str, Path], known: Mapping[str, Remembered], helpers: Helpers
    ) -> Iterator[tuple[ProjectReport, Remembered | None]]:
        """Yield each project, and what is to be kept of it; one that was removed meanwhile is left out."""
        changed: list[Path] = []
        for name, root in roots.items():
            kept = known.get(name)
            recalled = self._recalled(kept, root) if kept is not None and _holds(kept, root) else None
            if recalled is None:
                changed.append(root)
            else:
                yield recalled, None
        if helpers.worth(len(changed)):
            left: list[str] = []
            for kept, lasting in helpers.read(self, [root.name for root in changed], left):
                recalled = self._recalled(kept, self.base_path / kept.name)
                if recalled is not None:
                    yield recalled, kept if lasting else None
            changed = [roots[name] for name in left]
        yield from self._read(changed)

    def examine(self, root: Path) -> tuple[Remembered, bool] | None:
        """Return what is found in one project, and whether it can be kept; None if that takes a server.

        Args:
            root: The project's directory.

        Raises:
            WorkspaceNotFoundError: It was removed.
        """
        begun, reading = self._begin(root)
        if isinstance(reading, ProjectReport):
            return _remembered(begun, reading), _is_lasting(begun)
        if not reading.read_tracking():
            return None
        return _remembered(begun, reading.report(begun.walk)), _is_lasting(begun)

    def _read(self, roots: Iterable[Path]) -> Iterator[tuple[ProjectReport, Remembered | None]]:
        asked: dict[str, _Begun] = {}
        servers: Servers | None = None
        for root in roots:
            try:
                begun, reading = self._begin(root)
            except (WorkspaceNotFoundError, FileNotFoundError):
                continue
            if isinstance(reading, ProjectReport):
                yield self._finish(begun, reading)
            elif reading.read_tracking():
                yield self._finish(begun, reading.report(begun.walk))
            else:
                if servers is None:
                    from mlops.reporting.servers import Servers

                    servers = Servers()
                asked[root.name] = replace(begun, lasting=False)
                servers.ask(reading)
        for reading, answered in servers.answers() if servers else ():
            begun = asked[reading.context.workspace.project_name]
            if not answered:
                # The thread that still waits has the other one.
                reading = self._reading(reading.context)
                reading.give_up("its tracking server did not answer in time")
            yield self._finish(begun, reading.report(begun.walk))

    def _begin(self, root: Path) -> tuple[_Begun, ProjectReading | ProjectReport]:
        """Walk through a project and open it; return what reads it, or the report if nothing can."""
        begun = _Begun(root, time.time_ns(), storage.walk(root))
        try:
            workspace = ProjectWorkspace.load_metadata(root, project_name=root.name)
        except WorkspaceCorruptError as error:
            return begun, _unread(begun, error, state="corrupt", trouble="corrupt")
        try:
            context = ToolContext(workspace, self._settings(workspace))
        except MLOpsError as error:
            begun = replace(begun, lasting=False, entries=workspace.schedules)
            return begun, _unread(begun, error, state="ready", trouble="unavailable")
        mounted = _mounted(context)
        lasting = (
            context.settings.mlflow_tracking_uri is None
            and not self.machine.others
            and (mounted is None or mounted.is_dir())
            # What the environment has in such a place today it may not have tomorrow.
            and "${" not in f"{workspace.dvc_remote_path}{workspace.bentoml_tag_prefix}{self.table}"
        )
        begun = replace(begun, entries=workspace.schedules, mounted=mounted, lasting=lasting)
        return begun, self._reading(context)

    def _reading(self, context: ToolContext) -> ProjectReading:
        from mlops.reporting.reading.project import ProjectReading

        return ProjectReading(context, self.machine, first=self._first)

    def _settings(self, workspace: ProjectWorkspace) -> settings.ProjectSettings:
        """Return the settings in force; the table of pyproject.toml was read once for all projects."""
        own = {name: getattr(workspace, name, None) for name in settings.NAMES}
        if own["bentoml_tag_prefix"] == names.default_tag_prefix(workspace.project_name):
            own["bentoml_tag_prefix"] = None
        stored = {name: value for name, value in own.items() if value is not None}
        if stored or self._common is None:
            found = settings.resolve(workspace={**self.table, **stored}).settings
            if stored:
                return found
            self._common = found
        return self._common

    def _finish(self, begun: _Begun, report: ProjectReport) -> tuple[ProjectReport, Remembered | None]:
        kept = _remembered(begun, report) if _is_lasting(begun) else None
        return self._as_of_now(report, begun.entries, begun.root), kept

    def _recalled(self, kept: Remembered, root: Path) -> ProjectReport | None:
        """Return what was kept of a project as of now, or None if it is damaged."""
        try:
            report, entries = codec.loads(kept.report, ProjectReport), json.loads(kept.schedules)
        except (ValueError, TypeError, LookupError, AttributeError):
            return None
        return self._as_of_now(report, entries, root)

    def _as_of_now(
        self, report: ProjectReport, entries: Sequence[Mapping[str, Any]], root: Path
    ) -> ProjectReport:
        """Add what depends on the moment: the days that count, the schedules and the servers."""
        found = days.as_of(report, self.now)
        if entries:
            from mlops.reporting.reading.schedules import read

            schedules, troubles = read(ProjectWorkspace(root.name, root), entries, now=self.now)
            found = replace(found, schedules=schedules, troubles=(*found.troubles, *troubles))
        if self._serving and found.models.deployments:
            from mlops.reporting.reading.serving import with_urls

            found = replace(found, models=with_urls(found.models, ProjectWorkspace(root.name, root)))
        return found


def _is_lasting(begun: _Begun) -> bool:
    """Say whether what was read holds as long as the walk finds the same."""
    walk = begun.walk
    fresh = walk.changed_at > begun.since - FRESH_NANOSECONDS
    return begun.lasting and not (fresh or walk.linked) and len(walk.paths) <= MOST_PATHS


def _remembered(begun: _Begun, report: ProjectReport) -> Remembered:
    return Remembered(
        report.project_name,
        begun.walk.state,
        os.fsencode(SEPARATOR.join(begun.walk.paths)),
        None if begun.mounted is None else str(begun.mounted),
        codec.dumps(report),
        json.dumps([*begun.entries], default=str),
    )


def _holds(kept: Remembered, root: Path) -> bool:
    """Say whether nothing has changed in a workspace."""
    if kept.mounted is not None and not Path(kept.mounted).is_dir():
        return False
    paths = os.fsdecode(kept.paths).split(SEPARATOR) if kept.paths else []
    return storage.state_of(root, paths) == kept.state


def _mounted(context: ToolContext) -> Path | None:
    if context.settings.dvc_remote_path is None:
        return None
    from mlops.reporting.reading.data import mounted

    try:
        return mounted(context)
    except MLOpsError:
        # What is wrong with the setting is told where the data is read.
        return None


def _unread(begun: _Begun, error: MLOpsError, *, state: str, trouble: str) -> ProjectReport:
    facts = StorageFacts(begun.walk.total_bytes, begun.walk.by_directory)
    message = " ".join(str(error).split())
    return ProjectReport(
        begun.root.name, state=state, storage=facts, troubles=(Trouble("", trouble, message),)
    )
