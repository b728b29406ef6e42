"""How numbers and environments are compared, and which of several new runs does an old one again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mlops.client.rerun import corresponding
from mlops.lineage.reproduction import compare_environments, compare_metrics


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "match"),
    [
        (1.0, 1.0 + 1e-12, 1e-9, True),
        (1.0, 1.0 + 1e-6, 1e-9, False),
        (1e6, 1e6 + 1.0, 1e-5, True),
        (0.0, 1e-12, 1e-9, True),
        (math.nan, math.nan, 0.0, True),
        (math.nan, 1.0, 1.0, False),
        (math.inf, math.inf, 0.0, True),
        (math.inf, -math.inf, 1.0, False),
        (0.5, None, 1.0, False),
    ],
)
def test_metrics_match_within_the_tolerance(
    then: float, now: float | None, tolerance: float, match: bool
) -> None:
    (found,) = compare_metrics({"m": then}, {} if now is None else {"m": now}, tolerance=tolerance)
    assert (found.name, found.match) == ("m", match)


def test_durations_and_new_metrics_are_shown_and_the_machines_own_left_out() -> None:
    then = {"fit_seconds": 1.0, "wall_time": 2.0, "system/cpu": 3.0, "time": 4.0}
    found = {m.name: m.match for m in compare_metrics(then, {"fit_seconds": 9.0, "new": 1.0}, tolerance=0)}
    assert found == {"fit_seconds": None, "wall_time": None, "new": None, "time": False}


def test_environments_are_compared_package_by_package() -> None:
    then = "# Python 3.11.1, Linux-x86_64\na==1\nb==1\nc @ git+https://host/c@abc\n# own==1 is installed\n"
    now = "# Python 3.12.0, Linux-x86_64\na==2\nc @ git+https://host/c@abc\nd==4\n# own==1 is installed\n"
    found = compare_environments(then, now, python=("3.11.1", "3.12.0"))
    assert (found.added, found.removed, found.changed) == ({"d": "4"}, {"b": "1"}, {"a": ("1", "2")})
    assert found.python == ("3.11.1", "3.12.0")
    assert not compare_environments(then, then, python=("3.11.1", "3.11.1"))
    assert json.dumps(found.added)


def run(run_id: str, *, name: str = "train", parent: str | None = None, **params: str) -> dict[str, Any]:
    tags = {"mlflow.runName": name} | ({"mlflow.parentRunId": parent} if parent else {})
    return {"run_id": run_id, "params": params, "tags": tags}


OLD = [
    run("o0", name="sweep"),
    run("o1", parent="o0", c="1"),
    run("o2", parent="o0", c="2"),
    run("o3", c="3"),
]
NEW = [
    run("n0", name="sweep"),
    run("n1", parent="n0", c="1"),
    run("n2", parent="n0", c="2"),
    run("n3", c="3"),
]


@pytest.mark.parametrize(("old", "new"), list(zip(OLD, NEW, strict=True)))
def test_of_several_new_runs_the_one_alike_is_meant(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert corresponding(old, OLD, NEW) == new["run_id"]
    assert corresponding(old, OLD, NEW[::-1]) == new["run_id"]
    assert corresponding(old, [old], []) is None


def test_of_equal_new_runs_the_one_at_the_same_place_is_meant() -> None:
    old, new = [run("a"), run("b"), run("c")], [run("x", name="made-up"), run("y", name="too"), run("z")]
    assert corresponding(old[1], old, [{**each, "tags": {}} for each in new]) == "y"
    assert corresponding(old[2], old, [{**each, "tags": {}} for each in new[:2]]) == "y"
