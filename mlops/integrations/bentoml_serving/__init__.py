"""BentoML in one project: a model store, Bentos with a typed service, and servers of its own."""

from __future__ import annotations

from mlops.integrations.bentoml_serving.adapter import BentoServing
from mlops.integrations.bentoml_serving.entries import Deployment, StoreEntry
from mlops.integrations.bentoml_serving.server import Server

__all__ = ["BentoServing", "Deployment", "Server", "StoreEntry"]
