from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import MLOpsClient

COMMIT = "a1b2c3d4" * 5


@dataclass(frozen=True)
class Chain:
    """What one training left behind, from data to check."""

    base: Path
    file: Path
    md5: str
    run_id: str
    snapshot: str
    reference: str

    def client(self, project: str = "churn") -> MLOpsClient:
        return MLOpsClient.from_project(project, base_path=self.base)


def frame(rows: int = 120) -> pd.DataFrame:
    return pd.DataFrame(
        {"a": [i % 10 / 10 for i in range(rows)], "y": [int(i % 10 > 4) for i in range(rows)]}
    )


def train(client: MLOpsClient, file: Path) -> tuple[str, str]:
    """Train on a file and register the model; return the run and the data version."""
    data = pd.read_csv(file)
    model = LogisticRegression().fit(data[["a"]], data["y"])
    with client.start_run("train", tags={"mlops.git_commit": COMMIT, "mlops.git_dirty": "true"}) as run:
        version = client.dvc_add(file)
        client.log_metric("accuracy", 0.9)
        client.log_model(model, "clf", input_example=data[["a"]].head())
    return run.run_id, version.md5


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Chain]:
    """A project ``churn`` with data, run, model, Bento, reference and snapshot; only read it."""
    root = tmp_path_factory.mktemp("chain")
    base, file = root / "base", root / "träin data.csv"
    (base / ".mlops").mkdir(parents=True)
    data = frame()
    data.to_csv(file, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        client = MLOpsClient.from_project("churn", base_path=base)
        run_id, md5 = train(client, file)
        client.promote("clf", "production")
        client.deploy_model("clf")
        data["prediction"] = data["y"]
        reference = client.set_reference_data(
            data, target_column="y", prediction_column="prediction", model="clf@production"
        )
        result = client.monitor_predictions(data.head(60), model="clf")
        client.close()
    yield Chain(base, file, md5, run_id, result.snapshot_id, reference.hash)
