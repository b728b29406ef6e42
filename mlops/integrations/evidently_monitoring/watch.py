"""Checking what is served as it is served: the log of predictions in windows, on a schedule."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from mlops.errors import ConfigError, WorkspaceLockedError
from mlops.integrations.bentoml_serving.prediction_log import PREDICTION_COLUMN, log_directory
from mlops.integrations.evidently_monitoring import history
from mlops.integrations.evidently_monitoring.results import Alert, MonitoringResult
from mlops.integrations.evidently_monitoring.windows import WATCHED_UNTIL, PredictionWindows, Window
from mlops.workspace.model import ProjectWorkspace, lock_file, now

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from mlops.integrations.evidently_monitoring.adapter import EvidentlyMonitoring

EVERY_SECONDS: Final = 60.0
# Rows: ten times what makes a drift score steady enough to see a tenth of a standard deviation (noise.py).
WINDOW_ROWS: Final = 1000
# How old a request must be before it is read: a server writes it down within half a second, and within five
# when it is stopped.
SETTLE: Final = timedelta(seconds=10)
_OPERATION: Final = "watch"
_LOCK: Final = "watch"


class Watch:
    """A model's log of predictions that is checked in the background until ``stop``.

    What was checked is known from the history of checks, so a process that is killed and started again goes
    on where it was: every request is in one check, and none in two. A window that cannot be checked is tried
    again every time.

    Args:
        monitoring: The project's monitoring.
        model: The model's short name.
        every: Seconds, or a timedelta, between two looks at the log.
        window: Rows of one version of the model that are checked together.
        thresholds: Thresholds by name that win over those of ``workspace.yaml``.
        check: Makes a check, with the arguments of ``EvidentlyMonitoring.monitor``.
        log: Called first with new alerts that no check found: of silence.
        on_alert: Called with new alerts, of checks and of silence; last, since it may take its time or fail.
        on_check: Called with each result, and with the error of a look that failed.

    Attributes:
        model: The model.
        checks: The number of checks made so far.
        looks: How often the log was looked at so far.
        error: What the latest look at the log failed with, or None.
    """

    def __init__(
        self,
        monitoring: EvidentlyMonitoring,
        model: str,
        *,
        every: float | timedelta,
        window: int,
        thresholds: Mapping[str, Any] | None,
        check: Callable[..., MonitoringResult],
        log: Callable[[Sequence[Alert]], object] | None = None,
        on_alert: Callable[[Sequence[Alert]], object] | None = None,
        on_check: Callable[[MonitoringResult | BaseException], object] | None = None,
    ) -> None:
        self._workspace = monitoring.workspace
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds < float("inf")
        ):
            raise self._refuse(f"every={every!r} is no time to wait", "pass seconds, or a timedelta")
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise self._refuse(f"window={window!r} is no number of rows", "pass 1000 for a thousand rows")
        name, version = monitoring.split_model(model.partition("@")[0], _OPERATION)
        if name is None or version is not None or "@" in model:
            raise self._refuse(
                f"{model!r} is not the name of a model alone", "pass its name: all versions are watched"
            )
        monitoring.thresholds(name, thresholds)
        monitoring.reference(name)
        self.model = name
        self.checks = 0
        self.looks = 0
        self.error: BaseException | None = None
        self._monitoring = monitoring
        self._size = window
        self._thresholds = thresholds
        self._check = check
        self._log = log
        self._on_alert = on_alert
        self._on_check = on_check
        self._windows: PredictionWindows | None = None
        self._silent: bool | None = None
        self._since = now()
        self._stopping = threading.Event()
        self._worker: int | None = None
        self._lock = _acquire(self._workspace, name)
        try:
            self._scheduler = self._start(float(seconds))
        except BaseException:
            self._lock.release()
            raise

    def stop(self) -> None:
        """End: a check that is being made is finished first, unless it is what calls this."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=threading.get_ident() != self._worker)
        self._lock.release()

    @property
    def running(self) -> bool:
        """Whether it goes on, so that no other can begin."""
        return bool(self._lock.is_locked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self, seconds: float) -> Any:
        from apscheduler.schedulers.background import BackgroundScheduler

        # That a look takes longer than the time between two is no reason to write to standard error.
        quiet = logging.Logger(__name__, logging.ERROR)
        scheduler = BackgroundScheduler(timezone=UTC, daemon=True, logger=quiet)
        scheduler.add_job(
            self._look,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        scheduler.start()
        return scheduler

    def _look(self) -> None:
        self._worker = threading.get_ident()
        try:
            self._read()
            self.error = None
        except BaseException as error:
            # What was read and not checked is read again.
            self._windows = None
            self.error = error
            if self._on_check is not None:
                self._on_check(error)
            raise
        finally:
            self.looks += 1
            self._worker = None

    def _read(self) -> None:
        self._workspace.require_present(operation=_OPERATION)
        if self._windows is None:
            self._windows = PredictionWindows(
                log_directory(self._workspace, self.model),
                size=self._size,
                checked=_checked(self._workspace, self.model),
                prediction_column=self._prediction_column,
            )
        for window in self._windows.full(now() - SETTLE):
            if self._stopping.is_set():
                return
            result = self._check_window(window)
            self.checks += 1
            if self._on_check is not None:
                self._on_check(result)
            if self._on_alert is not None and result.new_alerts:
                self._on_alert(result.new_alerts)
        self._look_for_silence(self._windows.last or self._since)
        self._monitoring.deliver_alerts()

    def _check_window(self, window: Window) -> MonitoringResult:
        return self._check(
            window.rows,
            model=f"{self.model}:{window.version}",
            latency_ms=window.latencies or None,
            thresholds=self._thresholds,
            metadata={WATCHED_UNTIL: window.until},
        )

    def _look_for_silence(self, last: datetime) -> None:
        limits = self._monitoring.thresholds(self.model, self._thresholds)
        hours = (now() - last) / timedelta(hours=1)
        silent = limits.silence_hours is not None and hours >= limits.silence_hours
        # Only the change is news; a line for every look at a log that stays silent would be noise.
        if silent != self._silent:
            new = self._monitoring.report_silence(self.model, since=last, thresholds=self._thresholds)
            self._silent = silent
            for each in (self._log, self._on_alert):
                if each is not None and new:
                    each(new)

    def _prediction_column(self, version: str) -> str:
        reference = self._monitoring.reference(f"{self.model}:{version}")
        return reference.prediction_column or PREDICTION_COLUMN

    def _refuse(self, message: str, hint: str) -> ConfigError:
        return ConfigError(message, operation=_OPERATION, workspace=self._workspace.project_name, hint=hint)


def watched(workspace: ProjectWorkspace) -> Iterator[str]:
    """Yield the models of a project whose predictions are being watched, by any process."""
    path = lock_file(workspace.root_path, f"{_LOCK}.x")
    prefix, suffix = path.name.removesuffix("x.lock"), ".lock"
    for each in sorted(path.parent.glob(f"{prefix}*{suffix}")):
        model = each.name.removeprefix(prefix).removesuffix(suffix)
        try:
            _acquire(workspace, model).release()
        except WorkspaceLockedError:
            yield model


def _acquire(workspace: ProjectWorkspace, model: str) -> BaseFileLock:
    """Return the lock of a model's watch, held for as long as the watch goes on."""
    from filelock import FileLock, Timeout

    path = lock_file(workspace.root_path, f"{_LOCK}.{model}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # It is released by whichever thread ends the watch.
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise WorkspaceLockedError(
            f"The predictions of {model!r} are being watched already",
            operation=_OPERATION,
            workspace=workspace.project_name,
            hint="stop the other watch, which may be in another process; one is enough",
        ) from error
    return lock


def _checked(workspace: ProjectWorkspace, model: str) -> dict[str, str]:
    """Return, by version, up to when its predictions were checked."""
    until: dict[str, str] = {}
    for record in history.newest(workspace.monitoring_path / history.HISTORY_FILE, model):
        if moment := record["metadata"].get(WATCHED_UNTIL):
            until.setdefault(record["model_version"], moment)
    return until
