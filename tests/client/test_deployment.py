"""From what a script has in its hand to a packaged model, its labels, its folder and its server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import IntegrationError, MLOpsClient, ModelNotFoundError
from mlops.errors import InvalidModelNameError
from mlops.files import measure
from mlops.integrations.mlflow_tracking.versions import ModelVersion

FRAME = pd.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "spend": [1.0, 0.0, 1.0, 0.0]})


def fitted(strength: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=strength).fit(FRAME, [0, 0, 1, 1])


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=base) as opened:
        yield opened


def logged(client: MLOpsClient, *strengths: float) -> list[ModelVersion]:
    with client.start_run("training"):
        return [client.log_model(fitted(s), "clf", input_example=FRAME) for s in strengths]


def test_a_model_is_packaged_by_every_name_it_has(client: MLOpsClient) -> None:
    first, second = logged(client, 0.5, 2.0)
    client.promote("clf", "production", version=1)
    for reference, options in (
        (first, {}),
        ("clf", {"version": 1}),
        ("clf:1", {}),
        ("clf/1", {}),
        ("churn.clf", {"alias": "production"}),
        ("clf@production", {}),
        ("models:/churn.clf/1", {}),
        (first.model_id, {}),
        (f"models:/{first.model_id}", {}),
    ):
        assert client.deploy_model(reference, build_bento=False, **options).tag == "churn.clf:1"
    for reference in (second, "clf", second.run_id, f"runs:/{second.run_id}/clf"):
        assert client.deploy_model(reference, build_bento=False).tag == "churn.clf:2"
    # An alias moves, and a label stays: it is not one.
    assert "production" not in json.dumps(client.serving.get("clf", 1).to_dict())
    directory = client.tracking.models.download(second)
    by_path = client.deploy_model(directory, name="copy", build_bento=False)
    assert by_path.model == "copy"
    assert by_path.labels["run_id"] == second.run_id
    assert client.deploy_model(str(directory), name="copy", build_bento=False) == by_path
    with pytest.raises(ModelNotFoundError, match="no alias 'staging'; its aliases: production"):
        client.deploy_model("clf@staging")
    with pytest.raises(IntegrationError, match="is stored already"):
        client.deploy_model("clf", input_example=FRAME)


def test_labels_say_where_a_model_comes_from(client: MLOpsClient, tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_text("age,spend\n1,2\n")
    code = {"mlops.git_commit": "c0ffee" * 6, "mlops.git_dirty": "true"}
    with client.start_run("training", tags=code) as run:
        data_version = client.dvc_add(data)
        client.log_model(fitted(), "clf", input_example=FRAME)
    deployment = client.deploy_model("clf")
    (name,) = [key for key in deployment.labels if key.startswith("data.")]
    assert name.endswith("train.csv")
    expected = {
        "project": "churn",
        "model": "clf",
        "version": "1",
        "run_id": run.run_id,
        "git_commit": "c0ffee" * 6,
        "git_dirty": "true",
        "flavor": "sklearn",
        name: data_version.md5,
    }
    assert deployment.labels.items() >= expected.items()
    assert deployment.labels["framework"].startswith("scikit-learn==")
    (bento,) = client.serving.bentos()
    assert bento.labels == deployment.labels
    links = {(link.source, link.target) for link in client.serving.links()}
    assert (f"run:{run.run_id}", "model:churn.clf:1") in links
    assert ("model:churn.clf:1", "bento:churn.clf:1") in links
    assert "bento:churn.clf:1" in (client.workspace_path / "links.jsonl").read_text()


def test_a_model_registered_by_plain_mlflow_gets_the_labels_of_its_run(
    client: MLOpsClient, tmp_path: Path
) -> None:
    data = tmp_path / "train.csv"
    data.write_text("age,spend\n1,2\n")
    with client.start_run("training") as run:
        version = client.dvc_add(data)
        info = mlflow.sklearn.log_model(
            fitted(), name="clf", registered_model_name="clf", pip_requirements=["scikit-learn"]
        )
    deployment = client.deploy_model(info, build_bento=False)
    assert deployment.tag == "churn.clf:1"
    assert deployment.labels["run_id"] == run.run_id
    assert deployment.labels["flavor"] == "sklearn"
    assert version.md5 in deployment.labels.values()


def test_an_object_is_logged_first_so_that_its_origin_is_known(client: MLOpsClient) -> None:
    with client.start_run("training") as run:
        inside = client.deploy_model(fitted(), name="clf", input_example=FRAME, build_bento=False)
    assert (inside.tag, inside.labels["run_id"]) == ("churn.clf:1", run.run_id)
    outside = client.deploy_model(fitted(3.0), name="clf", input_example=FRAME, build_bento=False)
    assert outside.tag == "churn.clf:2"
    own = client.get_run(outside.labels["run_id"])
    assert (own["run_name"], own["status"]) == ("deploy-clf", "FINISHED")
    assert len(client.list_runs()) == 2
    version = client.tracking.models.get("clf", version=2)
    assert [column["name"] for column in version.signature["inputs"]] == ["age", "spend"]
    assert client.load_model("clf", version=2).C == 3.0

    signature = mlflow.models.infer_signature(np.zeros((2, 2)), np.zeros(2))
    signed = client.deploy_model(fitted(), name="signed", signature=signature, build_bento=False)
    assert "tensor" in (signed.path / "mlflow_model" / "MLmodel").read_text()


def test_an_object_with_wrong_arguments_leaves_no_run(client: MLOpsClient) -> None:
    before = measure(client.workspace_path)
    for options, error in (
        ({}, "has no name to be registered under"),
        ({"name": "clf", "version": 3}, "gets its version when it is registered"),
        ({"name": "clf", "alias": "production"}, "gets its version when it is registered"),
    ):
        with pytest.raises(IntegrationError, match=error) as caught:
            client.deploy_model(fitted(), **options)
        assert (caught.value.operation, caught.value.workspace) == ("deploy_model", "churn")
    with pytest.raises(InvalidModelNameError, match="Invalid model name 'No!'"):
        client.deploy_model(fitted(), name="No!")
    with pytest.raises(IntegrationError, match=r"No flavour fits .* builtins\.dict"):
        client.deploy_model({"weights": []}, name="clf")
    assert measure(client.workspace_path) == before


def test_the_bento_can_be_built_later_and_goes_where_it_is_needed(
    client: MLOpsClient, tmp_path: Path
) -> None:
    (version,) = logged(client, 1.0)
    for use in (lambda: client.serve("clf"), lambda: client.export_bento("clf", tmp_path / "out")):
        with pytest.raises(ModelNotFoundError, match="no deployed model 'clf'") as caught:
            use()
        assert "client.deploy_model('clf')" in str(caught.value.hint)
    stored = client.deploy_model(version, build_bento=False)
    with pytest.raises(ModelNotFoundError, match="stored without a Bento") as caught:
        client.serve(version)
    assert "client.deploy_model('clf', version='1')" in str(caught.value.hint)
    with pytest.raises(IntegrationError, match="not an object of type LogisticRegression") as refused:
        client.serve(fitted())
    assert "client.deploy_model(model, name=" in str(refused.value.hint)

    built = client.deploy_model("clf")
    assert (stored.bento_tag, built.bento_tag) == (None, "churn.clf:1")
    assert (built.created_at, built.labels) == (stored.created_at, stored.labels)
    client.promote("clf", "production")
    for number, reference in enumerate((version, built, "clf", "clf:1", "clf@production", version.run_id)):
        folder = client.export_bento(reference, tmp_path / f"out{number}")
        assert (folder / "models" / "churn.clf" / "1" / "model.yaml").is_file()
    with client.serve("clf", alias="production") as server:
        assert server.tag == "churn.clf:1"
        assert server.predict(FRAME) == fitted().predict(FRAME).tolist()
        assert [each["tag"] for each in client.serving.servers()] == ["churn.clf:1"]
    assert client.serving.servers() == []
