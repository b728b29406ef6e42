"""The service file with models of every kind of signature; they share one child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from typing import Any

import pytest

from mlops.integrations.bentoml_serving import BentoServing
from mlops.integrations.bentoml_serving.model_card import read_card
from mlops.integrations.bentoml_serving.service_source import SERVICE_PACKAGE, copy_service
from mlops.settings import resolve
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

# Answers with what it was given, and with whatever a parameter asks for.
MODEL = """
import datetime, decimal, numpy as np, pandas as pd, mlflow

class Describe(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        kind = (params or {}).get("kind", "")
        if kind == "floats":
            return np.array([1.5, np.nan, np.inf])
        if kind == "frame":
            return pd.DataFrame({"label": ["a", None], "score": [0.5, np.nan], "count": [1, 2]})
        if kind == "series":
            return pd.Series([1, 2, None], dtype="Int64")
        if kind == "matrix":
            return np.eye(2, dtype="int64")
        if kind == "columns":
            return {"low": np.array([1, 2]), "high": [3, 4]}
        if kind == "objects":
            day = datetime.date(2026, 1, 2)
            nested = {"a": (np.float32(0.5), None)}
            return [np.int64(1), np.datetime64(day), day, decimal.Decimal("1.5"), b"ab", nested, pd.NaT, True]
        if kind == "value":
            raise ValueError("negative amount")
        if kind == "defect":
            raise RuntimeError("a defect of the model itself")
        if isinstance(model_input, dict):
            return [{name: [str(v.dtype), list(v.shape)] for name, v in model_input.items()}]
        if isinstance(model_input, np.ndarray):
            return [["array", str(model_input.dtype), list(model_input.shape)]]
        return [[str(name), kind.kind, str(model_input[name].iloc[0])]
                for name, kind in model_input.dtypes.items()]

mlflow.models.set_model(Describe())
"""

HINTED = """
import mlflow

class Shout(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() for text in model_input]

mlflow.models.set_model(Shout())
"""

# Each model gets a copy of the service file of its own, as each Bento does.
CHILD = """
import importlib, json, sys, types
from bentoml._internal.utils.args import set_arguments
from starlette.testclient import TestClient

jobs = json.load(sys.stdin)
answers = []
for number, job in enumerate(jobs):
    set_arguments(job["arguments"])
    package = types.ModuleType(f"service_{number}")
    package.__path__ = [job["package"]]
    sys.modules[package.__name__] = package
    module = importlib.import_module(f"{package.__name__}.service")
    with TestClient(module.PyfuncService.to_asgi()) as client:
        for body in job["bodies"]:
            answer = client.post("/predict", json=body)
            answers.append([answer.status_code, answer.json()])
print("ANSWERS" + json.dumps(answers))
"""


TYPED = {"when": "2026-01-02T03:04:05Z", "text": "x", "flag": True, "small": 1, "raw": "YWI="}
ROWS: dict[str, dict[str, list[Any]]] = {
    "typed": {
        "full": [TYPED],
        "gaps": [TYPED | {"when": None, "text": None, "small": None}],
        "date": [TYPED | {"when": "soon"}],
    },
    "optional": {
        "absent": [{"a": 1}],
        "present": [{"a": 1}, {"a": 2, "b": 0.5}],
        "missing": [{"b": 1.0}],
    },
    "unnamed": {"lists": [[1, 2], [3, 4]], "narrow": [[1], [2]], "text": [["a", "b"]]},
    "tensor": {
        "lists": [[1, 2], [3, 4]],
        "records": [{"p": 1, "q": 2}],
        "ragged": [[1, 2], [3]],
        "shape": [[1, 2, 3]],
    },
    "tensors": {
        "records": [{"x": [1, 2], "y": 1}, {"x": [3, 4], "y": 2}],
        "partial": [{"x": [1, 2]}],
        "lists": [[1, 2]],
    },
    "nothing": {
        "records": [{"a": 1, "b": "x"}],
        "lists": [[1, 2], [3, 4]],
        "mixed": [{"a": 1}, [1]],
    },
}


def table(*columns: tuple[str, str], required: bool = True) -> Any:
    from mlflow.types import ColSpec, Schema

    return Schema([ColSpec(kind, name, required=required) for name, kind in columns])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, Any]]:
    """The answer to every question below, by its name."""
    root = tmp_path_factory.mktemp("service")
    (root / "model.py").write_text(MODEL)
    (root / "hinted.py").write_text(HINTED)
    workspace = ProjectWorkspace("churn", root / "churn")
    workspace.ensure_directories()
    workspace.save_metadata()
    serving = BentoServing(ToolContext(workspace, resolve(environ={}).settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        import numpy as np
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

        params = ParamSchema([ParamSpec("kind", "string", "")])
        tensors = [TensorSpec(np.dtype("float32"), (-1, 2), "x"), TensorSpec(np.dtype("int64"), (-1,), "y")]
        mixed = Schema([*table(("a", "long")).inputs, *table(("b", "double"), required=False).inputs])
        schemas = {
            "typed": table(
                ("when", "datetime"),
                ("text", "string"),
                ("flag", "boolean"),
                ("small", "float"),
                ("raw", "binary"),
            ),
            "optional": mixed,
            "unnamed": Schema([ColSpec("double"), ColSpec("double")]),
            "tensor": Schema([TensorSpec(np.dtype("float32"), (-1, 2))]),
            "tensors": Schema(tensors),
            "nothing": None,
        }
        jobs: list[dict[str, Any]] = []
        questions: list[str] = []
        for name, schema in schemas.items():
            signature = ModelSignature(inputs=schema, params=params) if schema else None
            bodies: dict[str, Any] = {key: {"rows": rows} for key, rows in ROWS[name].items()}
            if name == "optional":
                kinds = ("floats", "frame", "series", "matrix", "columns", "objects", "value", "defect")
                bodies |= {kind: {"rows": [{"a": 1}], "params": {"kind": kind}} for kind in kinds}
            mlflow.pyfunc.save_model(
                root / name, python_model=str(root / "model.py"), signature=signature, pip_requirements=[]
            )
            jobs.append({"name": name, "bodies": list(bodies.values())})
            questions += [f"{name}-{key}" for key in bodies]
        mlflow.pyfunc.save_model(root / "hinted", python_model=str(root / "hinted.py"), pip_requirements=[])
        jobs.append({"name": "hinted", "bodies": [{"rows": ["a", "b"]}, {"rows": [1]}]})
        questions += ["hinted-texts", "hinted-number"]
    for job in jobs:
        name = job["name"]
        tag = serving.deploy(root / name, model=name, version="1", build_bento=False).tag
        card = read_card(root / name, operation="deploy", workspace="churn")
        (root / f"bento-{name}").mkdir()
        copy_service(root / f"bento-{name}")
        job["package"] = str(root / f"bento-{name}" / SERVICE_PACKAGE)
        job["arguments"] = {
            "model": tag,
            "version": "1",
            "inputs": card.inputs,
            "from_type_hint": card.from_type_hint,
        }
    environment = dict(os.environ) | {
        "BENTOML_HOME": str(workspace.models_path),
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_CONFIG_OVERRIDES": '{"services": {"pyfunc": {"metrics": {"enabled": false}}}}',
    }
    result = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(jobs),
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    last = result.stdout.splitlines()[-1].removeprefix("ANSWERS")
    return {name: tuple(answer) for name, answer in zip(questions, json.loads(last), strict=True)}


def predictions(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status == 200, body
    return body["predictions"]


def test_every_column_type_reaches_the_model_as_its_own(answers: dict[str, Any]) -> None:
    assert predictions(answers["typed-full"]) == [
        ["when", "M", "2026-01-02 03:04:05"],
        ["text", "O", "x"],
        ["flag", "b", "True"],
        ["small", "f", "1.0"],
        ["raw", "O", "b'ab'"],
    ]
    values = {name: value for name, _, value in predictions(answers["typed-gaps"])}
    assert values["when"] == "NaT"
    assert values["text"] in ("None", "nan")
    assert values["small"] == "nan"
    assert answers["typed-date"][0] == 400
    assert "when" in json.dumps(answers["typed-date"][1])


def test_an_optional_column_may_be_left_out(answers: dict[str, Any]) -> None:
    assert [name for name, *_ in predictions(answers["optional-absent"])] == ["a"]
    assert [name for name, *_ in predictions(answers["optional-present"])] == ["a", "b"]
    assert answers["optional-missing"][0] == 400


def test_columns_without_names_are_taken_by_position(answers: dict[str, Any]) -> None:
    assert [row[1:] for row in predictions(answers["unnamed-lists"])] == [["f", "1.0"], ["f", "2.0"]]
    for question in ("unnamed-narrow", "unnamed-text"):
        assert answers[question][0] == 400


def test_tensors(answers: dict[str, Any]) -> None:
    assert predictions(answers["tensor-lists"]) == [["array", "float32", [2, 2]]]
    assert predictions(answers["tensor-records"]) == [["array", "float32", [1, 2]]]
    assert predictions(answers["tensors-records"]) == [{"x": ["float32", [2, 2]], "y": ["int64", [2]]}]
    for question in ("tensor-ragged", "tensor-shape", "tensors-partial", "tensors-lists"):
        assert answers[question][0] == 400, answers[question]


def test_a_model_without_a_signature_takes_records_and_lists(answers: dict[str, Any]) -> None:
    assert [name for name, *_ in predictions(answers["nothing-records"])] == ["a", "b"]
    assert predictions(answers["nothing-lists"]) == [["array", "int64", [2, 2]]]
    assert answers["nothing-mixed"][0] == 400


def test_a_model_with_type_hints_takes_what_they_say(answers: dict[str, Any]) -> None:
    assert predictions(answers["hinted-texts"]) == ["A", "B"]
    assert answers["hinted-number"][0] == 400


def test_answers_are_json_whatever_the_model_returns(answers: dict[str, Any]) -> None:
    assert predictions(answers["optional-floats"]) == [1.5, None, None]
    assert predictions(answers["optional-frame"]) == [
        {"label": "a", "score": 0.5, "count": 1},
        {"label": None, "score": None, "count": 2},
    ]
    assert predictions(answers["optional-series"]) == [1, 2, None]
    assert predictions(answers["optional-matrix"]) == [[1, 0], [0, 1]]
    assert predictions(answers["optional-columns"]) == [{"low": 1, "high": 3}, {"low": 2, "high": 4}]
    assert predictions(answers["optional-objects"]) == [
        1, "2026-01-02T00:00:00", "2026-01-02", 1.5, "YWI=", {"a": [0.5, None]}, None, True,
    ]  # fmt: skip


def test_a_model_that_refuses_data_is_the_clients_error_and_its_defect_is_not(
    answers: dict[str, Any],
) -> None:
    status, body = answers["optional-value"]
    assert status == 400
    assert "negative amount" in json.dumps(body)
    assert answers["optional-defect"][0] == 500
