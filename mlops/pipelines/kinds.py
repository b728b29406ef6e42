"""What a value is, as users look for it among artifacts: a model, data, metrics, a report or a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

MODEL: Final = "model"
DATA: Final = "data"
METRICS: Final = "metrics"
REPORT: Final = "report"
FILE: Final = "file"
# Packages whose objects are tables, arrays or data sets.
_DATA_PACKAGES: Final = frozenset(
    {"pandas", "polars", "numpy", "pyarrow", "scipy", "dask", "datasets", "xarray", "geopandas"}
)
# Packages whose objects are figures or reports.
_REPORT_PACKAGES: Final = frozenset({"matplotlib", "plotly", "evidently", "altair", "seaborn", "bokeh"})
# What a fitted model of any framework can do.
_MODEL_METHODS: Final = ("predict", "forward", "save_pretrained", "predict_proba")


def kind_of(value: Any) -> str:
    """Return ``model``, ``data``, ``metrics``, ``report`` or ``file``."""
    package = type(value).__module__.partition(".")[0]
    if isinstance(value, str):
        return REPORT if value.lstrip()[:15].lower().startswith(("<!doctype html", "<html")) else FILE
    if any(callable(getattr(type(value), method, None)) for method in _MODEL_METHODS):
        return MODEL
    if package in _DATA_PACKAGES or is_data_version(value):
        return DATA
    if package in _REPORT_PACKAGES:
        return REPORT
    if isinstance(value, Mapping) and value and all(_is_number(k, v) for k, v in value.items()):
        return METRICS
    return FILE


def type_name(value: Any) -> str:
    """Return a value's Python type as people write it: ``dict``, ``pandas.DataFrame``."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    # Where it is defined is a detail of its package if the package offers it by the same name.
    package = kind.__module__.partition(".")[0]
    public = getattr(sys.modules.get(package), kind.__qualname__, None) is kind
    return f"{package if public else kind.__module__}.{kind.__qualname__}"


def _is_number(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, (int, float)) and not isinstance(value, bool)


def is_data_version(value: Any) -> bool:
    """Say whether a value is what ``dvc_add`` returns; nothing is imported for that."""
    module = sys.modules.get("mlops.integrations.dvc_data.versions")
    return module is not None and isinstance(value, module.DataVersion)
