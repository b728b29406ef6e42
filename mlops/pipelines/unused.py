"""Stored outputs of steps that nothing names any more, and the results kept for steps with ``cache=True``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlops.integrations.mlflow_tracking.leftovers import tag_values
from mlops.pipelines.catalogue import DIRECTORY
from mlops.pipelines.outputs import StoredOutput
from mlops.pipelines.recording import OUTPUT_TAG, PARAMS_TAG

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

# A step names what it stored right after it; what is younger may be about to be named.
_SETTLED_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Unused:
    """What could go.

    Args:
        outputs: Stored values that neither a run nor a kept result names.
        results: Kept results of steps with ``cache=True``; the steps run again without them.
        only_kept: Stored values that only kept results name.
    """

    outputs: tuple[Path, ...] = ()
    results: tuple[Path, ...] = ()
    only_kept: tuple[Path, ...] = ()


def unused(tracking: MLflowTracking, *, operation: str) -> Unused:
    """Return what could go of a project's stored outputs; nothing is changed.

    Runs that were deleted count until ``mlflow gc`` has removed them. With a tracking server, whose deleted
    runs cannot be listed cheaply, no output counts as unused.

    Args:
        tracking: The project's adapter.
        operation: The calling method, for errors.

    Raises:
        IntegrationUnavailableError: The store is of a version of MLflow that is not known here.
    """
    root = tracking.context.workspace.root_path / DIRECTORY
    # Before what names them, so that none is missed that was named meanwhile.
    stored = sorted((root / "objects").glob("*/*"))
    results = tuple(sorted((root / "cache").glob("*/*.json")))
    texts = tag_values(tracking, OUTPUT_TAG, PARAMS_TAG, operation=operation)
    if texts is None:
        return Unused(results=results)
    by_runs = _digests(texts)
    kept = _digests(text for path in results for text in _outputs(path))
    named = by_runs | kept
    return Unused(
        tuple(path for path in stored if path.stem not in named and _settled(path)),
        results,
        tuple(path for path in stored if path.stem in kept - by_runs),
    )


def _settled(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _SETTLED_SECONDS
    except FileNotFoundError:
        return False


def _digests(texts: Iterable[str]) -> set[str]:
    found = set()
    for text in texts:
        try:
            found.add(StoredOutput.from_text(text).digest)
        except ValueError:
            continue
    return found


def _outputs(path: Path) -> list[str]:
    try:
        return [str(text) for text in json.loads(path.read_bytes())["outputs"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Of no use: such a result is never found, and its step runs again.
        return []
