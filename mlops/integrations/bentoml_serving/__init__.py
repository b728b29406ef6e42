"""BentoML in one project: a model store, Bentos with a typed service, and servers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.lazy import exporter

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving.adapter import BentoServing as BentoServing
    from mlops.integrations.bentoml_serving.entries import Deployment as Deployment
    from mlops.integrations.bentoml_serving.entries import StoreEntry as StoreEntry
    from mlops.integrations.bentoml_serving.server import Server as Server

__all__ = ["BentoServing", "Deployment", "Server", "StoreEntry"]

__getattr__ = exporter(
    __name__,
    {
        "mlops.integrations.bentoml_serving.adapter": ("BentoServing",),
        "mlops.integrations.bentoml_serving.entries": ("Deployment", "StoreEntry"),
        "mlops.integrations.bentoml_serving.server": ("Server",),
    },
)
