"""Schedules: pipelines run at set times, once each, recorded in the project."""
