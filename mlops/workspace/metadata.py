"""Reading and writing ``workspace.yaml``: the schema, its versions, and text that people can edit."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import names, plain_yaml
from mlops.errors import ConfigError, InvalidProjectNameError, WorkspaceCorruptError

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

SCHEMA_VERSION: Final = 1
_TEXT: Final = (str,)
_TEXT_OR_NULL: Final = (str, type(None))
_MAPPING: Final = (dict,)
# The types of a file that this library wrote and nobody edited.
_AS_WRITTEN: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("id", "project_name", "description", "created_at", "updated_at"), _TEXT),
    **dict.fromkeys(("mlflow_experiment_id", "mlflow_tracking_uri", "dvc_remote_path"), _TEXT_OR_NULL),
    **dict.fromkeys(("bentoml_tag_prefix", "evidently_project_id"), _TEXT_OR_NULL),
    **dict.fromkeys(("tags", "metadata", "quota", "retention", "monitoring"), _MAPPING),
    "schedules": (list,),
}


def dump(workspace: ProjectWorkspace) -> str:
    """Return the file's text; values that follow from the name or the id are written as null."""
    import yaml

    from mlops.workspace.model import FIELDS

    values: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    values.update((name, getattr(workspace, name)) for name in FIELDS)
    if workspace.bentoml_tag_prefix == names.default_tag_prefix(workspace.project_name):
        values["bentoml_tag_prefix"] = None
    for name in ("created_at", "updated_at"):
        values[name] = values[name].isoformat()
    values.update(workspace.extra)
    try:
        return yaml.dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=110)
    except yaml.representer.RepresenterError as error:
        raise ConfigError(
            f"The configuration of {workspace.project_name!r} has an unsupported value: {error.args[-1]!r}",
            operation="save_metadata",
            workspace=workspace.project_name,
            hint="use text, numbers, booleans, dates, lists and dictionaries",
        ) from error


def migrate(values: dict[str, Any], version: int) -> dict[str, Any]:
    """Bring a file of an older schema forward.

    Version 0 is the earlier system's file, which had no version: it recorded its own absolute path, one
    tracking store shared by all projects, tag prefixes BentoML refuses, and times without a zone.
    """
    if version >= SCHEMA_VERSION:
        return values
    values = {key: value for key, value in values.items() if key != "root_path"}
    values.setdefault(
        "id", str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlops-workspace:{values.get('project_name')}"))
    )
    if str(values.get("mlflow_tracking_uri", "")).startswith("file:"):
        values["mlflow_tracking_uri"] = values["mlflow_experiment_id"] = None
    if str(values.get("bentoml_tag_prefix", "")).endswith(":"):
        values["bentoml_tag_prefix"] = None
    for key in ("created_at", "updated_at"):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            moment = datetime.fromisoformat(str(values[key]))
            values[key] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return values


def parse(text: bytes, *, path: Path, project_name: str | None) -> dict[str, Any]:
    """Return the constructor arguments that a file's text stands for.

    Args:
        text: The file's bytes.
        path: The file, for messages.
        project_name: The name that replaces the file's, or None.

    Raises:
        WorkspaceCorruptError: The text is not a workspace this version can read.
    """
    import yaml

    label = project_name or path.parent.name

    def corrupt(reason: str, hint: str) -> WorkspaceCorruptError:
        return WorkspaceCorruptError(
            f"Failed to load workspace metadata from {path}: {reason}",
            operation="load_metadata",
            workspace=label,
            details={"path": str(path), "reason": reason},
            hint=hint,
        )

    repair = "repair the file or restore it from version control; it was not changed"
    try:
        values = plain_yaml.load(text.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise corrupt(f"it is not valid YAML ({_one_line(error)})", repair) from error
    if not values:
        raise corrupt("it is empty", repair)
    if not isinstance(values, dict):
        raise corrupt(f"it holds a {type(values).__name__}, not a mapping", repair)
    version = values.pop("schema_version", 0)
    if not isinstance(version, int) or version < 0:
        raise corrupt(f"schema_version {version!r} is not a version number", repair)
    if version > SCHEMA_VERSION:
        raise corrupt(
            f"it has schema version {version}, and this mlops reads up to {SCHEMA_VERSION}",
            "upgrade with: pip install -U mlops-workspaces",
        )
    values = migrate(values, version)
    if project_name is not None:
        values["project_name"] = project_name
    try:
        arguments = as_written(values) or _validated(values)
        names.validate_project_name(arguments["project_name"])
    except (ValueError, InvalidProjectNameError) as error:
        raise corrupt(str(error), repair) from error
    return arguments


def as_written(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the constructor arguments if a file says all that ``dump`` writes, in just that form, else None.

    Nearly every file does; pydantic, which reads the others, takes longer to import than a project to open.

    Args:
        values: What the file says, without its schema version.
    """
    if len(values) != len(_AS_WRITTEN) or any(
        type(values.get(name)) not in kinds for name, kinds in _AS_WRITTEN.items()
    ):
        return None
    mappings = (values["tags"], values["metadata"], values["retention"], values["monitoring"])
    if not (
        all(type(each) is dict for each in values["schedules"])
        and all(type(key) is str for each in (*mappings, *values["schedules"]) for key in each)
        and all(type(each) is str for each in values["tags"].values())
    ):
        return None
    moments = {}
    for name in ("created_at", "updated_at"):
        try:
            moments[name] = datetime.fromisoformat(values[name])
        except ValueError:
            return None
        if moments[name].tzinfo is None or moments[name].isoformat() != values[name]:
            return None
    return {**values, **moments, "extra": {}}


def _validated(values: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    from mlops.workspace.schema import WorkspaceFile

    try:
        parsed = WorkspaceFile.model_validate(values)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError("; ".join(problems)) from error
    arguments: dict[str, Any] = {name: getattr(parsed, name) for name in WorkspaceFile.model_fields}
    return {**arguments, "extra": dict(parsed.model_extra or {})}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _dumper() -> Any:
    import yaml

    return getattr(yaml, "CSafeDumper", yaml.SafeDumper)
