"""The course of one check, from the user's batch to the stored result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring import alerts, checks, history, project, runtime, snapshots
from mlops.integrations.evidently_monitoring.conform import Conformed, conform, text_features, to_categories
from mlops.integrations.evidently_monitoring.frames import TOOL, duplicated, listed, sample, to_frame
from mlops.integrations.evidently_monitoring.infer import task_spec
from mlops.integrations.evidently_monitoring.performance import Performance, measure
from mlops.integrations.evidently_monitoring.results import Measured, MonitoringResult, plain
from mlops.integrations.evidently_monitoring.schema import ColumnKind, ReferenceData, Task, TaskSpec
from mlops.workspace.model import ProjectWorkspace, now

if TYPE_CHECKING:
    import pandas as pd

_OPERATION: Final = "monitor"


@dataclass(slots=True)
class Baseline:
    """What is kept in memory of a reference.

    Args:
        sample: The rows that drift is computed on.
        labelled: All rows of the columns that performance is computed on.
        performance: Its performance, once computed.
    """

    sample: pd.DataFrame
    labelled: pd.DataFrame
    performance: Performance | None = None


@dataclass(slots=True)
class Check:
    """One batch of one model against its reference.

    Args:
        workspace: The project's workspace.
        model: The model's short name, or None.
        model_version: Its version, or None.
        reference: What the batch is compared with.
        load_reference: Returns the reference as it is kept in memory.
        lock_timeout: Seconds to wait for another writer.
    """

    workspace: ProjectWorkspace
    model: str | None
    model_version: str | None
    reference: ReferenceData
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
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any] | None,
        drift_share: float,
        name: str | None,
        performance_drop: float,
    ) -> MonitoringResult:
        """Make the check and store it; the arguments are those of ``EvidentlyMonitoring.monitor``."""
        if not 0 < drift_share <= 1:
            raise self._refuse(
                f"drift_share must be above 0 and at most 1, not {drift_share!r}",
                "pass 0.5 for half of the columns",
            )
        latency, memory = self._measured("latency_ms", latency_ms), self._measured("memory_mb", memory_mb)
        given_tags = [tags] if isinstance(tags, str) else [str(tag) for tag in tags or ()]
        frame = to_frame(data, operation=_OPERATION, workspace=self.workspace.project_name)
        frame, spec, notes = self._roles(frame, target_column, prediction_column)
        expected = self._expected(frame, spec)
        batch = conform(sample(frame, checks.SAMPLE_ROWS), self.reference.columns, exclude=expected)
        self._explain_roles(batch, spec)
        if batch.frame.empty and spec.task is Task.NONE:
            reasons = "; ".join(f"{column}: {reason}" for column, reason in list(batch.skipped.items())[:10])
            raise self._refuse(
                f"Nothing in the batch can be compared with the reference ({reasons})",
                f"pass columns the reference has: {listed(list(self.reference.columns))}",
            )
        info = {str(k): str(v) for k, v in (metadata or {}).items() if v is not None}
        facts = self._facts(info)
        evidently = runtime.load(operation=_OPERATION, workspace=self.workspace.project_name)
        project.ensure(self.workspace, lock_timeout=self.lock_timeout, operation=_OPERATION)
        baseline_of = self.load_reference(self.reference)
        reference_frame = self._reference_frame(baseline_of.sample, batch)
        missing = self._missing(frame)
        resources = _resources(latency, memory)
        with runtime.running():
            drift = checks.compare(
                evidently,
                batch.frame,
                reference_frame,
                drift_share=drift_share,
                missing=missing,
                workspace=self.workspace.project_name,
            )
            missing_share, quality = checks.quality(evidently, self._cells(frame), resources)
            performance = measure(evidently, frame, spec)
            baseline = Performance()
            if performance.metrics:
                if baseline_of.performance is None:
                    baseline_of.performance = measure(evidently, baseline_of.labelled, self.reference.spec)
                baseline = baseline_of.performance
            at = now()
            snapshot_id = snapshots.new_id(int(at.timestamp() * 1000))
            text = checks.assemble(
                drift,
                quality,
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
            if reason == "not in the batch" and column != self.reference.target_column
        ]
        found = alerts.find(
            model=self.model,
            snapshot_id=snapshot_id,
            at=at,
            drift_share=drift.share,
            drift_threshold=drift_share,
            n_drifted=drift.count,
            n_columns=len(drift.columns),
            performance=performance.metrics,
            reference_performance=baseline.metrics,
            missing_columns=absent,
            performance_drop=performance_drop,
        )
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
            drift_detected=bool(drift.columns) and drift.share >= drift_share,
            drift_share=drift.share,
            drift_threshold=drift_share,
            n_drifted=drift.count,
            columns=drift.columns,
            performance={key: plain(value) for key, value in performance.metrics.items()},
            reference_performance={key: plain(value) for key, value in baseline.metrics.items()},
            performance_change={key: value for key, value in change.items() if plain(value) is not None},
            missing_share=missing_share,
            latency_ms=latency,
            memory_mb=memory,
            skipped=skipped,
            warnings=(*notes, *self._size_warnings(frame, drift), *batch.warnings, *performance.notes),
            alerts=found,
            tags=tuple(given_tags),
            metadata=info,
            _snapshot_path=target / f"{snapshot_id}.json",
        )
        self._store(result, text)
        return result

    def _store(self, result: MonitoringResult, text: str) -> None:
        # The snapshot first: a crash in between leaves a snapshot Evidently shows and the history does not,
        # and never a history line that leads nowhere.
        directory = project.project_path(self.workspace) / project.SNAPSHOTS
        snapshots.write(text, result.snapshot_id, directory, self.workspace)
        record = result.to_dict()
        with self.workspace.lock(TOOL, timeout=self.lock_timeout, operation=_OPERATION):
            history.append(self.workspace.monitoring_path / history.HISTORY_FILE, [record])
            if record["alerts"]:
                history.append(self.workspace.monitoring_path / history.ALERTS_FILE, record["alerts"])

    def _roles(
        self, frame: pd.DataFrame, target_column: str | None, prediction_column: str | None
    ) -> tuple[pd.DataFrame, TaskSpec, list[str]]:
        """Return the batch with target and prediction under the reference's names, and the task."""
        spec = self.reference.spec
        columns = [str(name) for name in frame.columns]
        repeated = duplicated(columns)
        given = {"target": target_column, "prediction": prediction_column}
        for role, column in given.items():
            if column is not None and column not in columns:
                raise self._refuse(
                    f"There is no {role} column {column!r}; the batch has: {listed(columns)}",
                    f"name the {role} column as it is in the batch, or leave it out",
                )
            if column in repeated:
                raise self._refuse(
                    f"The batch has {repeated[column]} columns named {column!r}, the {role}",
                    "drop all but one of them",
                )
        for own, column in ((spec.target_column, target_column), (spec.prediction_column, prediction_column)):
            if own and column and own != column:
                frame = frame.drop(columns=own, errors="ignore").rename(columns={column: own})
        frame = self._single_roles(frame, spec, repeated)
        target, prediction = spec.target_column or target_column, spec.prediction_column or prediction_column
        if (target, prediction) == (spec.target_column, spec.prediction_column):
            return frame, spec, []
        # The reference was set without this column: the batch alone says what the task is.
        present = set(frame.columns)
        spec = task_spec(
            frame,
            target_column=target if target in present else None,
            prediction_column=prediction if prediction in present else None,
            task=None if spec.task is Task.NONE else str(spec.task),
            probability_columns=dict(spec.probability_columns) or None,
            positive_label=spec.positive_label,
            operation=_OPERATION,
            workspace=self.workspace.project_name,
        )
        return frame, spec, list(spec.notes)

    def _single_roles(self, frame: pd.DataFrame, spec: TaskSpec, repeated: Mapping[str, int]) -> pd.DataFrame:
        roles = [spec.target_column, spec.prediction_column, *spec.probability_columns.values()]
        for column in roles:
            if column is not None and column in repeated:
                raise self._refuse(
                    f"The batch has {repeated[column]} columns named {column!r}", "drop all but one of them"
                )
        return frame

    def _expected(self, frame: pd.DataFrame, spec: TaskSpec) -> list[str]:
        """Return the columns that are not compared and need no reason."""
        roles = {spec.target_column, spec.prediction_column, *spec.probability_columns.values()}
        return [c for c in frame.columns if c in roles and c not in self.reference.columns]

    def _explain_roles(self, batch: Conformed, spec: TaskSpec) -> None:
        target = spec.target_column
        if target is not None and batch.skipped.get(target) == "not in the batch":
            batch.warnings.append(f"no performance: the batch has no target column {target!r}")

    def _reference_frame(self, rows: pd.DataFrame, batch: Conformed) -> pd.DataFrame:
        """Return the reference's side of the batch's columns; constant ones move to ``skipped``."""
        import pandas as pd

        ready: dict[str, pd.Series] = {}
        for name, schema in self.reference.columns.items():
            if name in batch.skipped or name not in rows.columns:
                continue
            if schema.kind is ColumnKind.TEXT:
                ready |= text_features(name, rows[name])
            elif schema.kind is ColumnKind.CATEGORICAL:
                ready[name] = to_categories(rows[name], schema.categories)[0]
            else:
                ready[name] = rows[name]
        for name in list(batch.frame.columns):
            values = {*ready[name].dropna().unique(), *batch.frame[name].dropna().unique()}
            if len(values) < 2:
                batch.skipped[name] = "constant: the reference and the batch have one and the same value"
                batch.frame = batch.frame.drop(columns=name)
            elif not ready[name].notna().any():
                batch.skipped[name] = "no value in the sample of the reference"
                batch.frame = batch.frame.drop(columns=name)
        return pd.DataFrame({name: ready[name] for name in batch.frame.columns})

    def _missing(self, frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
        shares: dict[str, tuple[float, float]] = {}
        for name, schema in self.reference.columns.items():
            if name in frame.columns and frame.columns.tolist().count(name) == 1:
                share = float(frame[name].isna().mean()), schema.missing_share
                shares[name] = share
                if schema.kind is ColumnKind.TEXT:
                    shares |= {f"{name} (characters)": share, f"{name} (words)": share}
        return shares

    def _cells(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return 0 for every cell of an expected column that is there and NaN for a missing one."""
        import numpy as np
        import pandas as pd

        counts = duplicated([str(c) for c in frame.columns])
        names = [c for c in self.reference.columns if c in frame.columns and c not in counts]
        if not names:
            return pd.DataFrame({"row": np.zeros(len(frame))})
        return pd.DataFrame({name: np.where(frame[name].isna(), np.nan, 0.0) for name in names})

    def _facts(self, info: Mapping[str, str]) -> dict[str, str]:
        own = {"project": self.workspace.project_name, "reference": self.reference.hash}
        if self.model:
            own["model"] = self.model
        if self.model_version:
            own["model_version"] = self.model_version
        return {**info, **own}

    def _size_warnings(self, frame: pd.DataFrame, drift: checks.Drift) -> list[str]:
        found = []
        if len(frame) < checks.SMALL_BATCH:
            found.append(
                f"small batch: {len(frame)} rows say little, only large differences can be told from chance "
                f"(at least {checks.SMALL_BATCH} are advised)"
            )
        if self.reference.rows < checks.SMALL_BATCH:
            found.append(f"small reference: {self.reference.rows} rows say little about the distribution")
        if not drift.columns:
            found.append("no column could be compared with the reference, so drift is unknown")
        return found

    def _measured(self, name: str, value: Any) -> Measured | None:
        if value is None:
            return None
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


def _resources(latency: Measured | None, memory: Measured | None) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, measured in (("latency_ms", latency), ("memory_mb", memory)):
        if measured is not None:
            values |= {name: measured.mean, f"{name}_p95": measured.p95}
    return values
