"""The one place where names are checked and every derived name is made.

Names are rejected, never sanitised: two spellings must not silently become one project.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mlops.errors import InvalidModelNameError, InvalidProjectNameError

PROJECT_NAME: Final = re.compile(r"\A[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?\Z")
MODEL_NAME: Final = re.compile(r"\A[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\Z")
MAX_PROJECT_LENGTH: Final = 40
# A Bento name is at most 63 characters (bentoml/_internal/tag.py), and `<project>.<model>` must fit.
MAX_FULL_MODEL_LENGTH: Final = 63

_DEVICES: Final = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
RESERVED: Final = frozenset({"mlops", "default", "latest", "workspaces", "api"} | _DEVICES)

DVC_REMOTE: Final = "project"

_RULE: Final = (
    "use 1 to 40 characters: lower-case letters a-z, digits, '-' and '_', "
    "starting and ending with a letter or digit"
)


def suggest_project_name(name: str) -> str:
    """Return the valid project name nearest to ``name``, for use in error messages only."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    candidate = re.sub(r"[^a-z0-9_-]+", "-", ascii_name)[:MAX_PROJECT_LENGTH].strip("-_")
    if not candidate:
        return "my-project"
    return f"{candidate}-project" if candidate in RESERVED else candidate


def validate_project_name(name: object, *, operation: str | None = None) -> str:
    """Check a project name and return it unchanged.

    Args:
        name: The name as the user gave it.
        operation: The calling method, for the error.

    Raises:
        InvalidProjectNameError: With the rule and the nearest valid name.
    """
    if not isinstance(name, str):
        raise InvalidProjectNameError(
            f"A project name must be a string, not {type(name).__name__}", operation=operation, hint=_RULE
        )
    if name in RESERVED:
        problem = f"Invalid project name {name!r}: it is reserved"
    elif PROJECT_NAME.match(name):
        return name
    else:
        problem = f"Invalid project name {name!r}: {_RULE}"
    suggestion = suggest_project_name(name)
    raise InvalidProjectNameError(
        f"{problem}. The nearest valid name is {suggestion!r}.",
        operation=operation,
        workspace=name,
        details={"suggestion": suggestion},
        hint=f"use {suggestion!r}, or another name of that form",
    )


def slug(project: str) -> str:
    """Return the name as MLflow workspaces and Kubernetes accept it; two projects may not share it."""
    return project.replace("_", "-")


def default_tag_prefix(project: str) -> str:
    """Return the prefix of the project's registered models and Bento tags."""
    return f"{project}."


def validate_model_name(model: object, *, project: str, operation: str | None = None) -> str:
    """Check a model's short name, without the project prefix, and return it unchanged.

    Args:
        model: The short name, such as ``classifier``.
        project: The project it will belong to; the two names share 63 characters.
        operation: The calling method, for the error.

    Raises:
        InvalidModelNameError: With the rule.
    """
    rule = "use lower-case letters a-z, digits, '.', '_' and '-', starting and ending with a letter or digit"
    if not isinstance(model, str) or not MODEL_NAME.match(model):
        raise InvalidModelNameError(
            f"Invalid model name {model!r}: {rule}", operation=operation, workspace=project, hint=rule
        )
    full = f"{project}.{model}"
    if len(full) > MAX_FULL_MODEL_LENGTH:
        raise InvalidModelNameError(
            f"Invalid model name {model!r}: {full!r} has {len(full)} characters, "
            f"and project and model together may have {MAX_FULL_MODEL_LENGTH}",
            operation=operation,
            workspace=project,
            hint=f"shorten the model name to {MAX_FULL_MODEL_LENGTH - len(project) - 1} characters",
        )
    return model


def validate_version(version: object, *, project: str, operation: str | None = None) -> str:
    """Check a model version (``1``, ``v3``, ``2026.1``) and return it as text.

    Raises:
        InvalidModelNameError: If it is ``latest``, too long, or has characters a Bento tag refuses.
    """
    text = str(version)
    if text == "latest" or len(text) > MAX_FULL_MODEL_LENGTH or not MODEL_NAME.match(text):
        raise InvalidModelNameError(
            f"Invalid version {version!r}: use lower-case letters, digits, '.', '_' and '-', "
            "at most 63 characters, and not 'latest'",
            operation=operation,
            workspace=project,
            hint="name the exact version, such as '3'",
        )
    return text


def full_model_name(project: str, model: str) -> str:
    """Return the name the model has in the registry and as a Bento: ``<project>.<model>``."""
    return f"{project}.{model}"


def split_model_name(full_name: str) -> tuple[str, str]:
    """Split ``<project>.<model>``; a project has no dot, so the first dot decides."""
    project, _, model = full_name.partition(".")
    return project, model
