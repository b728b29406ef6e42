"""An alert starts a pipeline of the project, and the new model leads back to the check that caused it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import MLOpsClient
from mlops.cli import main
from mlops.errors import ConfigError, PipelineError

COLUMNS = {"target_column": "y", "prediction_column": "prediction"}


def batch(shift: float = 0.0, rows: int = 300) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=rows) + shift, "b": generator.normal(size=rows)})
    return frame.assign(y=(frame["a"] > 0).astype(int), prediction=(frame["a"] > 0).astype(int))


def prepare(client: MLOpsClient) -> None:
    client.set_reference_data(batch(), model="clf", **COLUMNS)

    def load() -> pd.DataFrame:
        return batch(shift=1.0)

    def fit(load: pd.DataFrame) -> str:
        model = LogisticRegression().fit(load[["a", "b"]], load["y"])
        return str(client.log_model(model, "clf", input_example=load[["a", "b"]].head()).version)

    pipeline = client.create_pipeline("retrain")
    pipeline.add_step(load).add_step(fit)


def test_an_alert_retrains_and_the_new_version_leads_back_to_the_check(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    prepare(client)
    calm = client.monitor_predictions(batch(), model="clf", on_alert="retrain")
    assert calm.new_alerts == ()
    assert client.get_stats()["total_models"] == 0
    result = client.monitor_predictions(batch(shift=3.0), model="clf", on_alert="retrain")
    assert result.new_alerts
    (run,) = client.list_runs("retrain")
    assert run["status"] == "FINISHED"
    # What the check logged is in MLflow, and is no run of the user's.
    names = {each["run_name"] for each in client.tracking.list_runs()}
    assert "monitoring clf" in names
    assert client.list_runs() == [run]
    assert client.get_stats()["total_runs"] == 1
    assert client.tracking.models.get("clf").version == "1"
    links = {(e.source.kind, e.link.relation, e.target.kind) for e in client.trace("clf").edges}
    assert {("snapshot", "started", "run"), ("run", "has-step", "run"), ("run", "produced", "model")} <= links
    led_to = {str(node.ref) for node in client.trace(result.snapshot_id).nodes}
    assert "churn/model:churn.clf:1" in led_to
    # The tools know it themselves.
    (client.workspace_path / "links.jsonl").unlink()
    assert "churn/model:churn.clf:1" in {str(n.ref) for n in client.trace(result.snapshot_id).nodes}
    # The same trouble again is no new alert.
    client.monitor_predictions(batch(shift=3.0), model="clf:1", on_alert="retrain")
    client.monitor_predictions(batch(shift=3.0), model="clf:1", on_alert="retrain")
    assert len(client.list_runs("retrain")) <= 2


def test_a_pipeline_that_is_not_there_is_refused_before_the_check(base: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    prepare(client)
    with pytest.raises(PipelineError, match="has no pipeline 'retrian'") as raised:
        client.monitor_predictions(batch(3.0), model="clf", on_alert="retrian")
    assert "retrain" in str(raised.value.hint)
    other = MLOpsClient.from_project("churn", base_path=base)
    with pytest.raises(PipelineError, match="No version of the pipeline 'retrain' was saved"):
        other.monitor_predictions(batch(3.0), model="clf", on_alert="retrain")
    with pytest.raises(ConfigError, match="no pipeline"):
        client.monitor_predictions(batch(3.0), model="clf", on_alert=7)  # type: ignore[arg-type]
    assert client.monitoring.history() == []


def test_the_command_runs_a_saved_pipeline_on_an_alert(base: Path, tmp_path: Path) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    client.set_reference_data(batch(), model="clf", **COLUMNS)
    client.create_pipeline("note").add_step(noted).save_version("v1.0.0")
    batch(shift=3.0).to_parquet(tmp_path / "batch.parquet")
    command = [sys.executable, "-c", "from mlops.cli import main; main()", "--base-path", str(base)]
    options = ["--model", "clf", "--data", str(tmp_path / "batch.parquet"), "--on-alert", "note"]
    done = subprocess.run(
        [*command, "monitor", "churn", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    (run,) = client.list_runs("note")
    assert (run["status"], run["tags"]["mlops.pipeline_version"]) == ("FINISHED", "v1.0.0")
    assert done.stdout.startswith("ALERT ")
    assert done.stdout.splitlines()[-1].startswith("note v1.0.0: FINISHED in ")
    assert done.stdout.splitlines()[-1].endswith(f", run {run['run_id']}")
    assert "Running the pipeline note ...\n" in done.stderr


def test_a_pipeline_that_fails_hides_no_alert(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MLOpsClient.from_project("churn", base_path=base)
    client.set_reference_data(batch(), model="clf", **COLUMNS)
    client.create_pipeline("broken").add_step(broken).save_version("v1.0.0")
    batch(shift=3.0).to_parquet(tmp_path / "batch.parquet")
    options = ["--model", "clf", "--data", str(tmp_path / "batch.parquet"), "--on-alert", "broken", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["--base-path", str(base), "monitor", "churn", *options])
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert json.loads(out)["alerts"][0]["kind"] == "drift"
    assert "Error: The step 'broken' failed: RuntimeError: no data today\n" in err


def noted() -> int:
    return 1


def broken() -> int:
    raise RuntimeError("no data today")
