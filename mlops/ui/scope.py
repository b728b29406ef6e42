"""What one MLflow UI shows, as the URI that MLflow hands to its plugins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

SCHEME: Final = "mlops-base"


@dataclass(frozen=True, slots=True)
class Scope:
    """The projects that one MLflow server serves.

    Args:
        base: The directory that holds the workspaces; absolute.
        root: The repository whose pyproject.toml is the lowest layer of the settings; absolute.
        project: Serve only this project; None for all of the base.
    """

    base: Path
    root: Path
    project: str | None = None

    @property
    def uri(self) -> str:
        """The scope as a store URI, such as ``mlops-base:///work/mlops/workspace?root=%2Fwork``."""
        query = {"root": str(self.root)}
        if self.project is not None:
            query["project"] = self.project
        return f"{SCHEME}://{quote(str(self.base))}?{urlencode(query)}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI that ``uri`` made, or one with only a path, typed by a person.

        Args:
            uri: A store URI of this scheme; without ``root`` the base itself is taken for it.
        """
        parts = urlsplit(uri)
        query = parse_qs(parts.query)
        base = Path(unquote(parts.path))
        (root,) = query.get("root", [str(base)])
        (project,) = query.get("project", [None])
        return cls(base, Path(root), project)
