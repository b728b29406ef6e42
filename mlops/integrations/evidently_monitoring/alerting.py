"""What checks found over time: their history, their alerts, and the thresholds they are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import names
from mlops.integrations.evidently_monitoring import alert_log, history, project, thresholds
from mlops.integrations.evidently_monitoring.alert_log import AlertRecord
from mlops.integrations.evidently_monitoring.thresholds import Thresholds
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    import pandas as pd


class AlertVerbs:
    """The verbs of ``EvidentlyMonitoring`` that read and keep what checks found."""

    _workspace: ProjectWorkspace
    _lock_timeout: float

    def history(self, model: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the checks made, newest first, as ``MonitoringResult.to_dict`` gave them.

        Args:
            model: Only this model's; None for all.
            limit: At most so many; None for all.
        """
        name, _ = self._model(model, "history")
        records = history.read(self._history_file)[::-1]
        return [record for record in records if name is None or record["model"] == name][:limit]

    def history_frame(self, model: str | None = None, limit: int | None = None) -> pd.DataFrame:
        """Return the checks made as a data frame, the oldest first, one row under the time of each.

        Its columns are those of ``MonitoringResult``: the model and its version, the rows, the share and the
        number of drifted columns, ``performance.<metric>``, ``latency_ms.mean`` and ``latency_ms.p95``; and
        ``alerts``, the number of alerts that the check found.

        Args:
            model: Only this model's; None for all.
            limit: At most so many, the newest; None for all.
        """
        return history.to_frame(self.history(model, limit)[::-1])

    def save_html(self, snapshot_id: str, path: str | Path) -> Path:
        """Write Evidently's report of an earlier check as one HTML file.

        Args:
            snapshot_id: The check, as in ``history()``.
            path: The file to write.

        Returns:
            The file's absolute path.

        Raises:
            DataNotFoundError: There is no such snapshot.
        """
        from mlops.integrations.evidently_monitoring.snapshots import save_html

        directory = project.project_path(self._workspace) / project.SNAPSHOTS
        return save_html(
            directory / f"{Path(snapshot_id).name}.json",
            Path(path),
            snapshot_id=snapshot_id,
            workspace=self._workspace.project_name,
        )

    def alerts(
        self, model: str | None = None, limit: int | None = None, *, open_only: bool = False
    ) -> list[AlertRecord]:
        """Return the alerts raised, newest first.

        Args:
            model: Only this model's; None for all.
            limit: At most so many; None for all.
            open_only: Only those that go on and that nobody acknowledged.
        """
        name, _ = self._model(model, "alerts")
        found = [
            record
            for record in reversed(alert_log.read(self._alerts_file))
            if name in (None, record.model) and (not open_only or record.status == "open")
        ]
        return found[:limit]

    def ack(self, alert_id: str, *, by: str | None = None, note: str | None = None) -> AlertRecord:
        """Note that somebody knows of an alert.

        It stays acknowledged as long as checks find it; what they find after one found it clear is a new
        alert.

        Args:
            alert_id: Its id, or the beginning of it.
            by: Who takes note.
            note: What they have to say.

        Returns:
            The alert as it is now.

        Raises:
            DataNotFoundError: There is no such alert, or several ids begin like this.
        """
        return alert_log.acknowledge(
            self._workspace, self._alerts_file, alert_id, by=by, note=note, lock_timeout=self._lock_timeout
        )

    def thresholds(self, model: str | None = None, given: Mapping[str, Any] | None = None) -> Thresholds:
        """Return the thresholds in force: those of the call, then the model's, then the project's.

        The last two come from the section ``monitoring`` of ``workspace.yaml``, as it is at the moment.

        Args:
            model: The model's short name, or None.
            given: What a call would be given as ``thresholds``.

        Raises:
            ConfigError: A threshold is unknown or makes no sense.
        """
        name, _ = self._model(model, "thresholds")
        return thresholds.in_force(
            thresholds.section(self._workspace, operation="thresholds"),
            name,
            given,
            operation="thresholds",
            workspace=self._workspace.project_name,
        )

    @property
    def _history_file(self) -> Path:
        return self._workspace.monitoring_path / history.HISTORY_FILE

    @property
    def _alerts_file(self) -> Path:
        return self._workspace.monitoring_path / alert_log.ALERTS_FILE

    def _model(self, model: str | None, operation: str) -> tuple[str | None, str | None]:
        """Split ``name``, ``name:version`` or ``<project>.name:version``."""
        if model is None:
            return None, None
        name, _, version = str(model).partition(":")
        own = self._workspace.project_name
        name = names.validate_model_name(name.removeprefix(f"{own}."), project=own, operation=operation)
        if not version:
            return name, None
        return name, names.validate_version(version, project=own, operation=operation)
