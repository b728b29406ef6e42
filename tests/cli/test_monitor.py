"""``mlops monitor``: one batch for CI and cron, and watching in the foreground."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops import MLOpsClient
from mlops.cli import main
from mlops.integrations.evidently_monitoring import runtime

COMMAND = [sys.executable, "-c", "from mlops.cli import main; main()"]
SECONDS = 120


def frame(seed: int = 0, shift: float = 0.0, rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.choice(["no", "yes"], rows)
    return pd.DataFrame(
        {
            "age": rng.normal(40 + shift * 10, 10, rows),
            "churned": label,
            "prediction": np.where(np.arange(rows) % 10 == 0, "no", label),
        }
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "base"
    (path / ".mlops").mkdir(parents=True)
    return path


@pytest.fixture(autouse=True)
def churn(base: Path, clean_environment: None) -> Iterator[MLOpsClient]:
    runtime.load(operation="test", workspace="test")
    with MLOpsClient("churn", base_path=base) as client:
        client.set_reference_data(frame(rows=1000), target_column="churned", prediction_column="prediction")
        client.manager.update_workspace_metadata(
            "churn", monitoring={"thresholds": {"columns": {"age": 0.5}, "drift_share": 1}}
        )
        yield client


@pytest.fixture
def mlops(base: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["--base-path", str(base), *arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.mark.parametrize("name", ["batch.parquet", "batch.csv", "batch.jsonl"])
def test_a_batch_is_checked_and_an_alert_is_exit_code_3(mlops, name: str) -> None:
    path = Path(name)
    writers = {
        ".parquet": lambda batch: batch.to_parquet(path),
        ".csv": lambda batch: batch.to_csv(path, index=False),
        ".jsonl": lambda batch: batch.to_json(path, orient="records", lines=True),
    }
    writers[path.suffix](frame(seed=1))
    code, out, err = mlops("monitor", "churn", "--data", name)
    assert (code, err) == (0, "")
    assert "200 rows, no drift: 0 of 3 columns drifted, 0.0% of the cells are missing" in out
    assert "accuracy" in out

    writers[path.suffix](frame(seed=2, shift=1.0))
    code, out, _ = mlops("monitor", "churn", "--data", name)
    assert code == 3
    assert out.startswith("ALERT ")
    assert "age drifted by" in out.splitlines()[0]


def test_json_is_what_the_client_returns(mlops, churn: MLOpsClient) -> None:
    frame(seed=2, shift=1.0).drop(columns="churned").rename(columns={"prediction": "answer"}).to_parquet(
        "batch.parquet"
    )
    told = ["${NO_SUCH_HOOK}"]
    limits = {"drift_share": 0.1}
    churn.manager.update_workspace_metadata("churn", monitoring={"thresholds": limits, "webhooks": told})
    code, out, err = mlops(
        *("monitor", "churn", "--data", "batch.parquet", "--model", "clf:7", "--prediction", "answer"),
        "--json",
    )
    assert code == 3
    assert err.startswith(f"churn: {told[0]} was not told of {json.loads(out)['alerts'][0]['id']}: ")
    assert json.loads(out) == {
        key: value for key, value in churn.monitoring.history("clf")[0].items() if key != "schema_version"
    }
    assert json.loads(out)["model_version"] == "7"


def test_what_is_wrong_is_said_and_creates_nothing(mlops, base: Path) -> None:
    Path("batch.csv").write_text("age\n1\n")
    Path("batch.xlsx").write_text("age\n1\n")
    Path("broken.parquet").write_text("age\n1\n")
    Path("other.csv").write_text("b\n1\n")
    for arguments, code, says in (
        (("nowhere", "--data", "batch.csv"), 1, "Workspace does not exist"),
        (("churn", "--data", "none.csv"), 1, "There is no file none.csv"),
        (("churn", "--data", "batch.xlsx"), 1, "The format of batch.xlsx is not known"),
        (("churn", "--data", "broken.parquet"), 1, "broken.parquet cannot be read as parquet"),
        (("churn", "--data", "other.csv"), 1, "Nothing in the batch can be compared"),
        (("churn", "--data", "batch.csv", "--model", "clf@live"), 1, "mlops models promote churn clf live,"),
        (("churn",), 2, "either a file or --watch"),
        (("churn", "--data", "batch.csv", "--watch"), 2, "either a file or --watch"),
        (("churn", "--watch"), 2, "--watch takes --model"),
    ):
        done = mlops("monitor", *arguments)
        assert (done[0], done[1]) == (code, ""), arguments
        assert says in done[2].replace("\n", " ").replace("│", "").replace("  ", " "), done[2]
    assert [path.name for path in base.iterdir() if not path.name.startswith(".")] == ["churn"]


def serve(churn: MLOpsClient, model: str) -> None:
    """Write what a server would have written an hour ago, about customers who got older."""
    directory = churn.workspace.monitoring_path / "predictions" / model
    directory.mkdir(parents=True)
    begun = datetime.now(UTC) - timedelta(hours=1)
    with (directory / f"{begun:%Y%m%dT%H%M%S.%fZ}-1-a.jsonl").open("w") as stream:
        for number, row in enumerate(frame(seed=3, shift=2.0).drop(columns="churned").to_dict("records")):
            at = (begun + timedelta(milliseconds=number)).isoformat(timespec="microseconds")
            prediction = row.pop("prediction")
            record = {"at": at, "version": "1", "rows": [row], "predictions": [prediction]}
            stream.write(json.dumps({"model": f"churn.{model}:1", "latency_ms": 2.0, **record}) + "\n")


def ordered() -> None:
    raise RuntimeError("the shop is closed")


def test_watching_tells_of_checks_and_what_they_started_goes_on_and_ends_cleanly_when_asked(
    churn: MLOpsClient, base: Path
) -> None:
    model = "served"
    serve(churn, model)
    churn.create_pipeline("order").add_step(ordered).save_version("v1.0.0")
    process = subprocess.Popen(
        [
            *(*COMMAND, "--base-path", str(base), "monitor", "churn", "--on-alert", "order"),
            *("--watch", "--model", model, "--window", "100", "--every", "0.2"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert rest == ""
    (run,) = churn.list_runs("order")
    assert err.splitlines() == [
        f"Watching the predictions of {model} (Ctrl-C stops it)",
        "Running the pipeline order ...",
        "Error: The step 'ordered' failed: RuntimeError: the shop is closed",
        "Hint: correct the cause, then go on from there: "
        f"mlops pipeline run PIPELINE -p churn --resume {run['run_id']}",
        "Stopping; what an alert started ends first (Ctrl-C again ends it)",
    ]
    assert f"{model}:1: 100 rows, no drift: 1 of 2 columns drifted" in lines[0]
    assert lines[1].startswith("ALERT ")
    assert lines[3].endswith("(found by 2 checks now)\n")
    assert [*churn.monitoring.in_use()] == []
    assert len(churn.monitoring.history(model)) == 2
