"""The types a ``workspace.yaml`` must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from mlops.errors import ConfigError
from mlops.workspace.model import DIRECTORIES, now
from mlops.workspace.sizes import parse_size


def _as_text(value: object) -> object:
    # YAML reads an unquoted id of digits as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_url(value: str) -> str:
    if not value.startswith(("http://", "https://", "${")):
        raise ValueError("it must be an http:// or https:// URL, or begin with a ${NAME} that holds one")
    return value


class _Section(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        # A person who empties a key ("tags:") leaves a null behind.
        return (
            {key: value for key, value in values.items() if value is not None}
            if isinstance(values, dict)
            else values
        )


SectionT = TypeVar("SectionT", bound=_Section)
Text = Annotated[str, BeforeValidator(_as_text)]
Above = Annotated[float, Field(gt=0)]


class ThresholdSection(_Section):
    """The numbers from which a check raises an alert; what is not set stays as it was.

    Args:
        drift_share: Share of drifted columns, above 0 up to 1.
        columns: Column to the drift score from which that column alone is an alert, in the score's own unit.
        performance_drop: Loss of a metric relative to the reference, such as 0.1 for a tenth.
        latency_ms: Milliseconds that 95 % of the requests stay below.
        missing_share: Share of missing cells of a batch, 0 to 1.
        silence_hours: Hours without a prediction in the log, for ``watch``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    drift_share: Annotated[float, Field(gt=0, le=1)] | None = None
    columns: dict[str, Above] = Field(default_factory=dict)
    performance_drop: Annotated[float, Field(ge=0)] | None = None
    latency_ms: Above | None = None
    missing_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    silence_hours: Above | None = None


class MonitoringSection(_Section):
    """The section ``monitoring`` of a ``workspace.yaml``.

    Args:
        thresholds: For every model of the project.
        models: Model to the thresholds that are its own; they win over those of the project.
        webhooks: URLs that new alerts are sent to as JSON; ``${NAME}`` stands for a variable of the
            environment, and a secret belongs into one.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    thresholds: ThresholdSection = Field(default_factory=ThresholdSection)
    models: dict[str, ThresholdSection] = Field(default_factory=dict)
    webhooks: list[Annotated[str, AfterValidator(_as_url)]] = Field(default_factory=list)


def monitoring_section(values: Mapping[str, Any], *, project: str, operation: str) -> MonitoringSection:
    """Check the section ``monitoring``.

    Args:
        values: The section as it was read or given.
        project: The project, for errors.
        operation: The calling method, for errors.

    Raises:
        ConfigError: A key is unknown or a value makes no sense; all of them are named.
    """
    hint = f"keys are thresholds, models and webhooks; thresholds are {THRESHOLDS}"
    return _checked(MonitoringSection, dict(values), "monitoring", project, operation, hint)


def _checked(
    section: type[SectionT], values: object, name: str, project: str, operation: str, hint: str
) -> SectionT:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"The {name} section of {project!r} is wrong: {explained(error, name)}",
            operation=operation,
            workspace=project,
            hint=hint,
        ) from error


def explained(error: ValidationError, *above: str) -> str:
    """Return what is wrong with each value, by its place.

    Args:
        error: What the validation found.
        *above: The place of the values that were validated.
    """
    problems = []
    for each in error.errors():
        place = ".".join((*above, *(str(part) for part in each["loc"] if part != "[key]")))
        if each["type"] == "extra_forbidden":
            problems.append(f"{place} is no key that is known")
        else:
            problems.append(f"{place}: {each['msg'].removeprefix('Value error, ')}, not {each['input']!r}")
    return "; ".join(problems)


THRESHOLDS: Final = ", ".join(ThresholdSection.model_fields)


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
# What a limit of a tool may be called where its directory has another name than the tool.
_DIRECTORY_OF: Final = {"bentoml": "models", "evidently": "monitoring"}


class LimitSection(_Section):
    """How much may be stored: bytes, or text such as ``10GB`` (decimal) and ``500 MiB`` (binary).

    Args:
        soft: What is reported and logged when it is exceeded.
        hard: What nothing is stored beyond.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    soft: Size | None = None
    hard: Size | None = None

    @model_validator(mode="after")
    def _soft_comes_first(self) -> Self:
        if self.soft is not None and self.hard is not None and self.soft > self.hard:
            raise ValueError("soft must be at most hard")
        return self


def directory_of(name: str) -> str:
    """Return the directory of the workspace that a limit's name means: a directory's, or a tool's."""
    return _DIRECTORY_OF.get(name, name)


def _as_directory(name: str) -> str:
    directory = directory_of(name)
    if directory not in DIRECTORIES:
        raise ValueError(f"it must be one of {', '.join((*DIRECTORIES, *_DIRECTORY_OF))}")
    return directory


def _each_once(values: Any) -> Any:
    for other, name in _DIRECTORY_OF.items():
        if isinstance(values, dict) and other in values and name in values:
            raise ValueError(f"it must have {other} and {name} once, which are the same")
    return values


class QuotaSection(LimitSection):
    """The section ``quota`` of a ``workspace.yaml``: limits on all that the workspace holds.

    Args:
        tools: Limits on one directory of the workspace each, by its name or by its tool's.
    """

    tools: Annotated[
        dict[Annotated[str, AfterValidator(_as_directory)], LimitSection], BeforeValidator(_each_once)
    ] = Field(default_factory=dict)


def quota_section(values: object, *, project: str, operation: str) -> QuotaSection:
    """Check the section ``quota``.

    Args:
        values: The section as it was read or given.
        project: The project, for errors.
        operation: The calling method, for errors.

    Raises:
        ConfigError: A key is unknown or a value makes no sense; all of them are named.
    """
    hint = (
        "write it like {soft: 8GB, hard: 10GB, tools: {dvc: {hard: 5GB}}}; one that is wrong in the file "
        f"goes with: mlops quota {project} --clear"
    )
    return _checked(QuotaSection, values, "quota", project, operation, hint)


class RetentionSection(_Section):
    """The section ``retention`` of a ``workspace.yaml``: what is kept of the snapshots of checks.

    Args:
        snapshots: At most so many.
        days: At most so old.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    snapshots: Annotated[int, Field(ge=1)] | None = None
    days: Above | None = None


def retention_section(values: object, *, project: str, operation: str) -> RetentionSection:
    """Check the section ``retention``; arguments and errors are those of ``quota_section``."""
    hint = "write it in workspace.yaml like retention: {snapshots: 500, days: 90}"
    return _checked(RetentionSection, values, "retention", project, operation, hint)


class WorkspaceFile(_Section):
    """One ``workspace.yaml``, schema version 1; keys it does not know are kept."""

    model_config = ConfigDict(extra="allow")

    id: Text
    project_name: str
    description: str = ""
    mlflow_experiment_id: Text | None = None
    mlflow_tracking_uri: str | None = None
    dvc_remote_path: str | None = None
    bentoml_tag_prefix: str | None = None
    evidently_project_id: Text | None = None
    tags: dict[str, Text] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    # Checked by quota_section and retention_section where they are used, like monitoring.
    quota: Any = Field(default_factory=dict)
    retention: dict[str, Any] = Field(default_factory=dict)
    schedules: list[dict[str, Any]] = Field(default_factory=list)
    # Checked by monitoring_section where it is used: a mistyped threshold must not close the whole project.
    monitoring: dict[str, Any] = Field(default_factory=dict)
    created_at: AwareDatetime = Field(default_factory=now)
    updated_at: AwareDatetime = Field(default_factory=now)
