"""Rows against a signature, and asking models without a second check, in this process."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from mlops.integrations.bentoml_serving.bento_service.asking import direct
from mlops.integrations.bentoml_serving.bento_service.rows import RowReader

COLUMNS = [
    {"name": "size (cm)", "type": "double", "required": True},
    {"name": "count", "type": "long", "required": True},
    {"name": "flag", "type": "boolean", "required": False},
]
GOOD = {"size (cm)": 1.5, "count": 2, "flag": True}


def reader(columns: list[dict[str, Any]] = COLUMNS) -> RowReader:
    return RowReader(columns, from_type_hint=False)


def body(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"rows": rows, **more}).encode()


@pytest.mark.parametrize(
    "row", [GOOD, {"size (cm)": 1, "count": 2}, {"size (cm)": None, "count": 2, "flag": None}, [1, 2, True]]
)
def test_an_exact_row_is_read_by_compiled_code_alone(row: Any) -> None:
    request = reader().read_exactly(body(row, GOOD) if isinstance(row, dict) else body(row))
    assert request is not None
    frame = reader().model_input(request["rows"])
    assert [str(kind) for kind in frame.dtypes][:2] == ["float64", "int64"]
    assert frame["count"].tolist()[0] == 2
    assert reader().records(request["rows"])[0]["count"] == 2


@pytest.mark.parametrize(
    "row",
    [
        GOOD | {"count": 2.0},
        GOOD | {"count": None},
        GOOD | {"count": 2**63},
        GOOD | {"count": True},
        GOOD | {"size (cm)": "1"},
        GOOD | {"size (cm)": True},
        GOOD | {"flag": 1},
        GOOD | {"extra": 1},
        {"count": 1},
        [1, 2],
        [1, 2, True, 4],
        5,
    ],
)
def test_everything_else_is_left_to_the_reading_that_explains(row: Any) -> None:
    assert reader().read_exactly(body(GOOD, row)) is None
    assert reader().read_exactly(body(row)) is None


def test_a_request_that_is_no_request_is_not_read() -> None:
    for content in (b"", b"{", b"[]", b'{"rows": []}', body(GOOD, other=1), b"\xff"):
        assert reader().read_exactly(content) is None
    assert (reader().read_exactly(body(GOOD, params={"k": 1})) or {})["params"] == {"k": 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Loaded pyfunc models by kind."""
    root = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        import mlflow.sklearn
        import pandas as pd
        from mlflow.models import infer_signature
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        frame = pd.DataFrame({"b": [1.0, 2.0, 3.0, 4.0], "a": [4.0, 1.0, 3.0, 9.0]})
        by_name = ColumnTransformer([("scaled", StandardScaler(), ["a"])], remainder="passthrough")
        estimators = {
            "plain": LogisticRegression(),
            "pipeline": make_pipeline(by_name, LogisticRegression()),
            "probabilities": LogisticRegression(),
        }
        loaded: dict[str, Any] = {"frame": frame}
        for name, estimator in estimators.items():
            estimator.fit(frame, [0, 0, 1, 1])
            mlflow.sklearn.save_model(
                estimator,
                root / name,
                signature=infer_signature(frame, estimator.predict(frame)),
                pip_requirements=[],
                pyfunc_predict_fn="predict_proba" if name == "probabilities" else "predict",
            )
            loaded[name] = mlflow.pyfunc.load_model(str(root / name))
    return loaded


@pytest.mark.parametrize("kind", ["plain", "pipeline", "probabilities"])
@pytest.mark.filterwarnings("default")
def test_asking_directly_gives_what_mlflow_gives(models: dict[str, Any], kind: str) -> None:
    columns = [{"name": name, "type": "double", "required": True} for name in ("b", "a")]
    rows = models["frame"].to_dict("records")
    ask = direct(models[kind], reader(columns))
    assert ask is not None
    # Whatever the order of the columns in a record.
    assert ask([dict(reversed(row.items())) for row in rows]).tolist() == (
        models[kind].predict(models["frame"]).tolist()
    )


def test_what_mlflow_prepares_by_itself_is_left_to_it(models: dict[str, Any]) -> None:
    optional = [{"name": name, "type": "double", "required": False} for name in ("b", "a")]
    assert direct(models["plain"], reader(optional)) is None
    text = [{"name": "b", "type": "string", "required": True}]
    assert direct(models["plain"], reader(text)) is None


def test_the_service_brings_only_what_a_bento_has() -> None:
    source = Path(sys.modules[RowReader.__module__].__file__ or "").parent
    for path in source.glob("*.py"):
        assert "import mlops" not in path.read_text()
        assert "from mlops" not in path.read_text()
