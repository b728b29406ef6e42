"""The numbers from which a check raises an alert: of the project, of the model, and of the call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ConfigError
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.workspace.schema import MonitoringSection

# Half of the columns: Evidently's own default for a drifted dataset (evidently/metrics/column_statistics.py).
DRIFT_SHARE: Final = 0.5
# A tenth of the reference's value. Evidently's automatic tests allow a fifth (evidently/metrics/
# classification.py), either way; a model that lost a tenth of its accuracy is worth a look.
PERFORMANCE_DROP: Final = 0.1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a check is judged by; None means that nothing is judged by it.

    Args:
        drift_share: Share of drifted columns, above 0 up to 1, from which the batch has drifted.
        performance_drop: Loss of a metric relative to the reference beyond which it is an alert.
        latency_ms: Milliseconds; an alert if the 95th percentile is above.
        missing_share: Share of missing cells, 0 to 1; an alert if a batch has more.
        silence_hours: Hours without a prediction after which ``watch`` raises an alert.
        columns: Column to the drift score from which that column alone is an alert.
    """

    drift_share: float = DRIFT_SHARE
    performance_drop: float = PERFORMANCE_DROP
    latency_ms: float | None = None
    missing_share: float | None = None
    silence_hours: float | None = None
    columns: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"columns": {**self.columns}}


def section(workspace: ProjectWorkspace, *, operation: str) -> MonitoringSection:
    """Return what ``workspace.yaml`` says about monitoring now, whenever the project was opened.

    Args:
        workspace: The project.
        operation: The calling method, for errors.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
        ConfigError: A key is unknown or a value makes no sense.
    """
    from mlops.workspace.schema import monitoring_section

    name = workspace.project_name
    stored = ProjectWorkspace.load_metadata(workspace.root_path, project_name=name)
    return monitoring_section(stored.monitoring, project=name, operation=operation)


def in_force(
    configured: MonitoringSection,
    model: str | None,
    given: Mapping[str, Any] | None = None,
    *,
    columns: Iterable[str] | None = None,
    operation: str,
    workspace: str,
) -> Thresholds:
    """Return the thresholds of a model: what is given wins, then the model's own, then the project's.

    Args:
        configured: What ``workspace.yaml`` says.
        model: The model's short name, or None.
        given: Thresholds by name, from code.
        columns: The columns there are; None if they are not known.
        operation: The calling method, for errors.
        workspace: The project, for errors.

    Raises:
        ConfigError: A threshold is unknown or makes no sense, or is for a column that does not exist.
    """
    from pydantic import ValidationError

    from mlops.workspace.schema import THRESHOLDS, ThresholdSection, explained

    try:
        own = ThresholdSection.model_validate(dict(given or {}))
    except ValidationError as error:
        raise ConfigError(
            f"A threshold is wrong: {explained(error)}",
            operation=operation,
            workspace=workspace,
            hint=f"thresholds are {THRESHOLDS}",
        ) from error
    of_model = configured.models.get(model or "", ThresholdSection())
    layers = [configured.thresholds, of_model, own]
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer.model_dump(exclude_none=True, exclude={"columns"})
    of_columns = {name: value for layer in layers for name, value in layer.columns.items()}
    if columns is not None:
        known = set(columns)
        # What is set for the project is about all of its models, whose columns differ.
        if unknown := sorted((of_model.columns.keys() | own.columns.keys()) - known):
            raise ConfigError(
                f"There is a threshold for the column {unknown[0]!r}, which the reference does not have",
                operation=operation,
                workspace=workspace,
                hint=f"its columns are: {', '.join(sorted(known)[:20])}",
            )
        of_columns = {name: value for name, value in of_columns.items() if name in known}
    return Thresholds(**values, columns=of_columns)
