"""Autologging of unmodified code in several threads and projects at once: nothing is lost, nothing mixed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import mlflow
import numpy as np
import pytest
import sklearn.model_selection
from sklearn.linear_model import Ridge

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.workspace.tools import ToolContext

MakeContext = Callable[..., ToolContext]
FEATURES = np.array([[float(number)] for number in range(40)])
TARGET = np.array([0.0] * 20 + [1.0] * 20)
QUICK = {"silent": True, "log_models": False, "log_datasets": False}

# What the libraries say about themselves while they are logged has nothing to do with what arrives.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def projects(make_context: MakeContext) -> list[MLflowTracking]:
    return [MLflowTracking(make_context(name)) for name in ("alpha", "beta", "gamma", "delta")]


@pytest.fixture(autouse=True)
def switched_off_again() -> Iterator[None]:
    yield
    for flavor in (mlflow.sklearn, mlflow.xgboost, mlflow.lightgbm):
        flavor.autolog(disable=True, silent=True)


def in_threads(count: int, function: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(count)

    def started(number: int) -> Any:
        barrier.wait(120)
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return [job.result() for job in [pool.submit(started, number) for number in range(count)]]


def by_name(tracking: MLflowTracking) -> dict[str, dict[str, Any]]:
    return {run["run_name"]: run for run in tracking.list_runs(limit=None)}


def test_what_is_switched_per_call_is_there_to_be_switched(
    projects: list[MLflowTracking], caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.sklearn.autolog(**QUICK)
    with projects[0].start_run():
        Ridge().fit(FEATURES, TARGET)
    manager = mlflow.sklearn._AUTOLOGGING_METRICS_MANAGER
    assert isinstance(type(manager)._log_post_training_metrics_enabled, property)
    assert manager._log_post_training_metrics_enabled
    assert {"_model_id_mapping", "record_model_id"} <= set(vars(manager))
    assert "is not known here" not in caplog.text


def test_eight_threads_over_four_projects_lose_nothing(projects: list[MLflowTracking]) -> None:
    """Each thread does what a training script does: enable, fit, score, cross-validate, fit again."""
    rounds = 4

    def train(number: int) -> None:
        mlflow.sklearn.autolog(**QUICK)
        for turn in range(rounds):
            with projects[number % 4].start_run(f"{number}-{turn}"):
                model = Ridge(alpha=10 * number + turn + 1).fit(FEATURES, TARGET)
                held_out = FEATURES[:10] + turn
                model.score(held_out, TARGET[:10])
                if number % 2:
                    sklearn.model_selection.cross_val_score(Ridge(alpha=1000), FEATURES, TARGET, cv=3)

    in_threads(8, train)
    for index, tracking in enumerate(projects):
        runs = by_name(tracking)
        mine = [number for number in range(8) if number % 4 == index]
        assert set(runs) == {f"{number}-{turn}" for number in mine for turn in range(rounds)}
        for number in mine:
            for turn in range(rounds):
                run = runs[f"{number}-{turn}"]
                assert run["params"]["alpha"] == str(10 * number + turn + 1)
                assert run["tags"]["estimator_name"] == "Ridge"
                training = {key for key in run["metrics"] if key.startswith("training_")}
                assert training == {
                    f"training_{name}"
                    for name in (
                        "score",
                        "r2_score",
                        "mean_squared_error",
                        "mean_absolute_error",
                        "root_mean_squared_error",
                    )
                }
                assert set(run["metrics"]) - training == {"Ridge_score_held_out"}


def test_models_of_eight_threads_arrive_in_their_projects(projects: list[MLflowTracking]) -> None:
    mlflow.sklearn.autolog(silent=True, log_datasets=False)

    def train(number: int) -> str:
        with projects[number % 4].start_run() as run:
            Ridge(alpha=number + 1).fit(FEATURES, TARGET)
        return run.run_id

    run_ids = in_threads(8, train)
    for number, run_id in enumerate(run_ids):
        tracking = projects[number % 4]
        assert tracking.models.load(run_id).alpha == number + 1
        path = tracking.models.download(run_id)
        assert path.is_relative_to(tracking.context.workspace.root_path.resolve())
    assert all(len(tracking.client().search_logged_models(["0"])) == 2 for tracking in projects)


def test_boosting_libraries_log_in_two_projects_at_once(projects: list[MLflowTracking]) -> None:
    xgboost = pytest.importorskip("xgboost")
    lightgbm = pytest.importorskip("lightgbm")
    mlflow.xgboost.autolog(**QUICK)
    mlflow.lightgbm.autolog(**QUICK)

    def train(number: int) -> None:
        tracking = projects[number % 2]
        for turn in range(2):
            with tracking.start_run(f"xgb-{number}-{turn}"):
                data = xgboost.DMatrix(FEATURES, TARGET)
                xgboost.train(
                    {"max_depth": number + 1, "nthread": 1}, data, num_boost_round=5, evals=[(data, "train")]
                )
            with tracking.start_run(f"lgb-{number}-{turn}"):
                rows = lightgbm.Dataset(FEATURES, TARGET)
                lightgbm.train(
                    {"num_leaves": number + 2, "num_threads": 1, "verbose": -1},
                    rows,
                    num_boost_round=5,
                    valid_sets=[rows],
                )
            with tracking.start_run(f"est-{number}-{turn}"):
                xgboost.XGBRegressor(max_depth=number + 1, n_estimators=3, n_jobs=1).fit(FEATURES, TARGET)

    in_threads(4, train)
    for index, tracking in enumerate(projects[:2]):
        runs = by_name(tracking)
        mine = [number for number in range(4) if number % 2 == index]
        assert len(runs) == 3 * 2 * 2
        for number in mine:
            for turn in range(2):
                xgb, lgb = runs[f"xgb-{number}-{turn}"], runs[f"lgb-{number}-{turn}"]
                assert (xgb["params"]["max_depth"], xgb["params"]["num_boost_round"]) == (
                    str(number + 1),
                    "5",
                )
                assert len(tracking.client().get_metric_history(xgb["run_id"], "train-rmse")) == 5
                assert (lgb["params"]["num_leaves"], lgb["params"]["num_boost_round"]) == (
                    str(number + 2),
                    "5",
                )
                assert len(tracking.client().get_metric_history(lgb["run_id"], "training-l2")) == 5
                assert runs[f"est-{number}-{turn}"]["params"]["max_depth"] == str(number + 1)


def test_threads_of_ones_own_inside_a_run_are_each_logged(projects: list[MLflowTracking]) -> None:
    alpha = projects[0]
    mlflow.sklearn.autolog(**QUICK)
    both = threading.Barrier(2)

    class Slow(Ridge):
        """Waits until the other thread is fitting too."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            both.wait(60)
            return super().fit(X, y)

    def search(strength: float) -> None:
        sklearn.model_selection.GridSearchCV(Slow(), {"alpha": [strength]}, cv=2, refit=False).fit(
            FEATURES, TARGET
        )

    def search_in_a_run(strength: float) -> None:
        with mlflow.start_run(run_name="of its own"):
            search(strength)

    with alpha.start_run("outer"), ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(search, 1.0), pool.submit(search_in_a_run, 2.0)]:
            job.result()
    logged = {run["params"]["best_alpha"]: run for run in alpha.list_runs() if "best_alpha" in run["params"]}
    assert set(logged) == {"1.0", "2.0"}
    assert logged["2.0"]["run_name"] == "of its own"
    for run in logged.values():
        assert (run["tags"]["estimator_name"], run["params"]["cv"]) == ("GridSearchCV", "2")
        assert run["status"] == "FINISHED"


def test_the_threads_of_a_grid_search_are_part_of_it(projects: list[MLflowTracking]) -> None:
    alpha = projects[0]
    mlflow.sklearn.autolog(max_tuning_runs=None, **QUICK)
    with alpha.start_run("search"), joblib.parallel_config("threading", n_jobs=2):
        search = sklearn.model_selection.GridSearchCV(Ridge(), {"alpha": [1.0, 2.0, 3.0]}, cv=2)
        search.fit(FEATURES, TARGET)
    runs = alpha.list_runs()
    top = next(run for run in runs if run["run_name"] == "search")
    assert top["tags"]["estimator_name"] == "GridSearchCV"
    children = [run for run in runs if run is not top]
    assert sorted(run["params"]["alpha"] for run in children) == ["1.0", "2.0", "3.0"]
    assert {run["tags"]["mlflow.parentRunId"] for run in children} == {top["run_id"]}


def test_workers_of_joblib_log_to_the_run_they_were_started_in(projects: list[MLflowTracking]) -> None:
    def work(number: int) -> None:
        mlflow.log_metric(f"m{number}", number)

    for tracking in projects[:2]:
        with tracking.start_run("joblib"):
            joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(work)(n) for n in range(8))
    for tracking in projects[:2]:
        assert by_name(tracking)["joblib"]["metrics"] == {f"m{n}": float(n) for n in range(8)}


def test_other_settings_are_refused_while_others_train(projects: list[MLflowTracking]) -> None:
    alpha, beta = projects[:2]
    mlflow.sklearn.autolog(**QUICK)
    inside, go = threading.Event(), threading.Event()

    def train() -> None:
        with beta.start_run("b"):
            inside.set()
            go.wait(60)
            Ridge(alpha=5).fit(FEATURES, TARGET)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(train)
        assert inside.wait(60)
        with alpha.start_run("a"):
            mlflow.sklearn.autolog(**QUICK)
            for changed in ({"disable": True}, {**QUICK, "log_models": True}):
                with pytest.raises(IntegrationError, match="runs of beta are open") as caught:
                    mlflow.sklearn.autolog(**changed)
                assert (caught.value.workspace, caught.value.operation) == ("alpha", "autolog")
            Ridge(alpha=4).fit(FEATURES, TARGET)
        go.set()
        job.result()
    assert by_name(alpha)["a"]["params"]["alpha"] == "4"
    assert by_name(beta)["b"]["params"]["alpha"] == "5"

    with alpha.start_run("later"):
        mlflow.sklearn.autolog(disable=True)
        Ridge(alpha=6).fit(FEATURES, TARGET)
    assert by_name(alpha)["later"]["params"] == {}
