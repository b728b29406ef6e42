from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn  # its first import sets environment variables of OpenMP

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking, requirements, signatures
from mlops.integrations.mlflow_tracking.flavors import FLAVORS, detect
from mlops.integrations.mlflow_tracking.pickling import is_own_code
from mlops.workspace.tools import ToolContext

ROWS = pd.DataFrame({"a": np.linspace(0.0, 1.0, 40), "b": np.arange(40.0) % 7})
TARGET = (ROWS.a > 0.5).astype(int)

# Reads where each model is from its argument and writes what it predicts; this package is not importable.
PREDICT_WITHOUT_MLOPS = """
import json, sys
sys.modules["mlops"] = None
import mlflow.pyfunc
import numpy as np
import pandas as pd

rows = pd.DataFrame({"a": np.linspace(0.0, 1.0, 40), "b": np.arange(40.0) % 7})
for name, path in json.loads(sys.argv[1]).items():
    predicted = mlflow.pyfunc.load_model(path, suppress_warnings=True).predict(rows)
    print(json.dumps([name, np.asarray(predicted, dtype=float).tolist()]))
"""

OWN_MODULE = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

import own_helpers

SHIFT = 0.25

def widen(X):
    return np.asarray(X) * own_helpers.FACTOR + SHIFT

class Threshold(ClassifierMixin, BaseEstimator):
    def __init__(self, at=0.5):
        self.at = at

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return (own_helpers.first_column(X) > self.at).astype(int)

class Plain:
    def predict(self, frame):
        return widen(frame)[:, 0] * 2

def score(frame):
    return widen(frame).sum(axis=1)
"""
OWN_HELPERS = """
import numpy as np

FACTOR = 3.0

def first_column(X):
    return np.asarray(X)[:, 0]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the user's own, which exists in this process only."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "own_model_code.py").write_text(OWN_MODULE)
    (folder / "own_helpers.py").write_text(OWN_HELPERS)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("own_model_code")
    for name in ("own_model_code", "own_helpers"):
        sys.modules.pop(name, None)


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


def predictions_of_child(paths: dict[str, Path]) -> dict[str, list[float]]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", PREDICT_WITHOUT_MLOPS, json.dumps({n: str(p) for n, p in paths.items()})],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return dict(json.loads(line) for line in found.stdout.splitlines())


def instance(module: str, *bases: type) -> Any:
    return type("Model", bases, {"__module__": module, "get_params": lambda self: {}})()


class TestChoice:
    @pytest.mark.parametrize(
        ("module", "flavor"),
        [
            ("sklearn.linear_model._logistic", "sklearn"),
            ("xgboost.core", "xgboost"),
            ("lightgbm.basic", "lightgbm"),
            ("catboost.core", "catboost"),
            ("torch.nn.modules.module", "pytorch"),
            ("keras.src.models.model", "keras"),
            ("tensorflow.python.module.module", "tensorflow"),
            ("onnx.onnx_ml_pb2", "onnx"),
            ("transformers.pipelines.text_classification", "transformers"),
            ("statsmodels.regression.linear_model", "statsmodels"),
            ("spacy.lang.en", "spacy"),
            ("prophet.forecaster", "prophet"),
        ],
    )
    def test_the_framework_of_the_class_decides_without_being_imported(
        self, module: str, flavor: str
    ) -> None:
        package = module.partition(".")[0]
        before = package in sys.modules

        assert detect(instance(module), project="churn").name == flavor
        assert (package in sys.modules) == before

    def test_a_subclass_of_ones_own_belongs_to_its_framework(self) -> None:
        network = instance("my_code.networks", type(instance("torch.nn.modules.module")))

        assert detect(network, project="churn").name == "pytorch"

    def test_the_nearest_framework_wins_over_the_one_it_builds_on(self) -> None:
        base = type(instance("sklearn.base"))

        assert detect(instance("xgboost.sklearn", base), project="churn").name == "xgboost"

    def test_a_boosting_class_of_ones_own_is_stored_as_an_estimator(self) -> None:
        base = type(instance("xgboost.sklearn", type(instance("sklearn.base"))))

        assert detect(instance("my_code.boosting", base), project="churn").name == "sklearn"

    def test_functions_and_objects_that_predict_are_python_functions(self, own: Any) -> None:
        assert detect(own.score, project="churn").name == "pyfunc"
        assert detect(own.Plain(), project="churn").name == "pyfunc"

    def test_a_path_is_a_directory(self, tmp_path: Path) -> None:
        assert detect(tmp_path, project="churn").name == "directory"
        assert detect(str(tmp_path), project="churn").name == "directory"

    def test_the_users_choice_wins(self, own: Any) -> None:
        assert detect(own.Threshold(), flavor="pyfunc", project="churn").name == "pyfunc"

    def test_an_unknown_object_lists_the_flavours_and_says_how_to_wrap_it(self) -> None:
        with pytest.raises(
            IntegrationError, match=r"No flavour fits an object of type builtins.dict"
        ) as caught:
            detect({"weights": [1]}, project="churn")

        assert all(name in str(caught.value) for name in FLAVORS)
        assert "predict" in (caught.value.hint or "")
        assert (caught.value.tool, caught.value.operation, caught.value.workspace) == (
            "mlflow",
            "log_model",
            "churn",
        )

    def test_a_class_is_not_a_model(self, own: Any) -> None:
        with pytest.raises(IntegrationError, match="is a class, not a fitted model"):
            detect(own.Threshold, project="churn")

    def test_a_flavour_nobody_knows_is_refused(self) -> None:
        with pytest.raises(IntegrationError, match="There is no flavour 'scikit'; known flavours: sklearn"):
            detect(object(), flavor="scikit", project="churn")


class TestRoundTrip:
    def test_models_predict_the_same_in_a_new_process_without_this_package(
        self, tracking: MLflowTracking, own: Any
    ) -> None:
        import mlflow.pyfunc
        from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, StandardScaler

        class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
            def load_context(self, context: Any) -> None:
                self.factor = 2

            def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
                return model_input["a"].to_numpy() * self.factor

        frame, target = ROWS, TARGET
        models: dict[str, tuple[Any, Callable[[Any], Any], str]] = {}

        def add(name: str, model: Any, stored: str, predict: Callable[[Any], Any] | None = None) -> None:
            models[name] = (model, predict or model.predict, stored)

        add("logistic", LogisticRegression().fit(frame, target), "model.skops")
        add("forest", RandomForestClassifier(5, random_state=0).fit(frame, target), "model.skops")
        add("gradient", GradientBoostingClassifier(n_estimators=5).fit(frame, target), "model.skops")
        add(
            "pipeline",
            make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, target),
            "model.skops",
        )
        add(
            "search",
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(frame, target),
            "model.skops",
        )
        add(
            "own-function",
            make_pipeline(FunctionTransformer(own.widen), LogisticRegression()).fit(frame, target),
            "model.pkl",
        )
        add(
            "lambda",
            make_pipeline(FunctionTransformer(lambda X: X * 2), LogisticRegression()).fit(frame, target),
            "model.pkl",
        )
        add("own-estimator", own.Threshold(0.3).fit(frame, target), "model.pkl")
        add(
            "own-in-search",
            GridSearchCV(own.Threshold(), {"at": [0.2, 0.5]}, cv=2).fit(frame, target),
            "model.pkl",
        )
        add("function", own.score, "python_model.pkl", own.score)
        add("object", own.Plain(), "python_model.pkl")
        add("python-model", Doubler(), "python_model.pkl", lambda X: X["a"] * 2)

        with tracking.start_run():
            logged = {
                name: tracking.models.log(model, name, input_example=frame)
                for name, (model, _, _) in models.items()
            }
        paths = {name: tracking.models.download(version) for name, version in logged.items()}
        found = predictions_of_child(paths)

        for name, (_, predict, stored) in models.items():
            np.testing.assert_allclose(found[name], np.asarray(predict(frame), dtype=float), err_msg=name)
            assert (paths[name] / stored).is_file(), name

    def test_boosters_and_statistical_models(self, tracking: MLflowTracking) -> None:
        xgboost = pytest.importorskip("xgboost")
        lightgbm = pytest.importorskip("lightgbm")
        statsmodels = pytest.importorskip("statsmodels.api")

        class Cautious(xgboost.XGBClassifier):  # type: ignore[misc,name-defined]
            def predict(self, X: Any) -> Any:
                return np.minimum(super().predict(X), 0)

        frame, target = ROWS, TARGET
        xgb_booster = xgboost.train(
            {"max_depth": 2, "nthread": 1}, xgboost.DMatrix(frame, target), num_boost_round=3
        )
        lgb_booster = lightgbm.train(
            {"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, target), num_boost_round=3
        )
        models = {
            "xgb": (xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(frame, target), None, "xgboost"),
            "xgb-booster": (xgb_booster, lambda X: xgb_booster.predict(xgboost.DMatrix(X)), "xgboost"),
            "lgbm": (
                lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(frame, target),
                None,
                "lightgbm",
            ),
            "lgbm-booster": (lgb_booster, lgb_booster.predict, "lightgbm"),
            "own-xgb": (Cautious(n_estimators=2, n_jobs=1).fit(frame, target), None, "sklearn"),
            "ols": (statsmodels.OLS(target, frame).fit(), None, "statsmodels"),
        }
        with tracking.start_run():
            logged = {
                name: tracking.models.log(model, name, input_example=frame.head(3))
                for name, (model, _, _) in models.items()
            }
        found = predictions_of_child({n: tracking.models.download(v) for n, v in logged.items()})

        for name, (model, predict, flavor) in models.items():
            expected = (predict or model.predict)(frame)
            np.testing.assert_allclose(
                found[name], np.asarray(expected, dtype=float), rtol=1e-5, err_msg=name
            )
            assert logged[name].flavor == flavor
            assert [column["name"] for column in (logged[name].signature or {})["inputs"]] == ["a", "b"]
            if flavor != "sklearn":
                assert logged[name].framework.startswith(f"{flavor}==")
                native = tracking.models.load(logged[name])
                assert type(native).__module__.partition(".")[0] == flavor

    def test_what_cannot_be_pickled_by_value_is_referred_to(
        self, tracking: MLflowTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "locked"
        folder.mkdir()
        (folder / "own_locked_code.py").write_text(
            "import threading\n\nLOCK = threading.Lock()\n\n"
            "def score(frame):\n    with LOCK:\n        return frame['a']\n"
        )
        monkeypatch.syspath_prepend(str(folder))
        module = importlib.import_module("own_locked_code")
        try:
            with tracking.start_run():
                tracking.models.log(module.score, "locked")
            assert tracking.models.load("locked").predict(ROWS).tolist() == ROWS.a.tolist()
        finally:
            sys.modules.pop("own_locked_code", None)

    def test_a_transformer_without_predict_is_stored_natively(self, tracking: MLflowTracking) -> None:
        from sklearn.preprocessing import StandardScaler

        with tracking.start_run():
            tracking.models.log(StandardScaler().fit(ROWS), "scaler", input_example=ROWS)

        scaled = tracking.models.load("scaler").transform(ROWS)
        assert abs(scaled.mean()) < 1e-9
        with pytest.raises(IntegrationError, match="cannot be loaded as 'python_function'"):
            tracking.models.load("scaler", as_pyfunc=True)


class TestSignature:
    def test_integers_missing_values_and_text_are_described_without_warnings(self) -> None:
        frame = pd.DataFrame(
            {
                "count": np.array([1, 2], dtype="int32"),
                "wide": [1, 2],
                "maybe": pd.array([1, None], dtype="Int64"),
                "ratio": [0.5, 1.5],
                "gap": [0.5, None],
                "name": ["x", "y"],
                "flag": [True, False],
            }
        )
        found = signatures.to_plain(signatures.infer(frame, lambda X: X["wide"]).to_dict())

        assert found is not None
        assert [(c["name"], c["type"], c["required"]) for c in found["inputs"]] == [
            ("count", "integer", True),
            ("wide", "long", True),
            ("maybe", "long", False),
            ("ratio", "double", True),
            ("gap", "double", False),
            ("name", "string", True),
            ("flag", "boolean", True),
        ]
        assert [(c["name"], c["type"]) for c in found["outputs"]] == [("wide", "long")]

    @pytest.mark.parametrize(
        "example",
        [
            ROWS.head(2),
            ROWS.head(2).to_dict("records"),
            ROWS.head(2).to_dict("list"),
            {"a": 0.25, "b": 3},
        ],
        ids=["frame", "records", "columns", "row"],
    )
    def test_every_kind_of_table_gives_named_columns(self, tracking: MLflowTracking, example: Any) -> None:
        from sklearn.linear_model import LogisticRegression

        with tracking.start_run():
            version = tracking.models.log(
                LogisticRegression().fit(ROWS, TARGET), "clf", input_example=example
            )

        assert [column["name"] for column in (version.signature or {})["inputs"]] == ["a", "b"]
        assert (tracking.models.download(version) / "input_example.json").is_file()

    def test_an_array_gives_a_tensor(self, tracking: MLflowTracking) -> None:
        from sklearn.linear_model import LogisticRegression

        array = ROWS.to_numpy()
        with tracking.start_run():
            version = tracking.models.log(LogisticRegression().fit(array, TARGET), "clf", input_example=array)

        (tensor,) = (version.signature or {})["inputs"]
        assert tensor["tensor-spec"] == {"dtype": "float64", "shape": [-1, 2]}

    def test_requests_of_a_function_are_described_as_they_are(self) -> None:
        found = signatures.infer([{"text": "a", "n": 1}, {"text": "b"}], lambda rows: [len(r) for r in rows])
        plain = signatures.to_plain(found.to_dict()) or {}

        assert {(c["name"], c["type"], c["required"]) for c in plain["inputs"]} == {
            ("text", "string", True),
            ("n", "long", False),
        }
        assert plain["outputs"][0]["type"] == "long"

    def test_a_given_signature_is_taken_as_it_is(self, tracking: MLflowTracking) -> None:
        from sklearn.linear_model import LogisticRegression

        signature = signatures.infer(ROWS, lambda X: np.ones(2))
        with tracking.start_run():
            version = tracking.models.log(
                LogisticRegression().fit(ROWS, TARGET), "clf", signature=signature.to_dict()
            )

        assert version.signature == signatures.to_plain(signature.to_dict())

    def test_what_is_no_signature_is_refused(self, tracking: MLflowTracking) -> None:
        with (
            tracking.start_run(),
            pytest.raises(
                IntegrationError, match=r"signature must be an mlflow\.models\.ModelSignature, not list"
            ),
        ):
            tracking.models.log(lambda rows: rows, "clf", signature=["a"])


class TestRequirements:
    def test_the_framework_is_pinned_to_what_is_installed(self, tracking: MLflowTracking) -> None:
        from sklearn.linear_model import LogisticRegression

        with tracking.start_run():
            version = tracking.models.log(LogisticRegression().fit(ROWS, TARGET), "clf")

        lines = (tracking.models.download(version) / "requirements.txt").read_text().split()
        assert f"scikit-learn=={sklearn.__version__}" in lines
        assert lines[0].startswith("mlflow==")
        assert {line.partition("==")[0] for line in lines} == {
            "mlflow",
            "scikit-learn",
            "numpy",
            "pandas",
            "skops",
        }

    def test_given_ones_replace_them_and_mlflow_is_never_missing(self, tmp_path: Path) -> None:
        listing = tmp_path / "requirements.txt"
        listing.write_text("# models\nscikit-learn>=1.4\n\nmy-package\n")

        found = requirements.given(listing, operation="log_model", project="churn")

        assert found is not None
        assert found[0].startswith("mlflow==")
        assert found[1:] == ["scikit-learn>=1.4", "my-package"]
        assert requirements.given(["mlflow>=3"], operation="log_model", project="churn") == ["mlflow>=3"]

    @pytest.mark.parametrize("bad", ["no/such/file.txt", [1, 2], 7])
    def test_bad_ones_are_refused(self, bad: Any) -> None:
        with pytest.raises(IntegrationError, match="requirements"):
            requirements.given(bad, operation="log_model", project="churn")


def test_own_code_is_told_from_installed_packages(own: Any) -> None:
    assert is_own_code("own_model_code")
    assert is_own_code(__name__)
    assert not any(
        is_own_code(name) for name in ("json", "sklearn.base", "numpy", "mlops.errors", "builtins")
    )


def test_a_wheel_build_and_a_local_version_are_pinned_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "version", lambda name: "2.1.0+cpu")

    assert requirements.installed("torch") == "2.1.0"


def test_importing_the_modules_imports_no_framework() -> None:
    code = textwrap.dedent("""
        import sys
        import mlops.integrations.mlflow_tracking.models, mlops.integrations.mlflow_tracking.artifact_model
        heavy = {"mlflow", "pandas", "numpy", "sklearn", "skops", "cloudpickle"} & set(sys.modules)
        sys.exit(f"imported: {heavy}" if heavy else 0)
    """)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
