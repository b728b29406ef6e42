"""Evidently as one project's monitoring tool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mlops import names
from mlops.errors import DataIntegrityError, ReferenceDataError
from mlops.files import Usage, measure
from mlops.integrations.evidently_monitoring import history, lineage, project, transfer
from mlops.integrations.evidently_monitoring import thresholds as limits
from mlops.integrations.evidently_monitoring.alerting import AlertVerbs
from mlops.integrations.evidently_monitoring.frames import TOOL, duplicated, listed, to_frame
from mlops.integrations.evidently_monitoring.infer import frozen_schema
from mlops.integrations.evidently_monitoring.reference import ReferenceStore
from mlops.integrations.evidently_monitoring.results import Alert, MonitoringResult
from mlops.integrations.evidently_monitoring.schema import CUTOFF, ReferenceData
from mlops.integrations.evidently_monitoring.task import task_spec
from mlops.integrations.evidently_monitoring.watch import watched
from mlops.workspace.tools import Link, ToolContext, ToolHealth, ToolState, installed_version

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring.baseline import Baseline
    from mlops.workspace.model import ProjectWorkspace

# Evidently needs a function of pandas that 3.1 removed; with it, `import evidently` fails.
_BROKEN_PANDAS: Final = (3, 1)
# A serving process checks a model or two; more frames in memory would grow with every new reference.
_KEPT_REFERENCES: Final = 4


class EvidentlyMonitoring(AlertVerbs):
    """Reference data, drift and performance checks of one project.

    Args:
        context: The workspace and its settings.
    """

    tool: ClassVar[str] = TOOL

    def __init__(self, context: ToolContext) -> None:
        self._workspace = context.workspace
        self._lock_timeout = context.settings.lock_timeout
        own_prefix = names.default_tag_prefix(context.workspace.project_name)
        self._model_prefix = context.settings.bentoml_tag_prefix or own_prefix
        self._references = ReferenceStore(context.workspace, lock_timeout=self._lock_timeout)
        self._cache_lock = threading.Lock()
        self._cache: dict[str, Baseline] = {}

    @property
    def workspace(self) -> ProjectWorkspace:
        """The project's workspace."""
        return self._workspace

    @property
    def path(self) -> Path:
        """The Evidently workspace, to open with ``evidently ui --workspace``."""
        return self._workspace.monitoring_path

    @property
    def project_id(self) -> str:
        """The id of the Evidently project."""
        return project.project_id(self._workspace)

    def set_reference_data(
        self,
        data: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        model: str | None = None,
        task: str | None = None,
        probability_columns: Mapping[Any, str] | Sequence[str] | str | None = None,
        positive_label: Any = None,
        group_column: str | None = None,
        cutoff: int = CUTOFF,
        embeddings: Mapping[str, Sequence[str]] | None = None,
    ) -> ReferenceData:
        """Store what batches are compared with, and freeze its schema.

        Setting the same data again changes nothing; other data becomes current and the earlier stays stored.

        Args:
            data: A pandas, polars or pyarrow table, a list of dictionaries, or a dictionary of columns.
            target_column: The column with the true value.
            prediction_column: The column with the model's answer: labels, numbers, or for a two-valued
                target the probability of the positive label.
            model: The model's short name, with the ``:version`` the data belongs to if that is known; None
                for the project's default, which also serves models without a reference of their own.
            task: ``binary``, ``multiclass``, ``regression``, ``ranking`` or ``none``; None to decide from the
                values. A ranking has grades of relevance for a target, 0 for none, and scores for a
                prediction.
            probability_columns: Label to column; or the columns in the order of the sorted labels; or, for a
                binary task, the column of the positive label.
            positive_label: The label that precision and recall are about; by default 1, True or "yes", else
                the last of the sorted labels.
            group_column: The column that says which rows a ranking puts in order together.
            cutoff: How many of a ranking's first places count.
            embeddings: Name to the columns an embedding is spread over, in order; they are compared together
                under that name. A column with a list or an array in each cell needs no mention.

        Returns:
            The reference that is now current.

        Raises:
            ReferenceDataError: The data is empty or no table, a column named does not exist or is there
                twice, or the task does not fit. Nothing has been written then.
        """
        operation = "set_reference_data"
        model_name, version = self.split_model(model, operation)
        frame = to_frame(data, operation=operation, workspace=self._workspace.project_name)
        columns = [str(name) for name in frame.columns]
        if repeated := duplicated(columns):
            raise self._refuse(
                f"The reference data has columns of the same name: {listed(list(repeated))}",
                operation,
                "rename or drop them, as in frame.loc[:, ~frame.columns.duplicated()]",
            )
        named = [("target", target_column), ("prediction", prediction_column), ("group", group_column)]
        spread = {str(name): [str(part) for part in parts] for name, parts in (embeddings or {}).items()}
        named += [("embedding", part) for parts in spread.values() for part in parts]
        self._require_columns(columns, named, operation)
        if clash := next((name for name, parts in spread.items() if name in columns or not parts), None):
            raise self._refuse(
                f"The embedding {clash!r} needs columns, and a name that no column has",
                operation,
                "pass embeddings={'image': ['image_0', 'image_1', ...]}",
            )
        spec = task_spec(
            frame,
            target_column=target_column,
            prediction_column=prediction_column,
            task=task,
            probability_columns=probability_columns,
            positive_label=positive_label,
            group_column=group_column,
            cutoff=cutoff,
            operation=operation,
            workspace=self._workspace.project_name,
        )
        probabilities = set(spec.probability_columns.values())
        self._require_columns(columns, [("probability", p) for p in sorted(probabilities)], operation)
        schema = frozen_schema(frame, spec, spread)
        return self._references.save(
            frame, schema, spec, model=model_name, version=version, operation=operation
        )

    def reference(self, model: str | None = None) -> ReferenceData:
        """Return the reference a check of a model is compared with.

        Args:
            model: The model's short name, optionally with ``:version``, or None for the project's default.

        Returns:
            The one last set for this version, else for the model, else for the project.

        Raises:
            ReferenceDataError: None has been set.
        """
        name, version = self.split_model(model, "reference")
        return self._references.current(name, version, operation="reference")

    def references(self, model: str | None = None) -> list[ReferenceData]:
        """Return every reference that was set, newest first; earlier ones stay stored.

        Args:
            model: The model's short name, or None for the project's default.
        """
        name, _ = self.split_model(model, "references")
        return self._references.past(name, operation="references")

    def reference_hashes(self) -> list[str]:
        """Return the hashes of all stored reference data, current or not."""
        return self._references.hashes()

    def monitor(
        self,
        data: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        latency_ms: Any = None,
        memory_mb: Any = None,
        tokens: Any = None,
        model: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        drift_share: float | None = None,
        name: str | None = None,
        performance_drop: float | None = None,
        thresholds: Mapping[str, Any] | None = None,
        on_alert: Callable[[Sequence[Alert]], object] | None = None,
    ) -> MonitoringResult:
        """Compare a batch with the reference and keep the result as an Evidently snapshot.

        Drift is computed on at most 10 000 rows of each side, which moves a score by about 0.014 (standard
        deviation of a normed Wasserstein distance), and ROC AUC and regression metrics on at most 100 000,
        always the same ones; missing values and label metrics on all rows. Of the snapshots, as many are kept
        as ``retention`` in workspace.yaml says, such as ``{snapshots: 500, days: 90}``; by default all.

        Args:
            data: The batch, in any form ``set_reference_data`` takes.
            target_column: The batch's column with the true value; by default the reference's, if the batch
                has it (true values often arrive later).
            prediction_column: The batch's column with the model's answer; by default the reference's.
            latency_ms: Milliseconds, one number or one per request.
            memory_mb: Megabytes, one number or several.
            tokens: Tokens the model generated, one number or one per request.
            model: The model's short name, optionally with ``:version``.
            tags: Short texts the dashboard can filter by.
            metadata: Further facts, stored as text. ``run_id``, ``model_version`` and ``data_version`` become
                lineage links.
            drift_share: The share of drifted columns, above 0 up to 1, from which the batch has drifted;
                short for ``thresholds={"drift_share": ...}``, as ``performance_drop`` is.
            name: A name for the snapshot.
            performance_drop: The relative loss against the reference from which a metric raises an alert.
            thresholds: Thresholds by name (see ``Thresholds``) that win over those of ``workspace.yaml``.
            on_alert: Called with the new alerts once the check is stored, if there are any; not with those
                that an earlier check raised and that go on. What it raises is raised here.

        Returns:
            The result, stored before it is returned.

        Raises:
            ConfigError: A threshold is unknown or makes no sense, here or in ``workspace.yaml``.
            ReferenceDataError: There is no reference, the batch is no table or one of other columns, or a
                column named does not exist. Nothing has been written then.
            ConfigError: The rules of retention make no sense. Nothing has been written then.
        """
        from mlops.integrations.evidently_monitoring.monitor import Check

        model_name, version = self.split_model(model, "monitor")
        shares = {"drift_share": drift_share, "performance_drop": performance_drop}
        configured = limits.section(self._workspace, operation="monitor")
        reference = self._references.current(model_name, version, operation="monitor")
        check = Check(
            workspace=self._workspace,
            model=model_name,
            model_version=version,
            reference=reference,
            limits=limits.in_force(
                configured,
                model_name,
                {**(thresholds or {}), **{k: v for k, v in shares.items() if v is not None}},
                columns=reference.columns,
                operation="monitor",
                workspace=self._workspace.project_name,
            ),
            webhooks=configured.webhooks,
            load_reference=self._baseline,
            lock_timeout=self._lock_timeout,
        )
        result = check.run(
            data,
            target_column=target_column,
            prediction_column=prediction_column,
            latency_ms=latency_ms,
            memory_mb=memory_mb,
            tokens=tokens,
            tags=tags,
            metadata=metadata,
            name=name,
        )
        if on_alert is not None and (new := result.new_alerts):
            on_alert(new)
        return result

    def ensure(self) -> None:
        """Create the Evidently project and its dashboard if they are missing.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted.
        """
        self._workspace.require_present(operation="ensure")
        project.ensure(self._workspace, lock_timeout=self._lock_timeout, operation="ensure")

    def health(self) -> ToolHealth:
        """Say whether checks can be made; imports and creates nothing."""
        version, pandas = installed_version("evidently"), installed_version("pandas")
        state, error = ToolState.READY, None
        if version is None or pandas is None:
            state, error = ToolState.NOT_INSTALLED, f"{'pandas' if version else 'evidently'} is not installed"
        elif tuple(int(part) for part in pandas.split(".")[:2]) >= _BROKEN_PANDAS:
            state = ToolState.UNAVAILABLE
            error = f"evidently {version} cannot be imported with pandas {pandas}; install 'pandas<3.1'"
        else:
            try:
                if not project.is_current(self._workspace, operation="health"):
                    state = ToolState.NOT_CREATED
                list(self._references.pointers())
            except DataIntegrityError as problem:
                state, error = ToolState.UNAVAILABLE, str(problem)
        return ToolHealth(self.tool, state, location=str(self.path), version=version, error=error)

    def summary(self) -> dict[str, Any]:
        """Return the numbers of references and checks, the last check and the alerts still open.

        An alert is open until a check finds it clear or somebody acknowledges it.
        """
        counts = history.count(self._history_file)
        raised = self.alerts()
        last = None
        if counts.last is not None:
            record = history.parse(counts.last)
            what = ("snapshot_id", "model", "checked_at", "rows")
            keys = (*what, "drift_detected", "drift_share", "n_drifted", "performance")
            last = {key: record[key] for key in keys}
            last["n_columns"] = len(record["columns"])
        return {
            "references": len(self._references.hashes()),
            "reference_models": sorted(model or "" for model, _ in self._references.pointers()),
            "checks": counts.checks,
            "drifted_checks": counts.drifted,
            "last_check": last,
            "alerts": len(raised),
            "open_alerts": sum(alert.status == "open" for alert in raised),
        }

    def usage(self) -> Usage:
        """Return what snapshots, references and records cost on disk."""
        return measure(self.path)

    def links(self) -> Iterator[Link]:
        """Yield the model of each reference, and what each snapshot compared and checked."""
        return lineage.links(self._references, self._history_file, prefix=self._model_prefix)

    def links_of(self, made: ReferenceData | MonitoringResult) -> Iterator[Link]:
        """Yield the model of a reference, or what a check compared and checked."""
        return lineage.links_of(made, prefix=self._model_prefix)

    def export(self, destination: Path, *, include_data: bool = True) -> None:
        """Copy references, snapshots and records into an existing empty directory."""
        transfer.export(self._workspace, destination, lock_timeout=self._lock_timeout)

    def restore(self, source: Path) -> None:
        """Replace everything by an exported copy, under this workspace's own project id and name.

        Args:
            source: The directory ``export`` wrote; it is left as it is.

        Raises:
            IntegrationError: There is no such directory.
        """
        transfer.restore(self._workspace, source, lock_timeout=self._lock_timeout)
        self.close()

    def adopt(self, former: ProjectWorkspace, *, moved: bool) -> None:
        """Give the Evidently project the present workspace's id and name."""
        transfer.adopt(self._workspace, lock_timeout=self._lock_timeout)

    def in_use(self) -> Iterator[str]:
        """Say which models are being watched; a single check finds out itself that the workspace moved."""
        for model in watched(self._workspace):
            yield f"the predictions of {model} are being watched"

    def close(self) -> None:
        """Forget the reference data kept in memory."""
        with self._cache_lock:
            self._cache.clear()

    def _baseline(self, reference: ReferenceData) -> Baseline:
        """Return what a check needs of the reference, kept in memory between checks."""
        from mlops.integrations.evidently_monitoring.baseline import Baseline
        from mlops.integrations.evidently_monitoring.checks import SAMPLE_ROWS

        with self._cache_lock:
            if (kept := self._cache.get(reference.hash)) is not None:
                return kept
        frame = self._references.load_frame(reference, operation="monitor")
        loaded = Baseline.of(reference, frame, rows=SAMPLE_ROWS)
        with self._cache_lock:
            while len(self._cache) >= _KEPT_REFERENCES:
                self._cache.pop(next(iter(self._cache)))
            self._cache[reference.hash] = loaded
        return loaded

    def _require_columns(
        self, columns: list[str], wanted: Sequence[tuple[str, str | None]], operation: str
    ) -> None:
        for role, column in wanted:
            if column is not None and column not in columns:
                raise self._refuse(
                    f"There is no {role} column {column!r}; the data has: {listed(columns)}",
                    operation,
                    f"name the {role} column as it is in the data",
                )

    def _refuse(self, message: str, operation: str, hint: str) -> ReferenceDataError:
        return ReferenceDataError(
            message, tool=TOOL, operation=operation, workspace=self._workspace.project_name, hint=hint
        )
