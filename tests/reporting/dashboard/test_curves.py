from __future__ import annotations

import json
import math
import random
from itertools import pairwise

import pytest

from mlops.integrations.mlflow_tracking.run_record import MetricPoint
from mlops.reporting.dashboard import curves, figures


def points(values: list[float], *, every_ms: int = 500) -> list[MetricPoint]:
    return [MetricPoint(step, 1_000_000 + step * every_ms, value) for step, value in enumerate(values)]


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 1003, 100_000])
def test_a_curve_has_at_most_a_thousand_points_with_both_ends_and_both_extremes(count: int) -> None:
    generator = random.Random(count)  # noqa: S311 - any values will do
    values = [generator.gauss(0, 1) for _ in range(count)]
    if count > 10:
        values[count // 3], values[count // 2] = 50.0, -50.0
    kept = curves.thinned(values)
    assert len(kept) <= curves.MAX_POINTS
    assert all(earlier < later for earlier, later in pairwise(kept))
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert {min(values), max(values)} <= {values[at] for at in kept}
    if count <= curves.MAX_POINTS:
        assert kept == list(range(count))


def test_every_stretch_keeps_its_own_extremes() -> None:
    values = [float(at % 10 == 7) * (1 if at % 20 == 7 else -1) for at in range(20_000)]
    kept = {values[at] for at in curves.thinned(values)}
    assert kept == {0.0, 1.0, -1.0}
    # Each tenth of the curve shows both.
    positions = curves.thinned(values)
    for begin in range(0, 20_000, 2000):
        assert {1.0, -1.0} <= {values[at] for at in positions if begin <= at < begin + 2000}


def test_what_is_not_finite_is_a_gap_and_is_counted() -> None:
    values = [1.0, math.nan, 3.0, math.inf, -math.inf, 2.0]
    curve = curves.curve(points(values), "r", "run")
    assert curve.y == (1.0, None, 3.0, None, None, 2.0)
    assert (curve.points, curve.undefined) == (6, 3)
    assert (curve.first, curve.last, curve.minimum, curve.maximum) == (1.0, 2.0, 1.0, 3.0)
    # All that long: nothing to choose extremes from.
    lost = curves.curve(points([math.nan] * 5000), "r", "run")
    assert set(lost.y) == {None}
    assert (lost.points, lost.undefined, lost.minimum) == (5000, 5000, None)


def test_time_is_counted_from_the_first_value() -> None:
    curve = curves.curve(points([1.0, 2.0, 3.0], every_ms=1500), "r", "run", axis="time")
    assert curve.x == (0.0, 1.5, 3.0)


def test_the_answer_is_json_and_names_are_not_markup() -> None:
    hostile = "<b onmouseover=alert(1)>&amp;</b>"
    found = [curves.curve(points([1.0, math.nan]), "r1", hostile)]
    text = json.dumps(curves.answer(hostile, found, axis="step"), allow_nan=False)
    answer = json.loads(text)
    (trace,) = answer["figure"]["data"]
    assert trace["name"] == "&lt;b onmouseover=alert(1)&gt;&amp;amp;&lt;/b&gt;"
    assert "<" not in answer["figure"]["layout"]["yaxis"]["title"]["text"]
    # The table writes texts as texts, so it gets the name as it is.
    assert answer["curves"][0]["run_name"] == hostile


def test_labels_show_literally() -> None:
    assert figures.label('a<br>&lt;"') == 'a&lt;br&gt;&amp;lt;"'


def test_runs_of_one_name_are_told_apart_by_their_ids() -> None:
    found = [
        curves.curve(points([1.0]), f"{number}" * 32, name) for number, name in enumerate(("a", "b", "a", ""))
    ]
    labels = [each["label"] for each in curves.answer("loss", found, axis="step")["curves"]]
    assert labels == ["a 00000000", "b", "a 22222222", "33333333"]
