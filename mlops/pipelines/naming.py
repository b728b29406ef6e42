"""The names that pipelines, steps and the values between them may have: they become files and MLflow tags."""

from __future__ import annotations

import re
from typing import Final

from mlops.errors import PipelineError

MAX_LENGTH: Final = 100
_PIPELINE: Final = re.compile(rf"[a-z0-9][a-z0-9_.-]{{0,{MAX_LENGTH - 1}}}", re.IGNORECASE | re.ASCII)
_VALUE: Final = re.compile(rf"\w[\w.-]{{0,{MAX_LENGTH - 1}}}")


def check_pipeline_name(name: str, *, operation: str, workspace: str | None = None) -> str:
    """Return a pipeline's name, or refuse it.

    Args:
        name: ASCII letters, digits, ``_``, ``.`` and ``-``, starting with a letter or digit.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        PipelineError: The name breaks the rule.
    """
    if not isinstance(name, str) or not _PIPELINE.fullmatch(name):
        raise PipelineError(
            f"A pipeline cannot be named {name!r}",
            operation=operation,
            workspace=workspace,
            hint=f"use at most {MAX_LENGTH} letters, digits, '_', '.' and '-', a letter or digit first",
        )
    return name


def check_value_name(name: object, *, what: str, operation: str) -> str:
    """Return the name of a step, an input or an output, or refuse it.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``, not starting with one of the last two.
        what: What is named, for the error.
        operation: The calling method, for the error.

    Raises:
        PipelineError: The name breaks the rule.
    """
    if not isinstance(name, str) or not _VALUE.fullmatch(name):
        raise PipelineError(
            f"{what} cannot be named {name!r}",
            operation=operation,
            hint=f"use at most {MAX_LENGTH} letters, digits, '_', '.' and '-', a letter, digit or '_' first;"
            " a lambda needs step(..., name='...')",
        )
    return name
