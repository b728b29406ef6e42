"""What of the tools this machine has, found once for all projects of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from mlops.reporting.facts import Trouble
from mlops.workspace import tools
from mlops.workspace.tools import ToolState

# The tools whose stores are read here without their adapters.
KNOWN: Final = ("mlflow", "dvc", "bentoml", "evidently")
# Evidently needs a function of pandas that 3.1 removed.
_BROKEN_PANDAS: Final = (3, 1)


@dataclass(frozen=True, slots=True)
class Machine:
    """The tools of this machine.

    Args:
        versions: Package to its installed version, or None.
        troubles: Tool to why it cannot be used here, whatever a project holds.
        others: The tools with an adapter beside the four.
    """

    versions: Mapping[str, str | None]
    troubles: Mapping[str, Trouble]
    others: tuple[str, ...]


def look() -> Machine:
    """Find what is installed; nothing is imported."""
    versions = {name: tools.installed_version(name) for name in (*KNOWN, "pandas")}
    troubles: dict[str, Trouble] = {}
    for tool in KNOWN:
        if versions[tool] is None or find_spec(tool) is None:
            troubles[tool] = _absent(tool, tool)
    pandas = versions["pandas"]
    if "evidently" not in troubles and pandas is None:
        troubles["evidently"] = _absent("evidently", "pandas")
    elif pandas is not None and tuple(int(part) for part in pandas.split(".")[:2]) >= _BROKEN_PANDAS:
        message = f"evidently {versions['evidently']} cannot be imported with pandas {pandas}"
        troubles.setdefault("evidently", Trouble("evidently", str(ToolState.UNAVAILABLE), message))
    return Machine(versions, troubles, tuple(name for name in tools.registered() if name not in KNOWN))


def _absent(tool: str, package: str) -> Trouble:
    return Trouble(tool, str(ToolState.NOT_INSTALLED), f"the package {package!r} is not installed")
