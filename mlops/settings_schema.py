"""The types that settings must have, wherever they come from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mlops.files import LOCK_TIMEOUT_SECONDS


class SettingValues(BaseModel):
    """Some of the values of ``settings.ProjectSettings``, which says what each means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    dvc_remote_path: str | None = None
    bentoml_tag_prefix: str | None = None
    lock_timeout: float = Field(default=LOCK_TIMEOUT_SECONDS, gt=0)


class ToolTable(SettingValues):
    """The table ``[tool.mlops]`` of a pyproject.toml, with ``-`` read as ``_``."""

    base_path: str | None = None
    project: str | None = None
