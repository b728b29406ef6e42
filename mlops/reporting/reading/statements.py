"""The questions a report asks of an MLflow database, whose tables ``queries.KNOWN_SCHEMAS`` are known."""

from __future__ import annotations

from typing import Final

from mlops.integrations.mlflow_tracking.queries import MONITORING_TAG, PARTS
from mlops.integrations.mlflow_tracking.run_record import PIPELINE_TAG
from mlops.integrations.mlflow_tracking.versions import COPIED_FROM, DATA, GIT_COMMIT, MLFLOW_GIT_COMMIT

PRODUCTION: Final = "production"
COMMITS: Final = (GIT_COMMIT, MLFLOW_GIT_COMMIT)
# What this library records as the kind of a data set that is a data version.
DVC: Final = "dvc"

# Bound twice: the experiment's name, or None for all of the file.
_SCOPE: Final = (
    "JOIN experiments e ON e.experiment_id = r.experiment_id"
    " WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active' AND (? IS NULL OR e.name = ?)"
)
# In the order of ``runs.RunRow``.
RUNS: Final = (
    "SELECT r.run_uuid, r.name, r.status, r.start_time, NULLIF(r.end_time, 0), p.value"  # noqa: S608
    f" FROM runs r LEFT JOIN tags p ON p.run_uuid = r.run_uuid AND p.key = '{PIPELINE_TAG}' {_SCOPE}"
    f" AND r.run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key IN {PARTS})"
)
# In the order of ``runs.MetricRow``. What a step of a pipeline measured counts, as it does for ``best_run``.
METRICS: Final = (
    "SELECT m.key, m.value, r.run_uuid, r.name, r.start_time"  # noqa: S608
    f" FROM runs r JOIN latest_metrics m ON m.run_uuid = r.run_uuid {_SCOPE}"
    " AND r.status = 'FINISHED' AND NOT m.is_nan"
    f" AND r.run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = '{MONITORING_TAG}')"
)
# Bound twice: the prefix of the project's models. MLflow keeps prompts among the models.
MODELS: Final = (
    "SELECT name FROM registered_models WHERE substr(name, 1, length(?)) = ? AND name NOT IN"
    " (SELECT name FROM registered_model_tags"
    " WHERE key = 'mlflow.prompt.is_prompt' AND lower(value) = 'true')"
)
_OF_VERSION: Final = (
    "EXISTS (SELECT 1 FROM model_version_tags t WHERE t.name = v.name AND t.version = v.version AND"
)
_OF_RUN: Final = "EXISTS (SELECT 1 FROM tags t WHERE t.run_uuid = v.run_id AND"
# '/' follows '.': the range is what begins with the prefix, and an index finds it.
_NAMES_DATA: Final = f"t.key >= '{DATA}' AND t.key < '{DATA.removesuffix('.')}/')"
_NAMES_COMMIT: Final = f"t.key IN {COMMITS})"
_READ_DATA: Final = (
    "EXISTS (SELECT 1 FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"  # noqa: S608
    " WHERE i.destination_id = v.run_id AND i.destination_type = 'RUN' AND i.source_type = 'DATASET'"
    f" AND d.dataset_source_type = '{DVC}')"
)
# Name, version, time; then whether it is in production, a copy, and whether run, data and commit are known.
VERSIONS: Final = (
    "SELECT v.name, v.version, v.creation_time,"  # noqa: S608
    " EXISTS (SELECT 1 FROM registered_model_aliases a"
    f" WHERE a.name = v.name AND a.version = v.version AND a.alias = '{PRODUCTION}'),"
    f" {_OF_VERSION} t.key = '{COPIED_FROM}'),"
    " EXISTS (SELECT 1 FROM runs r WHERE r.run_uuid = v.run_id AND r.lifecycle_stage = 'active'),"
    f" {_OF_VERSION} {_NAMES_DATA} OR {_OF_RUN} {_NAMES_DATA} OR {_READ_DATA},"
    f" {_OF_VERSION} {_NAMES_COMMIT} OR {_OF_RUN} {_NAMES_COMMIT}"
    " FROM model_versions v WHERE v.current_stage <> 'Deleted_Internal' ORDER BY v.name, v.version"
)
