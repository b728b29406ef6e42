"""All that a report says of one project, each part read on its own: trouble with one hides no other."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from mlops.errors import IntegrationNotInstalledError
from mlops.integrations.dvc_data.vault import Vault
from mlops.pipelines import catalogue
from mlops.reporting.facts import DataFacts, ModelsFacts, ProjectReport, StorageFacts, Trouble
from mlops.reporting.reading import checks, data, metric_modes, packaged, tracking
from mlops.reporting.reading.checks import Monitored
from mlops.reporting.reading.machine import KNOWN, Machine
from mlops.reporting.reading.packaged import Packaged
from mlops.reporting.reading.storage import Walk
from mlops.reporting.reading.tracking import Tracked
from mlops.reporting.reading.troubles import CORRUPT, UNREADABLE, said
from mlops.workspace import quota, tools
from mlops.workspace.tools import ToolContext, ToolState


class ProjectReading:
    """One project while it is read.

    Args:
        context: The project.
        machine: The tools of this machine.
        first: The earliest day that is counted by day.
    """

    def __init__(self, context: ToolContext, machine: Machine, *, first: date) -> None:
        self.context = context
        self._machine = machine
        self._first = first
        self._states = dict.fromkeys(KNOWN, ToolState.READY)
        self._troubles: list[Trouble] = []
        self._tracked: Tracked | None = None
        self._modes: Mapping[str, str] = {}
        with self._section("metadata"):
            workspace = context.workspace
            self._modes = metric_modes.overrides_of(workspace.metadata, project=workspace.project_name)

    def read_tracking(self) -> bool:
        """Read the tracking store if it is a file whose tables are known; say whether that was possible."""
        path = tracking.file_of(self.context)
        if path is None:
            return False
        known = True
        with self._tool("mlflow"):
            if path.exists():
                known = self._read_file(path)
            else:
                self._tracked = Tracked()
                self._states["mlflow"] = ToolState.NOT_CREATED
        return known

    def ask_server(self) -> None:
        """Read the tracking store through MLflow's API; this can take long."""
        with self._tool("mlflow"):
            self._tracked = tracking.read_server(self.context, modes=self._modes, first=self._first)

    def give_up(self, reason: str) -> None:
        """Note that the tracking store does not answer.

        Args:
            reason: Why.
        """
        self._note("mlflow", ToolState.UNAVAILABLE, reason)

    def report(self, walk: Walk) -> ProjectReport:
        """Read the rest, and return all of it; schedules and servers are left to the moment.

        Args:
            walk: What a walk through the workspace found.
        """
        workspace = self.context.workspace
        facts, packed, monitored = DataFacts(), Packaged(), Monitored()
        pipelines: tuple[str, ...] = ()
        for tool in ("dvc", "bentoml", "evidently"):
            self._states[tool] = ToolState.NOT_CREATED
        with self._tool("dvc"):
            remote = data.remote_of(self.context)
            facts = DataFacts(remote=remote.public)
            if "dvc" in walk.filled:
                vault = Vault(self.context)
                facts = data.read(vault, remote, first=self._first)
                self._states["dvc"] = data.state(vault, remote)
        if "models" in walk.filled:
            with self._tool("bentoml"):
                self._states["bentoml"] = packaged.state(self.context)
                packed = packaged.read(self.context, self._tracked)
        if "monitoring" in walk.filled:
            with self._tool("evidently"):
                self._states["evidently"] = checks.state(self.context)
            with self._tool("evidently"):
                monitored = checks.read(self.context, first=self._first)
        if catalogue.DIRECTORY in walk.filled:
            with self._section("pipelines"):
                pipelines = tuple(catalogue.names(workspace))
        for tool, damaged in (("bentoml", packed.damaged), ("evidently", monitored.damaged)):
            self._troubles += [Trouble(tool, CORRUPT, problem) for problem in damaged]
        storage = self._storage(walk)
        tracked = self._tracked or Tracked()
        models = ModelsFacts(
            models=tracked.models,
            versions=len(tracked.versions),
            production=tracked.production,
            bento_models=packed.bento_models,
            deployments=packed.deployments,
            by_day=tracked.by_day,
        )
        return ProjectReport(
            workspace.project_name,
            description=workspace.description,
            tags=workspace.tags,
            created_at=workspace.created_at,
            tools=self._tools(),
            runs=tracked.runs,
            data=facts,
            models=models,
            monitoring=monitored.facts,
            storage=storage,
            pipelines=pipelines,
            gaps=(*tracked.gaps, *packed.gaps, *monitored.gaps),
            troubles=tuple(self._troubles),
        )

    def _read_file(self, path: Path) -> bool:
        try:
            self._tracked = tracking.read_file(path, self.context, modes=self._modes, first=self._first)
        except sqlite3.Error as error:
            # Also what a file ends in that is locked for long, or vanishes.
            self._note("mlflow", ToolState.UNAVAILABLE, f"the database {path} cannot be read: {error}")
            return True
        return self._tracked is not None

    def _storage(self, walk: Walk) -> StorageFacts:
        rows: tuple[quota.QuotaRow, ...] = ()
        with self._section("quota"):
            limits = quota.limits_of(self.context.workspace, operation="collect")
            rows = quota.assess(limits, walk.by_directory, walk.total_bytes) if limits else ()
        return StorageFacts(walk.total_bytes, walk.by_directory, rows)

    def _tools(self) -> dict[str, str]:
        for tool, trouble in self._machine.troubles.items():
            self._note(tool, ToolState(trouble.state), trouble.message)
        for tool in self._machine.others:
            with self._tool(tool):
                health = tools.create(tool, self.context).health()
                self._states[tool] = health.state
                if health.error:
                    self._note(tool, health.state, health.error)
        return {tool: str(state) for tool, state in self._states.items()}

    def _note(self, tool: str, state: ToolState, message: str) -> None:
        self._states[tool] = state
        trouble = Trouble(tool, str(state), message)
        if trouble not in self._troubles:
            self._troubles.append(trouble)

    @contextlib.contextmanager
    def _tool(self, tool: str) -> Iterator[None]:
        """Note what goes wrong in the block as trouble with a tool, and go on behind it."""
        try:
            yield
        except UNREADABLE as error:
            missing = isinstance(error, IntegrationNotInstalledError)
            state = ToolState.NOT_INSTALLED if missing else ToolState.UNAVAILABLE
            self._note(tool, state, said(error))

    @contextlib.contextmanager
    def _section(self, name: str) -> Iterator[None]:
        """Note what goes wrong in the block as trouble with a part of the configuration."""
        try:
            yield
        except UNREADABLE as error:
            self._troubles.append(Trouble(name, CORRUPT, said(error)))
