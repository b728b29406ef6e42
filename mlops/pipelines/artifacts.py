"""The stored outputs of a project's pipelines, as they appear among its artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlops.integrations.mlflow_tracking.queries import STEP_TAG
from mlops.pipelines.catalogue import DIRECTORY
from mlops.pipelines.recording import REUSED_TAG, outputs_of

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking


def step_outputs(tracking: MLflowTracking) -> Iterator[dict[str, Any]]:
    """Yield what steps returned, once for each step run that made it; steps that reused a result made none.

    Args:
        tracking: The project's adapter.

    Yields:
        Dictionaries with ``name`` (the output's), ``type`` (``model``, ``data``, ``metrics``, ``report`` or
        ``file``), ``python_type``, ``step``, ``run_id`` (the step's run), ``created_at``, ``bytes``,
        ``digest`` and ``uri`` (``output:<digest>``).
    """
    workspace = tracking.context.workspace
    if not (workspace.root_path / DIRECTORY / "objects").is_dir():
        return
    for run in tracking.each_run():
        tags = run["tags"]
        if STEP_TAG not in tags or REUSED_TAG in tags:
            continue
        for name, stored in outputs_of(tags).items():
            yield {
                "name": name,
                "type": stored.kind,
                "python_type": stored.type,
                "step": tags[STEP_TAG],
                "run_id": run["run_id"],
                "created_at": run["end_time"] or run["start_time"],
                "bytes": stored.bytes,
                "digest": stored.digest,
                "uri": f"output:{stored.digest}",
            }
