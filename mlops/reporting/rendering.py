"""The formats of a report, and reports as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.errors import ConfigError
from mlops.files import write_atomic
from mlops.reporting.printable import json_text

if TYPE_CHECKING:
    from mlops.reporting.report import StatusReport


class Format(StrEnum):
    """How a report can be shown."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "md"
    HTML = "html"


_SUFFIXES: Final[Mapping[str, Format]] = {
    "": Format.TABLE,
    ".txt": Format.TABLE,
    ".json": Format.JSON,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".html": Format.HTML,
    ".htm": Format.HTML,
}
# Imported when they are asked for: a page's templates are nothing for a table.
_MODULES: Final = {Format.TABLE: "plain_text", Format.MARKDOWN: "markdown", Format.HTML: "page"}


def format_of(path: Path, chosen: Format | None = None) -> Format:
    """Return the format of a file: the one chosen, else the one that its name ends with.

    Args:
        path: The file.
        chosen: What was asked for, if anything.

    Raises:
        ConfigError: The ending belongs to another format, or to none and none was chosen.
    """
    suffix = path.suffix.lower()
    ending = _SUFFIXES.get(suffix)
    if chosen is None and ending is None:
        raise ConfigError(
            f"The format of {path.name} cannot be told from {suffix}",
            operation="write",
            hint=f"choose one of the formats {', '.join(Format)}, or a name that ends with "
            f"{', '.join(filter(None, _SUFFIXES))}",
        )
    if chosen is not None and suffix and ending not in (None, chosen):
        raise ConfigError(
            f"{path.name} ends like the format {ending}, and {chosen} was chosen",
            operation="write",
            hint="leave the format out, or give the file another ending",
        )
    return chosen or ending or Format.TABLE


def target_of(path: Path) -> Path:
    """Return the file that a report is to be written to, with links followed, before it is collected.

    Raises:
        ConfigError: The path is a directory or a device, or its directory does not exist.
    """
    named = path.expanduser()
    target = named.resolve()
    # Not asked of the target: a pipe behind /dev/stdout resolves to a path that does not exist.
    if named.exists() and not named.is_file():
        kind = "a directory" if named.is_dir() else "not a file"
        raise ConfigError(
            f"A report cannot be written to {path}: it is {kind}",
            operation="write",
            hint=f"name a file, such as {path / 'report.html' if named.is_dir() else 'report.html'}",
        )
    if not target.parent.is_dir():
        raise ConfigError(
            f"A report cannot be written to {path}: its directory does not exist",
            operation="write",
            hint=f"mkdir -p {target.parent}",
        )
    return target


def render(report: StatusReport, chosen: Format = Format.TABLE) -> str:
    """Return a report as text in a format.

    Args:
        report: The report.
        chosen: The format; JSON is ``report.to_dict()``.
    """
    if chosen is Format.JSON:
        return json_text(report.to_dict()) + "\n"
    shown: Callable[[StatusReport], str] = import_module(f"mlops.reporting.{_MODULES[chosen]}").render
    return shown(report)


def write(report: StatusReport, path: Path, chosen: Format | None = None) -> Path:
    """Write a report whole or not at all, and return the file.

    Args:
        report: The report.
        path: The file; one that exists is replaced.
        chosen: The format; by default the one that the file's name ends with.

    Raises:
        ConfigError: The path is no file's, or its ending and the format do not fit.
    """
    wanted = format_of(path, chosen)
    target = target_of(path)
    write_atomic(target, render(report, wanted))
    return target
