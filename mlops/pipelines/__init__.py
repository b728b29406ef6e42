"""Pipelines: plain functions wired into a graph, run in a project and recorded there as MLflow runs."""
