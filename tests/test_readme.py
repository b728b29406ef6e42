"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import MLOpsClient, settings

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_tour_runs(base: Path) -> None:
    first, tour = blocks("python")
    assert 'MLOpsClient.from_project("churn")' in first
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"age": generator.normal(40, 10, 400), "spend": generator.normal(size=400)})
    frame["churned"] = (frame["age"] + generator.normal(size=400) > 40).astype(int)
    features = frame[["age", "spend"]]
    model = LogisticRegression().fit(features, frame["churned"])
    frame["prediction"] = model.predict(features)
    Path("data").mkdir()
    frame.to_csv("data/train.csv", index=False)
    with MLOpsClient.from_project("churn", base_path=base) as client:
        shown = {
            "client": client,
            "train": lambda: model,
            "rows": features.head(),
            "frame": frame,
            "batch": frame.assign(age=frame["age"] + 25),
        }
        exec(compile(tour, "README.md", "exec"), shown)  # noqa: S102
        result = shown["result"]
        assert result.columns["age"].drifted
        assert not result.columns["spend"].drifted
        assert client.get_stats()["total_models"] == 1


def test_the_configuration_shown_is_accepted(tmp_path: Path) -> None:
    (table,) = blocks("toml")
    (tmp_path / "pyproject.toml").write_text(table)
    assert set(settings.read_table(tmp_path / "pyproject.toml") or {}) == {
        "base_path",
        "mlflow_tracking_uri",
        "dvc_remote_path",
    }


@pytest.mark.parametrize("name", ["main-job", "tests"])
def test_the_two_commands_are_marked_for_ci(name: str) -> None:
    assert README.count(f"<!-- {name} -->") == 1
