"""Whatever columns hold: each is compared or skipped with a reason, and no number is made up."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, runtime
from mlops.integrations.evidently_monitoring.baseline import Baseline
from mlops.integrations.evidently_monitoring.conform import conform, to_labels, to_numbers
from mlops.integrations.evidently_monitoring.frames import to_frame
from mlops.integrations.evidently_monitoring.infer import frozen_schema
from mlops.integrations.evidently_monitoring.pairing import pair
from mlops.integrations.evidently_monitoring.reference import stored_columns
from mlops.integrations.evidently_monitoring.schema import ReferenceData, TaskSpec
from mlops.workspace.model import now
from mlops.workspace.tools import ToolContext

# The same examples on every run, and no search for smaller ones: tables take minutes to shrink.
quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(width=32),
    "int": st.integers(-(2**60), 2**60),
    "code": st.integers(0, 3),
    "bool": st.booleans(),
    "text": st.text(max_size=40),
    "word": st.sampled_from(["red", "green", "blue"]),
    "decimal": st.decimals(
        allow_nan=False, allow_infinity=False, places=2, max_value=10**6, min_value=-(10**6)
    ),
    "date": st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1)),  # noqa: DTZ001 - naive on purpose
    "duration": st.timedeltas(dt.timedelta(0), dt.timedelta(days=9)),
    "vector": st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3),
    "list": st.lists(st.integers(0, 9), max_size=4),
    "dict": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
    "bytes": st.binary(max_size=8),
    "none": st.none(),
    "nan": st.just(math.nan),
    "inf": st.sampled_from([math.inf, -math.inf]),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> list[Any]:
    """A column of one or two kinds of cells, some of them missing."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    cells = st.one_of(*(CELLS[kind] for kind in kinds), *([st.none()] if draw(st.booleans()) else []))
    few = draw(st.lists(cells, min_size=1, max_size=12))
    return [few[i] for i in draw(st.lists(st.integers(0, len(few) - 1), min_size=rows, max_size=rows))]


@st.composite
def frames(draw: st.DrawFn, least: int = 0) -> pd.DataFrame:
    """A table whose columns may repeat and have any cells."""
    rows = draw(st.integers(least, 30))
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "a: length", 7]), min_size=1, max_size=4))
    made = [pd.Series(draw(columns(rows)), dtype=object) for _ in names]
    if draw(st.booleans()):
        made = [column.infer_objects() for column in made]
    table = pd.concat(made, axis=1)
    table.columns = pd.Index(names, dtype=object)
    return table


def frozen(table: pd.DataFrame) -> ReferenceData:
    from pathlib import Path

    return ReferenceData(
        "0", None, None, now(), len(table), frozen_schema(table, TaskSpec()), TaskSpec(), Path()
    )


@given(frames(least=1), frames())
@quick
def test_every_column_is_compared_or_skipped(reference: pd.DataFrame, batch: pd.DataFrame) -> None:
    known = to_frame(reference.loc[:, ~reference.columns.duplicated()], operation="o", workspace="w")
    given_batch = to_frame(batch, operation="o", workspace="w", empty=True)
    data = frozen(known)
    baseline = Baseline.of(data, stored_columns(known, dict(data.columns)), rows=100)
    conformed = conform(given_batch, data.columns, vocabularies=baseline.vocabularies)
    both = pair(conformed, baseline.rows, data.columns)
    compared = set(both.sources.values())
    assert compared | set(conformed.skipped) == {*data.columns, *given_batch.columns}
    assert not compared & set(conformed.skipped)
    assert all(conformed.skipped.values())
    assert list(both.current) == list(both.reference) == list(both.sources)
    for frame in (both.current, both.reference):
        for name in frame:
            assert frame[name].notna().any()
            assert frame[name].dtype.kind in "fO"
    for flaws in conformed.flaws.values():
        assert all(0 <= share <= 1 for share in flaws.values())


@given(frames(least=1))
@quick
def test_a_batch_that_is_the_reference_is_the_reference(table: pd.DataFrame) -> None:
    known = to_frame(table.loc[:, ~table.columns.duplicated()], operation="o", workspace="w")
    data = frozen(known)
    baseline = Baseline.of(data, stored_columns(known, dict(data.columns)), rows=100)
    conformed = conform(known, data.columns, vocabularies=baseline.vocabularies)
    both = pair(conformed, baseline.rows, data.columns)
    for name, kind in both.kinds.items():
        if kind == "embedding":
            assert both.current[name].mean() == pytest.approx(-both.reference[name].mean(), abs=1e-3)
        else:
            assert both.current[name].equals(both.reference[name]), name


@given(
    st.one_of(
        st.lists(st.one_of(values, st.sampled_from(["x", "y"])), min_size=1)
        for values in (st.booleans(), st.integers(-5, 5))
    )
)
@quick
def test_a_label_is_the_same_in_every_type(values: list[Any]) -> None:
    plain = to_labels(pd.Series(values, dtype=object)).to_list()
    assert plain == [str(value) for value in values]
    if all(type(value) is int for value in values):
        for dtype in ("int64", "Int64", "float64", "category", "int64[pyarrow]"):
            assert to_labels(pd.Series(values).astype(dtype)).to_list() == plain


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1))
@quick
def test_a_number_is_the_same_in_every_type(values: list[int | None]) -> None:
    expected = [math.nan if value is None else float(value) for value in values]
    for made in (
        pd.Series(values, dtype=object),
        pd.Series(values, dtype="Int64"),
        pd.Series(values, dtype="float64"),
        pd.Series([None if v is None else Decimal(v) for v in values], dtype=object),
        pd.Series([None if v is None else str(v) for v in values], dtype=object),
        pd.Series(values, dtype="int64[pyarrow]"),
    ):
        numbers, bad, _ = to_numbers(made)
        np.testing.assert_array_equal(numbers.to_numpy(), expected)
        assert bad == 0


@given(frames(), st.data())
@settings(parent=quick, max_examples=12)
def test_no_batch_loses_the_report(
    shared: EvidentlyMonitoring, batch: pd.DataFrame, data: st.DataObject
) -> None:
    rows = len(batch)
    extra = data.draw(st.sampled_from(["none", "labels", "scores", "lists", "dates"]))
    values: dict[str, Any] = {
        "labels": ["x", "y"] * 20,
        "scores": list(np.linspace(-1, 2, 40)),
        "lists": [[1]] * 40,
        "dates": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 40,
    }
    if extra != "none":
        batch = batch.assign(truth=(values[extra])[:rows], answer=(["x", None] * 20)[:rows])
    result = shared.monitor(batch.assign(steady=np.arange(float(rows))))
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text) == result.to_dict()
    assert set(result.undefined) == {name for name, value in result.performance.items() if value is None}
    assert len(result.to_frame()) == len(result.columns) + len(result.skipped)
    assert 0 <= result.drift_share <= 1


@pytest.fixture
def shared(context: ToolContext) -> EvidentlyMonitoring:
    runtime.load(operation="test", workspace="test")
    monitoring = EvidentlyMonitoring(context)
    rng = np.random.default_rng(0)
    monitoring.set_reference_data(
        {
            "a": rng.normal(size=60),
            "b": rng.choice(["red", "green"], 60),
            "c": list(rng.normal(size=(60, 3))),
            "7": [f"some text number {i}" for i in range(60)],
            "steady": np.arange(60.0),
            "truth": ["x", "y"] * 30,
            "answer": ["x", "x", "y"] * 20,
        },
        target_column="truth",
        prediction_column="answer",
    )
    return monitoring
