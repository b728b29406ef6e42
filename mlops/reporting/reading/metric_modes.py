"""Which way a metric is better, by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mlops.errors import ConfigError

SETTING: Final = "metric_modes"
MODES: Final = ("min", "max")
# scikit-learn's names for what is to be minimised end in _error, _loss or _deviance
# (https://scikit-learn.org/stable/modules/model_evaluation.html); torchmetrics has `higher_is_better = False`
# for rates of errors, distances and divergences. The last line is what checks and runs log of their own.
_LOWER: Final = frozenset(
    (
        *("loss", "logloss", "error", "errors", "err", "deviance", "brier", "hinge", "crossentropy", "nll"),
        *("rmse", "mse", "mae", "mape", "smape", "wmape", "msle", "rmsle", "nrmse", "mase", "rae", "rse"),
        *("perplexity", "ppl", "wer", "cer", "mer", "ter", "eer", "fpr", "fnr", "ece", "fid", "kid", "lpips"),
        *("kl", "divergence", "distance", "hamming", "entropy", "cost", "regret"),
        *("drift", "drifted", "missing", "latency", "duration", "seconds", "time", "memory"),
    )
)
_WORDS: Final = re.compile(r"[a-z]+")
# What MLflow itself measures of the machine.
_SYSTEM: Final = "system/"


def is_result(metric: str) -> bool:
    """Say whether a metric is about the model, not about the machine it was trained on."""
    return not metric.startswith(_SYSTEM)


def mode_of(metric: str, overrides: Mapping[str, str]) -> str:
    """Return ``min`` or ``max``.

    A word of the name decides, such as ``loss`` in ``val_loss`` or ``rmse`` in ``cv/rmse``; without one of
    those, higher is better.

    Args:
        metric: The metric's name.
        overrides: What the project says itself, by metric.
    """
    named = overrides.get(metric)
    if named is not None:
        return named
    return "max" if _LOWER.isdisjoint(_WORDS.findall(metric.lower())) else "min"


def overrides_of(metadata: Mapping[str, Any], *, project: str) -> dict[str, str]:
    """Return what a project says of its metrics: ``metric_modes`` in the metadata of ``workspace.yaml``.

    Args:
        metadata: The project's metadata.
        project: The project, for the error.

    Raises:
        ConfigError: It is something else than metrics with ``min`` or ``max``.
    """
    given = metadata.get(SETTING) or {}
    wrong = given if not isinstance(given, dict) else {k: v for k, v in given.items() if v not in MODES}
    if wrong:
        raise ConfigError(
            f"The metric_modes of {project!r} must say min or max of each metric, not {wrong!r}",
            operation="collect",
            workspace=project,
            hint="in workspace.yaml: metadata: {metric_modes: {my_score: min}}",
        )
    return {str(metric): str(mode) for metric, mode in given.items()}
