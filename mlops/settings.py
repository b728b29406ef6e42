"""Settings and where each comes from.

Precedence: argument, ``MLOPS_*`` environment, ``workspace.yaml``, ``[tool.mlops]`` of pyproject.toml,
default. The tools' own environment variables (``MLFLOW_TRACKING_URI`` and friends) are not read: they would
point every project at one store.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mlops.errors import ConfigError
from mlops.files import LOCK_TIMEOUT_SECONDS

ENV_PREFIX: Final = "MLOPS_"
DEFAULT_BASE: Final = Path("mlops") / "workspace"
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The settings in force for one project.

    Args:
        mlflow_tracking_uri: A server or database URI; None for the workspace's own SQLite store.
        mlflow_experiment_name: The experiment's name; None for the project's name.
        dvc_remote_path: A URL, or a path relative to the workspace; None for ``dvc/remote``.
        bentoml_tag_prefix: Prefix of registered models and Bento tags; None for ``<project>.``.
        lock_timeout: Seconds to wait for another process on the same project.
    """

    mlflow_tracking_uri: str | None = None
    mlflow_experiment_name: str | None = None
    dvc_remote_path: str | None = None
    bentoml_tag_prefix: str | None = None
    lock_timeout: float = LOCK_TIMEOUT_SECONDS


NAMES: Final = tuple(each.name for each in fields(ProjectSettings))
_TEXT: Final = frozenset(NAMES) - {"lock_timeout"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings with the layer each value came from."""

    settings: ProjectSettings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BaseLocation:
    """Where the workspaces are kept.

    Args:
        path: The base path.
        root: The directory that relative globs start from: the repository, or the working directory.
        origin: The layer the path came from.
    """

    path: Path
    root: Path
    origin: str


def resolve(
    *,
    arguments: Mapping[str, Any] | None = None,
    workspace: Mapping[str, Any] | None = None,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge the layers, first one wins.

    Args:
        arguments: What the caller passed; None counts as not given.
        workspace: The workspace's own values; None counts as not set.
        directory: Where the search for a pyproject.toml starts; None for no such layer.
        environ: The environment, ``os.environ`` by default.

    Raises:
        ConfigError: A value has the wrong type, a key is unknown, or ``${NAME}`` is not in the environment.
    """
    environment = os.environ if environ is None else environ
    table, table_path = tool_table(directory) if directory else ({}, None)
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("argument", arguments or {}),
        ("environment", {n: environment.get(variable(n)) or None for n in NAMES}),
        ("workspace.yaml", workspace or {}),
        (str(table_path), {n: table.get(n) for n in NAMES}),
    ]
    if unknown := sorted(set(arguments or {}) - set(NAMES)):
        raise ConfigError(
            f"Unknown setting {unknown[0]!r}",
            operation="resolve",
            hint=f"settings are: {', '.join(NAMES)}",
        )
    values: dict[str, Any] = {}
    origins = dict.fromkeys(NAMES, "default")
    for name in NAMES:
        for origin, layer in layers:
            if (value := layer.get(name)) is not None:
                values[name] = expand(value, environment, setting=name)
                origins[name] = origin
                break
    return Resolved(ProjectSettings(**_checked(values, source="the settings", origins=origins)), origins)


def variable(setting: str) -> str:
    """Return the environment variable of a setting, such as ``MLOPS_DVC_REMOTE_PATH``."""
    return ENV_PREFIX + setting.upper()


def expand(value: Any, environ: Mapping[str, str], *, setting: str) -> Any:
    """Replace ``${NAME}`` in text by the environment's value.

    Raises:
        ConfigError: The variable is not set.
    """
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        try:
            return environ[match[1]]
        except KeyError:
            raise ConfigError(
                f"The setting {setting} refers to ${{{match[1]}}}, which is not in the environment",
                operation="resolve",
                hint=f"export {match[1]}, or change the setting",
            ) from None

    return _REFERENCE.sub(lookup, value)


def find_base(
    *,
    base_path: Path | str | None = None,
    repo_root: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
) -> BaseLocation:
    """Find the directory that holds the workspaces; nothing is created.

    Every ancestor of the working directory is looked at in turn, so that one base is found from any
    subdirectory: a ``[tool.mlops] base-path``, an existing base, a ``.git``, or a ``[tool.mlops]`` table that
    does more than name a project ends the search.

    Args:
        base_path: The base itself; wins over everything.
        repo_root: A repository; its base is ``mlops/workspace`` below it.
        environ: The environment, ``os.environ`` by default.

    Raises:
        ConfigError: A pyproject.toml on the way cannot be read.
    """
    environment = os.environ if environ is None else environ
    here = Path.cwd()
    if base_path is not None:
        path = Path(base_path).expanduser().absolute()
        return BaseLocation(path, Path(repo_root).absolute() if repo_root else here, "argument")
    if repo_root is not None:
        root = Path(repo_root).expanduser().absolute()
        return BaseLocation(root / DEFAULT_BASE, root, "argument")
    if configured := environment.get(variable("base_path")):
        return BaseLocation(Path(configured).expanduser().absolute(), here, "environment")
    named_only: Path | None = None
    for directory in (here, *here.parents):
        pyproject = directory / "pyproject.toml"
        table = read_table(pyproject)
        if table and table.get("base_path"):
            return BaseLocation(
                (directory / Path(table["base_path"]).expanduser()), directory, str(pyproject)
            )
        if (directory / DEFAULT_BASE / ".mlops").is_dir():
            return BaseLocation(directory / DEFAULT_BASE, directory, "existing base")
        if (directory / ".git").exists() or (table and not table.get("project")):
            return BaseLocation(directory / DEFAULT_BASE, directory, "default")
        if table and named_only is None:
            named_only = directory
    root = named_only or here
    return BaseLocation(root / DEFAULT_BASE, root, "default")


def find_project_name(directory: Path | None = None) -> str:
    """Return the project to use where none is named.

    ``MLOPS_PROJECT`` names it (``mlops run`` sets that for its command), else ``[tool.mlops] project`` or
    ``[project] name`` of the nearest pyproject.toml.

    Args:
        directory: Where the search starts; the working directory by default.

    Raises:
        ConfigError: There is no pyproject.toml, or it names no project.
    """
    if directory is None and (named := os.environ.get(variable("project"))):
        return named
    start = (directory or Path.cwd()).absolute()
    hint = "pass the name, or set [tool.mlops] project (or [project] name) in the project's pyproject.toml"
    for candidate in (start, *start.parents):
        path = candidate / "pyproject.toml"
        if path.is_file():
            if name := project_name_in(path):
                return name
            raise ConfigError(
                f"No project name was given, and {path} has none", operation="from_project", hint=hint
            )
    raise ConfigError(
        f"No project name was given, and there is no pyproject.toml in {start} or above",
        operation="from_project",
        hint=hint,
    )


def project_name_in(path: Path) -> str | None:
    """Return the name one pyproject.toml gives its project, or None."""
    document = _read_toml(path)
    table = read_table(path) or {}
    section = document.get("project")
    own = section.get("name") if isinstance(section, dict) else None
    name = table.get("project") or own
    return str(name) if name else None


def tool_table(directory: Path) -> tuple[dict[str, Any], Path | None]:
    """Return the nearest ``[tool.mlops]`` table at or above a directory, and the file it is in."""
    for candidate in (directory.absolute(), *directory.absolute().parents):
        path = candidate / "pyproject.toml"
        if table := read_table(path):
            return table, path
    return {}, None


def read_table(path: Path) -> dict[str, Any] | None:
    """Return the checked ``[tool.mlops]`` table of one file, or None if it has none.

    Raises:
        ConfigError: The file is not valid TOML, or a key is unknown or has the wrong type.
    """
    tools = _read_toml(path).get("tool")
    table = tools.get("mlops") if isinstance(tools, dict) else None
    if not isinstance(table, dict):
        return None
    values = {key.replace("-", "_"): value for key, value in table.items()}
    return _checked(values, source=f"[tool.mlops] in {path}", table=True)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        return _parsed(path, (status.st_ino, status.st_mtime_ns, status.st_size))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", operation="resolve", hint="repair the file"
        ) from error


# One file is asked for every project of a base, and takes longer to parse than a project to read.
@lru_cache(maxsize=16)
def _parsed(path: Path, _state: tuple[int, ...]) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _checked(
    values: Mapping[str, Any], *, source: str, origins: Mapping[str, str] | None = None, table: bool = False
) -> dict[str, Any]:
    # Nearly all settings are text, and to import what checks the others takes longer than to open a project.
    plain = _TEXT | {"base_path", "project"} if table else _TEXT
    if all(key in plain and type(value) is str for key, value in values.items()):
        return dict(values)
    from pydantic import ValidationError

    from mlops.settings_schema import SettingValues, ToolTable

    model = ToolTable if table else SettingValues
    try:
        return model.model_validate(dict(values)).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        where = f" (from {origins[key]})" if origins and key in origins else ""
        known = ", ".join(name.replace("_", "-") for name in model.model_fields)
        raise ConfigError(
            f"Bad value for {key!r} in {source}{where}: {first['msg']}",
            operation="resolve",
            details={"key": key},
            hint=f"known keys: {known}",
        ) from error
