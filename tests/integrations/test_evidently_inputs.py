"""Every kind of column and table a user may bring: checked, or skipped with the reason."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, MonitoringResult, runtime
from mlops.workspace.tools import ToolContext

# Imported here because it sets an environment variable for its own memory allocator.
try:
    import polars
except ImportError:
    polars = None

ROWS = 200


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


def numbers(seed: int) -> np.ndarray:
    values: np.ndarray = np.random.default_rng(seed).normal(50, 20, ROWS)
    return values


def words(seed: int) -> list[str]:
    return [str(w) for w in np.random.default_rng(seed).choice(["red", "green", "blue"], ROWS)]


def seconds(seed: int) -> list[dt.timedelta]:
    return [dt.timedelta(seconds=float(value)) for value in numbers(seed)]


def days(seed: int) -> pd.DatetimeIndex:
    return pd.date_range("2026-01-01", periods=ROWS, freq="h") + pd.Timedelta(days=seed)


def vectors(seed: int, size: int = 8) -> np.ndarray:
    values: np.ndarray = np.random.default_rng(seed).normal(size=(ROWS, size))
    return values


CHECKED: dict[str, Callable[[int], Any]] = {
    "float64": numbers,
    "float32": lambda seed: numbers(seed).astype("float32"),
    "float16": lambda seed: numbers(seed).astype("float16"),
    "int64": lambda seed: numbers(seed).astype("int64"),
    "uint8": lambda seed: numbers(seed).clip(0, 255).astype("uint8"),
    "Int64 with gaps": lambda seed: pd.Series(numbers(seed).round()).mask(numbers(9) > 70).astype("Int64"),
    "Float64 with gaps": lambda seed: pd.Series(numbers(seed)).mask(numbers(9) > 70).astype("Float64"),
    "arrow double": lambda seed: pd.Series(numbers(seed)).astype("double[pyarrow]"),
    "arrow decimal": lambda seed: pd.Series(
        [Decimal(int(v)) for v in numbers(seed)], dtype=pd.ArrowDtype(pa.decimal128(10, 2))
    ),
    "Decimal": lambda seed: [Decimal(int(v)) / 7 for v in numbers(seed)],
    "sparse": lambda seed: pd.Series(numbers(seed)).astype(pd.SparseDtype("float64", 0.0)),
    "numbers as text": lambda seed: pd.Series(numbers(seed)).astype(str if seed else "float64"),
    "numbers and infinities": lambda seed: np.where(numbers(seed) > 75, np.inf, numbers(seed)),
    "timedelta64": lambda seed: pd.to_timedelta(numbers(seed), unit="s"),
    "timedelta objects": lambda seed: pd.Series(seconds(seed), dtype=object),
    "arrow duration": lambda seed: pd.Series(seconds(seed)).astype("duration[ns][pyarrow]"),
    "object strings": lambda seed: pd.Series(words(seed), dtype=object),
    "str": lambda seed: pd.Series(words(seed)).astype("str"),
    "string": lambda seed: pd.Series(words(seed)).astype("string[python]"),
    "arrow strings": lambda seed: pd.Series(words(seed)).astype("string[pyarrow]"),
    "category": lambda seed: pd.Series(words(seed)).astype("category"),
    "category of numbers": lambda seed: pd.Series(numbers(seed).astype(int) % 4).astype("category"),
    "bool": lambda seed: numbers(seed) > 50,
    "boolean with gaps": lambda seed: pd.Series(numbers(seed) > 50).astype("boolean").mask(numbers(9) > 70),
    "arrow bool": lambda seed: pd.Series(numbers(seed) > 50).astype("bool[pyarrow]"),
    "lists": lambda seed: [list(row) for row in vectors(seed)],
    "arrays": lambda seed: list(vectors(seed)),
    "images": lambda seed: [row.reshape(2, 2, 2) for row in vectors(seed)],
    "arrow lists": lambda seed: pd.Series(
        [list(row) for row in vectors(seed)], dtype=pd.ArrowDtype(pa.list_(pa.float32()))
    ),
}

SKIPPED: dict[str, tuple[Callable[[int], Any], str]] = {
    "dates": (days, "dates are not compared"),
    "dates with a zone": (lambda seed: days(seed).tz_localize("Europe/Rome"), "dates are not compared"),
    "date objects": (lambda seed: list(days(seed).date), "dates are not compared"),
    "periods": (lambda seed: days(seed).to_period("D"), "dates are not compared"),
    "intervals": (lambda seed: pd.cut(numbers(seed), 4), "intervals are not compared"),
    "complex": (lambda seed: numbers(seed) + 1j, "complex numbers are not compared"),
    "bytes": (lambda seed: [w.encode() for w in words(seed)], "embedding"),
    "dictionaries": (lambda seed: [{"a": 1}] * ROWS, "of the types dict"),
    "mixed": (lambda seed: [1, "a", 2.5, None] * (ROWS // 4), "of the types float, int, str"),
    "ragged": (lambda seed: [[1.0] * (i % 7 + 1) for i in range(ROWS)], "no vectors of one length"),
    "all missing": (lambda seed: np.full(ROWS, np.nan), "every value is missing"),
    "all None": (lambda seed: [None] * ROWS, "every value is missing"),
    "all infinite": (lambda seed: np.full(ROWS, np.inf), "every value is infinite"),
    "constant": (lambda seed: [3] * ROWS, "constant"),
    "identifiers": (lambda seed: [f"user-{seed}-{i}" for i in range(ROWS)], "identifier"),
    "large integers": (lambda seed: np.full(ROWS, 2**62) + np.arange(ROWS), "lose digits"),
}


def table(seed: int) -> pd.DataFrame:
    kinds = CHECKED | {name: make for name, (make, _) in SKIPPED.items()}
    return pd.DataFrame({name: make(seed) for name, make in kinds.items()})


def complete(result: MonitoringResult, columns: list[str]) -> None:
    """Every column is compared or skipped, none both, and everything is plain."""
    compared = {column.source for column in result.columns.values()}
    assert compared | set(result.skipped) == set(columns)
    assert not compared & set(result.skipped)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False)) == result.to_dict()
    frame = result.to_frame()
    assert set(frame["source"]) == set(columns)
    assert frame["skipped"].notna().sum() == len(result.skipped)


def test_each_kind_of_column_is_checked_or_explained(monitoring: EvidentlyMonitoring, tmp_path: Path) -> None:
    monitoring.set_reference_data(table(0))
    result = monitoring.monitor(table(1))
    complete(result, list(table(0)))
    assert {column.source for column in result.columns.values()} == set(CHECKED)
    for name, (_, reason) in SKIPPED.items():
        assert reason in result.skipped[name], name
    assert [c.column for c in result.columns.values() if c.drifted] == []
    assert result.quality["numbers and infinities"].infinite_share == pytest.approx(
        np.isinf(CHECKED["numbers and infinities"](1)).mean()
    )
    assert result.quality["all missing"].missing_share == 1
    assert result.quality["Int64 with gaps"].missing_share == pytest.approx((numbers(9) > 70).mean())
    assert result.save_html(tmp_path / "report.html").stat().st_size > 100_000


def test_a_difference_is_found_in_every_kind_of_column(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data(table(0))
    batch = table(1)
    for name in CHECKED:
        column = batch[name]
        if name in {"lists", "arrays", "images", "arrow lists"}:
            batch[name] = [np.asarray(cell) + 1 for cell in column]
        else:
            # The rows with the smallest or first value, repeated.
            order = np.argsort([str(v) for v in column] if name.endswith("strings") else numbers(1))
            batch[name] = column.iloc[np.resize(order[:40], ROWS)].reset_index(drop=True)
    batch["str"], batch["string"], batch["category"] = (pd.Series(["red"] * ROWS),) * 3
    batch["category of numbers"] = pd.Series([1] * ROWS)
    result = monitoring.monitor(batch)
    assert {c.source for c in result.columns.values() if not c.drifted} == set()
    assert result.n_drifted == result.n_compared == len(CHECKED)
    assert result.drift_detected


@pytest.mark.parametrize("columns", [["float64"], ["str"], ["arrays"], ["float64", "str", "arrays"]])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows_are_a_result_not_an_error(
    monitoring: EvidentlyMonitoring, rows: int, columns: list[str]
) -> None:
    monitoring.set_reference_data(table(0)[columns])
    result = monitoring.monitor(table(1)[columns].iloc[:rows])
    complete(result, columns)
    assert result.rows == rows
    assert not result.drift_detected
    if rows == 0:
        assert set(result.skipped.values()) == {"the batch has no rows"}
        assert any("no rows" in warning for warning in result.warnings)
    else:
        assert any("small batch" in warning for warning in result.warnings)


@pytest.mark.parametrize("data", [[], {}, pd.DataFrame(), pa.table({})])
def test_nothing_at_all_is_an_empty_batch(monitoring: EvidentlyMonitoring, data: Any) -> None:
    monitoring.set_reference_data({"a": numbers(0)})
    result = monitoring.monitor(data)
    assert (result.rows, dict(result.skipped)) == (0, {"a": "the batch has no rows"})
    assert monitoring.history()[0]["snapshot_id"] == result.snapshot_id


def tables() -> dict[str, tuple[Any, int]]:
    frame = pd.DataFrame({"n": numbers(1), "w": words(1)})
    arrow = pa.Table.from_pandas(frame)
    return {
        "pandas": (frame, ROWS),
        "repeated index": (frame.set_index(np.zeros(ROWS)), ROWS),
        "arrow": (arrow, ROWS),
        "record batch": (arrow.to_batches()[0], ROWS),
        "arrow stream": (arrow.to_reader(), ROWS),
        "rows": (frame.to_dict("records"), ROWS),
        "columns": (frame.to_dict("list"), ROWS),
        "structured array": (frame.to_records(index=False), ROWS),
        "one row": ({"n": 50.0, "w": "red"}, 1),
        "a row of a frame": (frame.iloc[0], 1),
    }


@pytest.mark.parametrize("kind", tables())
def test_every_table_gives_the_same_columns(monitoring: EvidentlyMonitoring, kind: str) -> None:
    monitoring.set_reference_data({"n": numbers(0), "w": words(0)})
    data, rows = tables()[kind]
    result = monitoring.monitor(data)
    assert result.rows == rows
    assert {name: column.kind for name, column in result.columns.items()} == {
        "n": "numerical",
        "w": "categorical",
    }


@pytest.mark.skipif(polars is None, reason="polars is not installed")
def test_polars(monitoring: EvidentlyMonitoring) -> None:
    frame = polars.DataFrame(
        {
            "n": numbers(1),
            "w": polars.Series(words(1), dtype=polars.Categorical),
            "b": numbers(1) > 50,
            "when": list(days(1).to_pydatetime()),
            "took": seconds(1),
            "vector": polars.Series([list(row) for row in vectors(1)], dtype=polars.Array(polars.Float64, 8)),
        }
    )
    reference = monitoring.set_reference_data(frame)
    assert [str(column.kind) for column in reference.columns.values()] == [
        "numerical",
        "categorical",
        "categorical",
        "ignored",
        "numerical",
        "embedding",
    ]
    for batch in (frame, frame.lazy()):
        result = monitoring.monitor(batch)
        assert set(result.columns) == {"n", "w", "b", "took", "vector"}
        assert result.n_drifted == 0


def test_another_table_is_refused_and_says_what_is_expected(
    monitoring: EvidentlyMonitoring, base: Path
) -> None:
    monitoring.set_reference_data({"a": numbers(0)})
    before = sorted(base.rglob("*"))
    with pytest.raises(ReferenceDataError, match="it has the columns b") as caught:
        monitoring.monitor({"b": numbers(1)})
    assert "columns the reference has: a" in str(caught.value.hint)
    assert sorted(base.rglob("*")) == before


def test_values_outside_of_what_the_reference_had_are_counted(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data({"n": np.arange(100.0), "w": ["a", "b"] * 50})
    result = monitoring.monitor({"n": [-1.0, 5.0, 200.0, np.inf, None], "w": ["a", "c", "c", None, "b"]})
    number, word = result.quality["n"], result.quality["w"]
    assert number.out_of_range_share == pytest.approx(2 / 3)
    assert number.infinite_share == pytest.approx(1 / 4)
    assert (number.missing_share, number.unseen_share) == (0.2, None)
    assert word.unseen_share == pytest.approx(2 / 4)
    frame = result.to_frame()
    assert frame.loc["n", "out_of_range_share"] == number.out_of_range_share
    assert frame.loc["w", "unseen_share"] == word.unseen_share


def test_latency_memory_and_tokens(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data({"n": numbers(0)})
    result = monitoring.monitor({"n": numbers(1)}, latency_ms=[10, 30], memory_mb=5, tokens=[100, 200, 300])
    assert result.latency_ms is not None
    assert result.tokens is not None
    assert (result.latency_ms.mean, result.latency_ms.count) == (20, 2)
    assert result.tokens.to_dict() == {"mean": 200.0, "p95": pytest.approx(290), "count": 3}
    assert result.metrics()["tokens.mean"] == 200
    with pytest.raises(ReferenceDataError, match="tokens"):
        monitoring.monitor({"n": numbers(1)}, tokens=[-1])
