"""What a server says about its model: where it came from, and what it takes and gives."""

from __future__ import annotations

import json
from typing import Any


def describe(stored: Any, metadata: Any) -> dict[str, Any]:
    """Return plain JSON values.

    Args:
        stored: The Bento model.
        metadata: What MLflow read from the model's own file.
    """
    info = stored.info
    signature = metadata.signature.to_dict() if metadata.signature else None
    return {
        "name": info.tag.name,
        "version": info.tag.version,
        "tag": str(info.tag),
        "run_id": info.labels.get("run_id") or metadata.run_id,
        "created_at": info.creation_time.isoformat(),
        # The project, and whatever the one who deployed it wrote: data versions, the commit, the stage.
        "labels": dict(info.labels),
        "metadata": {key: value for key, value in info.metadata.items() if key != "mlops"},
        "signature": {key: json.loads(value) for key, value in signature.items() if value}
        if signature
        else None,
        "mlflow_version": metadata.mlflow_version,
    }
