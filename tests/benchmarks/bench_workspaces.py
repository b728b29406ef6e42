"""Creating a project, ready for its first run, in a warm process."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.benchmarks.measure import Ratio, interleaved


def run(scratch: Path) -> list[Ratio]:
    from mlflow import MlflowClient

    from mlops import MLOpsClient

    counter = itertools.count()

    def bare_store() -> None:
        path = scratch / f"bare-{next(counter)}"
        path.mkdir(parents=True)
        client = MlflowClient(f"sqlite:///{path}/mlflow.db")
        client.create_experiment("churn", artifact_location=(path / "artifacts").as_uri())

    def our_store() -> None:
        client = MLOpsClient.from_project(f"project-{next(counter)}", base_path=scratch / "base")
        client.tracking.ensure()

    def bare_vault() -> None:
        from dvc.repo import Repo

        path = scratch / f"bare-{next(counter)}"
        path.mkdir(parents=True)
        repo = Repo.init(str(path), no_scm=True)
        with repo.config.edit() as config:
            config["remote"]["storage"] = {"url": str(path / "remote")}
            config["core"]["remote"] = "storage"
        repo.close()

    def our_vault() -> None:
        MLOpsClient.from_project(f"project-{next(counter)}", base_path=scratch / "base").data.ensure()

    bare_store(), our_store(), bare_vault(), our_vault()
    return [
        Ratio(
            "project with tracking store | bare MLflow store",
            *interleaved(bare_store, our_store, repeats=5),
            10.0,
        ),
        Ratio(
            "project with data vault | bare DVC repository", *interleaved(bare_vault, our_vault, repeats=9)
        ),
    ]
