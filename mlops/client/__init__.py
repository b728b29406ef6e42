"""The client: one project's everyday verbs, over the four tools."""

from __future__ import annotations

from mlops.client.client import MLOpsClient, create_client

__all__ = ["MLOpsClient", "create_client"]
