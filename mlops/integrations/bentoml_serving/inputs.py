"""What a caller may store with a model: checked before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from mlops.errors import IntegrationError

# Labels this library writes itself, and finds models by.
OWN_LABELS: Final = ("project", "model", "version")
# What YAML has no place for, or changes: one such character would make BentoML refuse the whole store.
_UNSTORABLE: Final = re.compile("[\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_labels(labels: Mapping[str, Any] | None, *, operation: str, workspace: str) -> dict[str, str]:
    """Return labels as text.

    Raises:
        IntegrationError: A key is no text or is one of this library's own, a value is no plain value, or one
            of them has a character that BentoML's files cannot hold.
    """
    checked: dict[str, str] = {}
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float)):
            raise _error(
                f"The label {key!r}: {value!r} is not text", operation, workspace, "use text for both"
            )
        if key in OWN_LABELS:
            raise _error(
                f"The label {key!r} is written by mlops itself", operation, workspace, "use another key"
            )
        if _UNSTORABLE.search(f"{key}{value}"):
            raise _error(
                f"The label {key!r}: {value!r} has a control character, which BentoML cannot store",
                operation,
                workspace,
                "use printable text",
            )
        checked[key] = str(value)
    return checked


def check_metadata(metadata: Mapping[str, Any] | None, *, operation: str, workspace: str) -> dict[str, Any]:
    """Return metadata as values that BentoML's file format can hold.

    Raises:
        IntegrationError: A value is None or of another type; BentoML could not read the model again.
    """

    def plain(value: Any, place: str) -> Any:
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        if isinstance(value, (str, int, float)) and not _UNSTORABLE.search(str(value)):
            return value
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, (list, tuple)):
            return [plain(item, f"{place}[{at}]") for at, item in enumerate(value)]
        if isinstance(value, Mapping) and not any(
            not isinstance(key, str) or _UNSTORABLE.search(key) for key in value
        ):
            return {key: plain(item, f"{place}.{key}") for key, item in value.items()}
        raise _error(
            f"The metadata {place!r} holds a {type(value).__name__} that BentoML cannot store",
            operation,
            workspace,
            "use printable text, numbers, booleans, dates, lists and dictionaries; leave out what is None",
        )

    if metadata and "mlops" in metadata:
        raise _error(
            "The metadata key 'mlops' is used by mlops itself", operation, workspace, "use another key"
        )
    checked: dict[str, Any] = plain(dict(metadata or {}), "metadata")
    return checked


def _error(message: str, operation: str, workspace: str, hint: str) -> IntegrationError:
    return IntegrationError(message, tool="bentoml", operation=operation, workspace=workspace, hint=hint)
