"""What checks found over time: their history, their alerts, and the thresholds they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlops import names
from mlops.integrations.evidently_monitoring import alert_log, alerts, history, notify, project
from mlops.integrations.evidently_monitoring.alert_log import AlertRecord
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.results import Alert, MonitoringResult
from mlops.integrations.evidently_monitoring.thresholds import Thresholds, in_force, section
from mlops.integrations.evidently_monitoring.watch import EVERY_SECONDS, WINDOW_ROWS, Watch
from mlops.workspace.model import ProjectWorkspace, now

if TYPE_CHECKING:
    import pandas as pd

    from mlops.integrations.evidently_monitoring.adapter import EvidentlyMonitoring


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
        name, _ = self.split_model(model, "history")
        records = history.read(self._history_file)[::-1]
        return [record for record in records if name is None or record["model"] == name][:limit]

    def each_check(self, *, since: datetime | None = None) -> Iterator[dict[str, Any]]:
        """Yield the checks of all models as ``history`` gives them, reading no more than is asked for.

        Args:
            since: Leave out those made before, aware; None for none.
        """
        return history.backwards(self._history_file, since=since)

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
        name, _ = self.split_model(model, "alerts")
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
        name, _ = self.split_model(model, "thresholds")
        return in_force(
            section(self._workspace, operation="thresholds"),
            name,
            given,
            operation="thresholds",
            workspace=self._workspace.project_name,
        )

    def report_silence(
        self, model: str, *, since: datetime, thresholds: Mapping[str, Any] | None = None
    ) -> tuple[Alert, ...]:
        """Raise an alert if a model made no prediction for too long, or clear it.

        Args:
            model: The model's short name.
            since: When it made the last, or could have made the first, aware.
            thresholds: Thresholds by name that win over those of ``workspace.yaml``.

        Returns:
            The alert, if it is new.
        """
        operation, at = "report_silence", now()
        limits = self.thresholds(model, thresholds)
        webhooks = section(self._workspace, operation=operation).webhooks
        judgement = alerts.silence(limits, model=model, since=since, at=at)
        with self._workspace.lock(TOOL, timeout=self._lock_timeout, operation=operation):
            found = alert_log.record_check(
                self._alerts_file, judgement, model=model, at=at, webhooks=webhooks
            )
        return tuple(alert for alert in found if alert.count == 1)

    def deliver_alerts(self) -> None:
        """Tell the webhooks of ``workspace.yaml`` what they were not told yet, within ten seconds.

        Every check does this too. What fails is noted with the alert and tried again for seven days.
        """
        operation = "deliver_alerts"
        webhooks = section(self._workspace, operation=operation).webhooks
        notify.deliver_pending(
            self._workspace, webhooks, lock_timeout=self._lock_timeout, operation=operation
        )

    def watch(
        self,
        model: str,
        *,
        every: float | timedelta = EVERY_SECONDS,
        window: int = WINDOW_ROWS,
        thresholds: Mapping[str, Any] | None = None,
        on_alert: Callable[[Sequence[Alert]], object] | None = None,
        on_check: Callable[[MonitoringResult | BaseException], object] | None = None,
    ) -> Watch:
        """Check what is served in the background, on a schedule, until ``stop`` of what is returned.

        The log of predictions that servers write is read from where the last check of it ended, and checked
        window by window, one after the other. ``MLOpsClient.watch_predictions`` also logs alerts to MLflow.

        Args:
            model: The model's short name; each of its versions has windows of its own.
            every: Seconds, or a timedelta, between two looks at the log.
            window: Rows of one version that are checked together; fewer wait for more.
            thresholds: Thresholds by name that win over those of ``workspace.yaml``.
            on_alert: Called with new alerts, of checks and of silence, in a thread of the watch.
            on_check: Called with each result, and with the error of a look that failed.

        Raises:
            WorkspaceLockedError: The model is being watched, by this process or another.
            ReferenceDataError: There is no reference to compare with.
            ConfigError: A threshold or a number makes no sense.
        """
        monitoring = cast("EvidentlyMonitoring", self)
        return Watch(
            monitoring,
            model,
            every=every,
            window=window,
            thresholds=thresholds,
            check=monitoring.monitor,
            on_alert=on_alert,
            on_check=on_check,
        )

    @property
    def _history_file(self) -> Path:
        return self._workspace.monitoring_path / history.HISTORY_FILE

    @property
    def _alerts_file(self) -> Path:
        return self._workspace.monitoring_path / alert_log.ALERTS_FILE

    def split_model(self, model: str | None, operation: str) -> tuple[str | None, str | None]:
        """Return name and version of ``name``, ``name:version`` or ``<project>.name:version``.

        Raises:
            InvalidModelNameError: One of them breaks the naming rule.
        """
        if model is None:
            return None, None
        name, _, version = str(model).partition(":")
        own = self._workspace.project_name
        name = names.validate_model_name(name.removeprefix(f"{own}."), project=own, operation=operation)
        if not version:
            return name, None
        return name, names.validate_version(version, project=own, operation=operation)
