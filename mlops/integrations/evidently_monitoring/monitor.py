"""The course of one check, from the user's batch to the stored result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring import (
    alert_log,
    alerts,
    checks,
    history,
    notify,
    project,
    quality,
    roles,
    runtime,
    snapshots,
)
from mlops.integrations.evidently_monitoring.baseline import Baseline
from mlops.integrations.evidently_monitoring.conform import ABSENT, conform
from mlops.integrations.evidently_monitoring.frames import TOOL, listed, sample, to_frame
from mlops.integrations.evidently_monitoring.metrics import Performance
from mlops.integrations.evidently_monitoring.pairing import pair
from mlops.integrations.evidently_monitoring.performance import measure
from mlops.integrations.evidently_monitoring.results import Measured, MonitoringResult, plain
from mlops.integrations.evidently_monitoring.retention import Retention
from mlops.integrations.evidently_monitoring.schema import ReferenceData
from mlops.integrations.evidently_monitoring.thresholds import Thresholds
from mlops.plurals import counted
from mlops.workspace.model import ProjectWorkspace, now

if TYPE_CHECKING:
    import pandas as pd

_OPERATION: Final = "monitor"


@dataclass(slots=True)
class Check:
    """One batch of one model against its reference.

    Args:
        workspace: The project's workspace.
        model: The model's short name, or None.
        model_version: Its version, or None.
        reference: What the batch is compared with.
        limits: What makes an alert.
        webhooks: URLs that are told of new alerts.
        load_reference: Returns the reference as it is kept in memory.
        lock_timeout: Seconds to wait for another writer.
    """

    workspace: ProjectWorkspace
    model: str | None
    model_version: str | None
    reference: ReferenceData
    limits: Thresholds
    webhooks: Sequence[str]
    load_reference: Callable[[ReferenceData], Baseline]
    lock_timeout: float

    def run(
        self,
        data: Any,
        *,
        target_column: str | None,
        prediction_column: str | None,
        latency_ms: Any,
        memory_mb: Any,
        tokens: Any,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
        name: str | None,
    ) -> MonitoringResult:
        """Make the check and store it; the arguments are those of ``EvidentlyMonitoring.monitor``."""
        measured = {
            name: self._measured(name, value)
            for name, value in (("latency_ms", latency_ms), ("memory_mb", memory_mb), ("tokens", tokens))
            if value is not None
        }
        given_tags = [tags] if isinstance(tags, str) else [str(tag) for tag in tags or ()]
        frame = to_frame(data, operation=_OPERATION, workspace=self.workspace.project_name, empty=True)
        role = roles.assign(
            frame,
            self.reference,
            target_column=target_column,
            prediction_column=prediction_column,
            workspace=self.workspace.project_name,
        )
        frame, spec = role.frame, role.spec
        self._require_common(frame)
        info = {str(k): str(v) for k, v in (metadata or {}).items() if v is not None}
        facts = self._facts(info)
        keep = Retention.of(self.workspace, operation=_OPERATION)
        evidently = runtime.load(operation=_OPERATION, workspace=self.workspace.project_name)
        baseline_of = self.load_reference(self.reference)
        columns = self.reference.columns
        batch = conform(
            sample(frame, checks.SAMPLE_ROWS),
            columns,
            vocabularies=baseline_of.vocabularies,
            exclude=[column for column in spec.columns if column not in columns],
        )
        both = pair(batch, baseline_of.rows, columns)
        cells = quality.cells(frame, columns)
        of_columns = quality.of_columns(cells, columns, batch.flaws)
        project.ensure(self.workspace, lock_timeout=self.lock_timeout, operation=_OPERATION)
        with runtime.running():
            drift = checks.compare(
                evidently,
                both,
                drift_share=self.limits.drift_share,
                quality=of_columns,
                workspace=self.workspace.project_name,
            )
            missing_share, quality_snapshot = checks.quality(evidently, cells, _resources(measured))
            performance = measure(evidently, role.labelled, spec)
            baseline = Performance()
            if performance.metrics:
                if baseline_of.performance is None:
                    baseline_of.performance = measure(evidently, baseline_of.labelled, self.reference.spec)
                baseline = baseline_of.performance
            at = now()
            snapshot_id = snapshots.new_id(int(at.timestamp() * 1000))
            text = checks.assemble(
                drift,
                quality_snapshot,
                performance,
                at=at,
                name=name or f"{self.model or self.workspace.project_name} {at:%Y-%m-%d %H:%M:%S}",
                tags=list(dict.fromkeys([*given_tags, *([self.model] if self.model else [])])),
                metadata=facts,
            )
        skipped = {**batch.skipped, **drift.failed}
        absent = [
            column
            for column, reason in skipped.items()
            if reason == ABSENT and column != self.reference.target_column
        ]
        findings = alerts.Findings(
            rows=len(frame),
            drift_share=drift.share,
            n_drifted=drift.count,
            n_compared=drift.compared,
            columns=drift.columns,
            performance=performance.metrics,
            reference_performance=baseline.metrics,
            missing_columns=absent,
            missing_share=missing_share,
            latency_ms=measured.get("latency_ms"),
        )
        judgement = alerts.judge(findings, self.limits, model=self.model, snapshot_id=snapshot_id, at=at)
        change = {
            key: value - before
            for key, value in performance.metrics.items()
            if value is not None and (before := baseline.metrics.get(key)) is not None
        }
        target = project.project_path(self.workspace) / project.SNAPSHOTS
        result = MonitoringResult(
            snapshot_id=snapshot_id,
            project=self.workspace.project_name,
            model=self.model,
            model_version=self.model_version or info.get("model_version"),
            name=name,
            checked_at=at,
            rows=len(frame),
            reference_hash=self.reference.hash,
            task=str(spec.task),
            drift_detected=bool(drift.columns) and drift.share >= self.limits.drift_share,
            drift_share=drift.share,
            drift_threshold=self.limits.drift_share,
            n_drifted=drift.count,
            n_compared=drift.compared,
            columns=drift.columns,
            quality=of_columns,
            performance={key: plain(value) for key, value in performance.metrics.items()},
            undefined=performance.undefined,
            reference_performance={key: plain(value) for key, value in baseline.metrics.items()},
            performance_change={key: value for key, value in change.items() if plain(value) is not None},
            missing_share=missing_share,
            latency_ms=measured.get("latency_ms"),
            memory_mb=measured.get("memory_mb"),
            tokens=measured.get("tokens"),
            skipped=skipped,
            warnings=(
                *role.notes,
                *self._circumstances(frame, drift),
                *batch.warnings,
                *performance.notes,
            ),
            alerts=(),
            tags=tuple(given_tags),
            metadata=info,
            _snapshot_path=target / f"{snapshot_id}.json",
        )
        stored = self._store(result, text, judgement)
        keep.thin(target, self.workspace, operation=_OPERATION)
        notify.deliver_pending(
            self.workspace, self.webhooks, lock_timeout=self.lock_timeout, operation=_OPERATION
        )
        return stored

    def _store(self, result: MonitoringResult, text: str, judgement: alerts.Judgement) -> MonitoringResult:
        """Store a check whole and return it with its alerts as they are known from now on.

        The snapshot comes first and the history last: a crash in between leaves a snapshot that Evidently
        shows and alerts that lead to it, and never a line of the history that leads nowhere.
        """
        directory = project.project_path(self.workspace) / project.SNAPSHOTS
        snapshots.write(text, result.snapshot_id, directory, self.workspace)
        kept = self.workspace.monitoring_path
        with self.workspace.lock(TOOL, timeout=self.lock_timeout, operation=_OPERATION):
            found = alert_log.record_check(
                kept / alert_log.ALERTS_FILE,
                judgement,
                model=self.model,
                at=result.checked_at,
                webhooks=self.webhooks,
            )
            result = replace(result, alerts=found)
            history.append(kept / history.HISTORY_FILE, [result.to_dict()])
        return result

    def _require_common(self, frame: pd.DataFrame) -> None:
        """Refuse another table altogether; a batch that only lost its rows is a finding."""
        columns = self.reference.columns
        expected = {part for name, schema in columns.items() for part in (name, *schema.parts)}
        if len(frame) and not expected.intersection(frame.columns):
            found = listed([str(column) for column in frame.columns])
            raise self._refuse(
                f"Nothing in the batch can be compared with the reference: it has the columns {found}",
                f"pass columns the reference has: {listed(list(columns))}",
            )

    def _facts(self, info: Mapping[str, str]) -> dict[str, str]:
        own = {"project": self.workspace.project_name, "reference": self.reference.hash}
        if self.model:
            own["model"] = self.model
        if self.model_version:
            own["model_version"] = self.model_version
        return {**info, **own}

    def _circumstances(self, frame: pd.DataFrame, drift: checks.Drift) -> list[str]:
        found = []
        if not len(frame):
            found.append("the batch has no rows, so nothing could be checked")
        elif len(frame) < checks.SMALL_BATCH:
            found.append(
                f"small batch: with {counted(len(frame), 'row')} only large differences can be told from "
                f"chance (at least {checks.SMALL_BATCH} are advised)"
            )
        if self.reference.rows < checks.SMALL_BATCH:
            known = counted(self.reference.rows, "row")
            found.append(f"small reference: {known} cannot say much about the distribution")
        set_for = self.reference.model_version
        if self.model_version and set_for and self.model_version != set_for:
            found.append(
                f"the reference was set for version {set_for} of the model, not {self.model_version}"
            )
        if not drift.columns:
            found.append("no column could be compared with the reference, so drift is unknown")
        return found

    def _measured(self, name: str, value: Any) -> Measured:
        import numpy as np

        try:
            numbers = np.atleast_1d(np.asarray(value, dtype="float64")).ravel()
        except (TypeError, ValueError) as error:
            raise self._refuse(
                f"{name} is not a number or a list of numbers: {error}", f"pass {name}=12.5"
            ) from error
        if not numbers.size or not np.isfinite(numbers).all() or (numbers < 0).any():
            raise self._refuse(
                f"{name} must be one or more finite numbers that are not negative", f"pass {name}=12.5"
            )
        return Measured(float(numbers.mean()), float(np.quantile(numbers, 0.95)), int(numbers.size))

    def _refuse(self, message: str, hint: str) -> ReferenceDataError:
        return ReferenceDataError(
            message, tool=TOOL, operation=_OPERATION, workspace=self.workspace.project_name, hint=hint
        )


def _resources(measured: Mapping[str, Measured]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, quantity in measured.items():
        values |= {name: quantity.mean, f"{name}_p95": quantity.p95}
    return values
