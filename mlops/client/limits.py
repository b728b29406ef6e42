"""The one rule for ``limit`` arguments: a whole number of at least 0, or None for all."""

from __future__ import annotations

from mlops.errors import ConfigError


def check_limit(limit: object, *, operation: str, workspace: str) -> None:
    """Refuse anything else.

    Args:
        limit: What the caller gave.
        operation: The calling method, for the error.
        workspace: The project, for the error.

    Raises:
        ConfigError: It is another value.
    """
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0):
        return
    raise ConfigError(
        f"limit must be a whole number of at least 0, or None for all, not {limit!r}",
        operation=operation,
        workspace=workspace,
        hint="pass limit=100",
    )
