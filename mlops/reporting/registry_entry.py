"""One version of a model as the registry tells of it, whatever framework made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mlops.reporting.facts import CheckFacts, plain

# What an entry is: a version that MLflow's registry has, or a Bento model that it does not have.
REGISTERED: Final = "registered"
PACKAGED: Final = "packaged"


@dataclass(frozen=True, slots=True)
class ModelField:
    """An input or output of a model.

    Args:
        name: The column's name; "" for a tensor, or a column, that has none.
        type: MLflow's type, such as ``double``; ``float64[-1, 4]`` for a tensor, ``array<string>`` or
            ``map<double>`` for what holds others.
        required: Whether it may not be missing.
    """

    name: str
    type: str
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.type}".strip() + ("" if self.required else "?")


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One version of a model.

    Args:
        project: The project.
        model: The model's short name.
        version: The version.
        kind: ``registered``, or ``packaged`` for a Bento model that the registry does not have, such as one
            made of a directory.
        framework: The framework's distribution, such as ``scikit-learn``, or "" if that is not known.
        framework_version: Its version, or "".
        flavor: MLflow's name of it, such as ``sklearn``, or "".
        size_bytes: What its files take on disk, or None if that is not known.
        aliases: The aliases that point to it, sorted.
        tags: The version's tags, those of this library's own among them.
        signature: What it takes and returns, under ``inputs`` and ``outputs``; None if that is not known.
        run_id: The run that made it, or "".
        metrics: That run's latest metrics.
        data: The md5 of each data version it was trained on, by dataset.
        packaged: Whether it is stored as a Bento model.
        bento: The tag of its Bento, or None.
        serving: The addresses of the servers that run it now.
        last_check: Its latest check, or None. One that named no version is about the version in use: the one
            with the alias ``production``, else the newest.
        created_at: When it was registered, or packaged, aware; None if that is not known.
    """

    project: str
    model: str
    version: str
    kind: str
    framework: str = ""
    framework_version: str = ""
    flavor: str = ""
    size_bytes: int | None = None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    signature: Mapping[str, tuple[ModelField, ...]] | None = None
    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    packaged: bool = False
    bento: str | None = None
    serving: tuple[str, ...] = ()
    last_check: CheckFacts | None = None
    created_at: datetime | None = None

    @property
    def drifting(self) -> bool | None:
        """Whether its latest check found drift; None if there is no check."""
        return None if self.last_check is None else self.last_check.drift_detected

    @property
    def made_with(self) -> str:
        """The framework and its version, such as ``scikit-learn==1.9.1``, or ""."""
        return f"{self.framework}=={self.framework_version}" if self.framework_version else self.framework

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = plain(self)
        return values | {"drifting": self.drifting}


def signature_fields(signature: Mapping[str, Any] | None) -> dict[str, tuple[ModelField, ...]] | None:
    """Return the inputs and outputs of a signature; None if it has neither.

    Args:
        signature: Columns or tensors as MLflow writes them, under ``inputs`` and ``outputs``.

    Raises:
        ValueError: It is not what MLflow writes.
    """
    parts = {part: (signature or {}).get(part) for part in ("inputs", "outputs")}
    try:
        found = {part: _fields(value) for part, value in parts.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the signature {signature!r} cannot be understood ({error!r})") from error
    return found if any(found.values()) else None


def _fields(value: Any) -> tuple[ModelField, ...]:
    columns = value if isinstance(value, list) else [value] if value else []
    return tuple(
        ModelField(str(each.get("name", "")), _type(each), bool(each.get("required", True)))
        for each in columns
    )


def _type(column: Mapping[str, Any]) -> str:
    kind = str(column.get("type", ""))
    if kind == "tensor":
        spec = column["tensor-spec"]
        return f"{spec['dtype']}{spec['shape']}"
    if kind in ("array", "map"):
        return f"{kind}<{_type(column['items' if kind == 'array' else 'values'])}>"
    if kind == "object":
        parts = ", ".join(f"{name} {_type(of)}" for name, of in column["properties"].items())
        return f"object<{parts}>"
    return kind
