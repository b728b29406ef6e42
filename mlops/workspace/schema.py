"""The types a ``workspace.yaml`` must have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mlops.workspace.model import now


def _as_text(value: object) -> object:
    # YAML reads an unquoted id of digits as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class WorkspaceFile(BaseModel):
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
    quota: dict[str, Any] = Field(default_factory=dict)
    retention: dict[str, Any] = Field(default_factory=dict)
    schedules: list[dict[str, Any]] = Field(default_factory=list)
    created_at: AwareDatetime = Field(default_factory=now)
    updated_at: AwareDatetime = Field(default_factory=now)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        # A person who empties a key ("tags:") leaves a null behind.
        return (
            {key: value for key, value in values.items() if value is not None}
            if isinstance(values, dict)
            else values
        )
