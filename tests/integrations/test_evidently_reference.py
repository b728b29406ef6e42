"""Reference data: frozen when set, and there for every process and machine that has the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.errors import DataIntegrityError, ReferenceDataError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, runtime
from mlops.workspace.tools import ToolContext


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


def frame(seed: int = 0, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    table = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows),
            "city": rng.choice(["Bern", "Oslo"], rows),
            "vector": list(rng.normal(size=(rows, 4))),
            "kind": np.array(["cat", "dog", "owl"])[y],
            "guess": np.array(["cat", "dog", "owl"])[np.where(rng.random(rows) < 0.8, y, 0)],
        }
    )
    scores = rng.random((rows, 3)) + np.eye(3)[y]
    table[["p0", "p1", "p2"]] = scores / scores.sum(axis=1, keepdims=True)
    return table


OTHER_PROCESS = """
import json, sys
import numpy as np
import pandas as pd
from mlops import MLOpsClient
batch = pd.read_parquet(sys.argv[2])
client = MLOpsClient("shop", base_path=sys.argv[1])
result = client.monitor_predictions(batch, model="pets:3")
print(json.dumps({**result.to_dict(), "task": result.task}))
"""


def test_an_imported_project_monitors_its_model_without_the_training_data(base: Path, tmp_path: Path) -> None:
    import json

    client = MLOpsClient("shop", base_path=base)
    reference = client.set_reference_data(
        frame(),
        target_column="kind",
        prediction_column="guess",
        probability_columns={"cat": "p0", "dog": "p1", "owl": "p2"},
        model="pets:3",
    )
    batch = frame(1)
    here = client.monitor_predictions(batch, model="pets:3")
    exported = tmp_path / "shop.zip"
    exported = WorkspaceManager(base_path=base).export_workspace("shop", exported)

    elsewhere = tmp_path / "another machine"
    WorkspaceManager(base_path=elsewhere).import_workspace(exported)
    batch.to_parquet(tmp_path / "batch.parquet")
    command = [sys.executable, "-c", OTHER_PROCESS, str(elsewhere), str(tmp_path / "batch.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    there = json.loads(done.stdout)
    assert there["reference_hash"] == reference.hash
    assert there["performance"] == pytest.approx(dict(here.performance))
    assert there["reference_performance"] == pytest.approx(dict(here.reference_performance))
    assert set(there["performance"]) == {"accuracy", "precision", "recall", "f1", "roc_auc"}
    for name, column in here.columns.items():
        # The order in which categories are summed up differs between processes.
        assert there["columns"][name].pop("score") == pytest.approx(column.score)
        assert there["columns"][name].items() <= column.to_dict().items()


def test_what_is_frozen(monitoring: EvidentlyMonitoring) -> None:
    reference = monitoring.set_reference_data(
        frame(),
        target_column="kind",
        prediction_column="guess",
        probability_columns=["p0", "p1", "p2"],
        model="pets:3",
    )
    again = monitoring.reference("pets:3")
    assert again == reference
    assert again.columns["city"].categories == ("Bern", "Oslo")
    assert again.columns["age"].minimum == pytest.approx(frame()["age"].min())
    assert (again.columns["vector"].kind, again.columns["vector"].dimension) == ("embedding", 4)
    assert again.spec.labels == ("cat", "dog", "owl")
    assert again.spec.probability_columns == {"cat": "p0", "dog": "p1", "owl": "p2"}
    assert (again.model, again.model_version) == ("pets", "3")
    assert again.path.name == again.hash


def test_each_version_keeps_the_reference_it_was_set_for(monitoring: EvidentlyMonitoring) -> None:
    default = monitoring.set_reference_data(frame(9))
    second = monitoring.set_reference_data(frame(2), model="pets:2")
    third = monitoring.set_reference_data(frame(3), model="pets:3")
    assert monitoring.reference("pets:2").hash == second.hash
    assert monitoring.reference("pets:3").hash == third.hash
    assert monitoring.reference("pets").hash == third.hash
    assert monitoring.reference().hash == default.hash
    assert [r.hash for r in monitoring.references("pets")] == [third.hash, second.hash]
    assert monitoring.monitor(frame(4), model="pets:2").reference_hash == second.hash
    newer = monitoring.monitor(frame(4), model="pets:4")
    assert newer.reference_hash == third.hash
    assert any("set for version 3 of the model, not 4" in warning for warning in newer.warnings)
    pd.testing.assert_series_equal(second.to_frame()["age"], frame(2)["age"])


def test_a_check_with_a_damaged_older_reference_says_which_file(monitoring: EvidentlyMonitoring) -> None:
    second = monitoring.set_reference_data(frame(2), model="pets:2")
    monitoring.set_reference_data(frame(3), model="pets:3")
    (second.path / "schema.json").write_text("{")
    with pytest.raises(DataIntegrityError, match=second.hash):
        monitoring.monitor(frame(4), model="pets:2")
    assert monitoring.monitor(frame(4), model="pets:3").columns


def test_verbs_of_the_client_take_every_kind_of_task(base: Path) -> None:
    client = MLOpsClient("shop", base_path=base)
    data = frame()
    data["query"], data["grade"] = np.arange(300) // 10, np.arange(300) % 3
    ranked = client.set_reference_data(
        data, target_column="grade", prediction_column="p0", group_column="query", cutoff=5, model="search"
    )
    assert (str(ranked.task), ranked.spec.cutoff) == ("ranking", 5)
    result = client.monitor_predictions(data, model="search", tokens=[3, 5])
    assert set(result.performance) == {"ndcg_at_5", "map_at_5", "mrr_at_5"}
    assert result.tokens is not None
    names = ["p0", "p1", "p2"]
    spread = client.set_reference_data(data[["age", *names]], embeddings={"p": names}, task="none")
    assert set(spread.columns) == {"age", "p"}
    with pytest.raises(ReferenceDataError, match="positive label"):
        client.set_reference_data(
            data.assign(kind=data["kind"] == "cat"), target_column="kind", positive_label="yes"
        )
