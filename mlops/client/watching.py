"""The verb that watches what a project serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlops.client import alerting
from mlops.client.checks import CheckVerbs
from mlops.integrations.evidently_monitoring.watch import EVERY_SECONDS, WINDOW_ROWS, Watch

if TYPE_CHECKING:
    from mlops.client.alerting import OnAlert
    from mlops.integrations.evidently_monitoring import Alert, MonitoringResult


class WatchVerbs(CheckVerbs):
    """What checks the predictions that are served, as they are served."""

    def watch_predictions(
        self,
        model: str,
        *,
        every: float | timedelta = EVERY_SECONDS,
        window: int = WINDOW_ROWS,
        thresholds: Mapping[str, Any] | None = None,
        on_alert: OnAlert | None = None,
        on_check: Callable[[MonitoringResult | BaseException], object] | None = None,
    ) -> Watch:
        """Check what is served in the background, as ``monitor_predictions`` would check it.

        It does what ``monitoring.watch`` does; besides, alerts are logged to the monitoring run of the model,
        and what a check compared becomes lineage.

        Args:
            model: The model's name; each of its versions has windows of its own.
            every: Seconds, or a timedelta, between two looks at the log.
            window: Rows of one version that are checked together; fewer wait for more.
            thresholds: Thresholds by name that win over those of ``workspace.yaml``.
            on_alert: A function that is called with new alerts, or a pipeline that is run then, in a thread
                of the watch.
            on_check: Called with each result, and with the error of a look that failed.

        Raises:
            WorkspaceLockedError: The model is being watched, by this process or another.
            ReferenceDataError: There is no reference to compare with.
            ConfigError: A threshold or a number makes no sense, or ``on_alert`` cannot be called.
        """
        act = alerting.action(self, on_alert, operation="watch_predictions")

        def log(alerts: Sequence[Alert]) -> None:
            values = {alert.metric: alert.value for alert in alerts}
            alerting.log(self, model=alerts[0].model, metrics=values, alerts=alerts)

        return Watch(
            self.monitoring,
            model,
            every=every,
            window=window,
            thresholds=thresholds,
            check=self._check,
            log=log,
            on_alert=act,
            on_check=on_check,
        )
