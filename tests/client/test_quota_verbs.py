"""Quotas as users of the verbs meet them: what has no room leaves nothing behind, and what can go is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops import MLOpsClient, QuotaExceededError, StepError
from mlops.files import measure
from mlops.integrations.evidently_monitoring.project import SNAPSHOTS, project_path
from mlops.integrations.evidently_monitoring.retention import Retention
from mlops.integrations.evidently_monitoring.snapshots import new_id
from mlops.integrations.mlflow_tracking import leftovers
from mlops.workspace import room

FREE = 50_000


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=base) as opened:
        opened.tracking.ensure()
        opened.data.ensure()
        yield opened


def limit(client: MLOpsClient, room_for: int, *, tool: str | None = None) -> None:
    """Leave room for so many bytes, in all or in what one tool stores."""
    used = client.get_storage_usage()
    if tool is None:
        # Of what is measured, the file with the limits itself grows by some bytes.
        quota: dict[str, Any] = {"hard": used["total_bytes"] + room_for}
    else:
        directory = {"bentoml": "models", "evidently": "monitoring"}.get(tool, tool)
        quota = {"tools": {tool: {"hard": used[f"{directory}_bytes"] + room_for}}}
    client.manager.update_workspace_metadata(client.project_name, quota=quota)


def files_of(directory: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in directory.rglob("*") if path.is_file()}


def written(path: Path, size: int, *, seed: int = 0) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(size))
    return path


def test_data_is_refused_before_it_is_stored_and_unchanged_data_costs_nothing(
    client: MLOpsClient, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder / "a", 30_000, seed=1)
    first = client.dvc_add(folder)
    limit(client, FREE, tool="dvc")
    written(folder / "b", FREE + 1, seed=2)
    before, pointer = files_of(client.workspace.dvc_path), (tmp_path / "data.dvc").read_bytes()
    with pytest.raises(
        QuotaExceededError, match=r"no room for 50\.0 kB more in dvc of the project"
    ) as caught:
        client.dvc_add(folder)
    assert caught.value.operation == "add"
    assert caught.value.details["adding_bytes"] == FREE + 1
    assert files_of(client.workspace.dvc_path) == before
    assert (tmp_path / "data.dvc").read_bytes() == pointer
    assert client.data.status()[0].version.md5 == first.md5
    # Content the cache has already, under however many names, needs no room.
    (folder / "b").unlink()
    shutil.copy(folder / "a", folder / "again")
    assert client.dvc_add(folder).files == 2
    # And there is room for as much as there is room for.
    written(folder / "b", FREE - 5000, seed=3)
    assert client.dvc_add(folder).files == 3


def test_data_that_is_too_large_for_sure_is_not_even_read(client: MLOpsClient, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        written(folder / f"{number}", FREE // 2 + number, seed=number)
    limit(client, FREE, tool="dvc")
    read: list[int] = []
    with pytest.raises(QuotaExceededError, match=r"no room for 75\.0 kB more in dvc"):
        client.data.add(folder, progress=lambda done, total: read.append(done))
    assert max(read, default=0) == 0


def test_a_push_to_the_remote_in_the_workspace_and_a_pull_into_the_cache_need_room(
    client: MLOpsClient, tmp_path: Path
) -> None:
    source = written(tmp_path / "data.bin", 60_000)
    client.dvc_add(source)
    limit(client, FREE, tool="dvc")
    before = files_of(client.workspace.dvc_path)
    with pytest.raises(QuotaExceededError, match=r"no room for 60\.0 kB more in dvc") as caught:
        client.dvc_push()
    assert caught.value.operation == "push"
    assert files_of(client.workspace.dvc_path) == before
    limit(client, FREE + 20_000, tool="dvc")
    assert client.dvc_push().objects == 1
    # Nothing is left to push, so the limit is in nobody's way.
    limit(client, 1, tool="dvc")
    assert client.dvc_push().objects == 0
    shutil.rmtree(client.workspace.dvc_path / ".dvc" / "cache" / "files")
    source.unlink()
    limit(client, FREE, tool="dvc")
    with pytest.raises(QuotaExceededError, match=r"no room for 60\.0 kB more in dvc"):
        client.dvc_pull()
    assert not source.exists()
    limit(client, FREE + 20_000, tool="dvc")
    client.dvc_pull()
    assert source.stat().st_size == 60_000


def test_a_remote_elsewhere_is_not_limited(base: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    client = MLOpsClient("churn", base_path=base, dvc_remote_path=str(tmp_path / "shared"))
    client.dvc_add(written(tmp_path / "data.bin", 60_000))
    limit(client, 1)
    assert client.dvc_push().objects == 1


def test_a_copy_from_another_project_needs_room(client: MLOpsClient, base: Path, tmp_path: Path) -> None:
    with MLOpsClient.from_project("origin", base_path=base) as origin:
        version = origin.dvc_add(written(tmp_path / "data.bin", 60_000))
        limit(client, FREE, tool="dvc")
        with pytest.raises(QuotaExceededError, match="dvc of the project 'churn'"):
            client.data.copy_from(origin.data, version)
    assert client.data.history() == []
    assert not list(client.workspace.outputs_path.iterdir())


def test_artifacts_are_refused_and_the_run_goes_on(client: MLOpsClient, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "link").symlink_to(written(tmp_path / "large.bin", FREE + 1))
    limit(client, FREE)
    with client.start_run() as run:
        with pytest.raises(QuotaExceededError, match=r"no room for 50\.0 kB more in the project 'churn'"):
            client.log_artifact(tmp_path / "large.bin")
        with pytest.raises(QuotaExceededError) as caught:
            client.log_artifacts(folder)
        assert caught.value.operation == "log_artifacts"
        client.log_artifact(written(tmp_path / "small.bin", 1000))
    assert client.get_run(run.run_id)["status"] == "FINISHED"
    assert [item["name"] for item in client.get_artifacts("file")] == ["small.bin"]


def test_a_model_is_refused_before_it_is_stored_and_its_package_costs_nothing_in_total(
    client: MLOpsClient,
) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))
    model = LogisticRegression().fit(rows, rows["a"] > 0)
    model.ballast_ = np.random.default_rng(0).bytes(100_000)
    limit(client, FREE, tool="mlflow")
    with client.start_run():
        before = files_of(client.workspace.mlflow_path / "artifacts")
        with pytest.raises(QuotaExceededError, match="more in mlflow of the project 'churn'") as caught:
            client.log_model(model, "large", pip_requirements=["scikit-learn"])
        assert caught.value.operation == "log_model"
        assert files_of(client.workspace.mlflow_path / "artifacts") == before
        assert client.tracking.models.list() == []
        client.manager.update_workspace_metadata("churn", quota=None)
        client.log_model(model, "large", pip_requirements=["scikit-learn"])
    limit(client, FREE, tool="bentoml")
    with pytest.raises(QuotaExceededError, match="more in models of the project 'churn'") as caught:
        client.deploy_model("large", build_bento=False)
    assert caught.value.operation == "deploy"
    assert client.serving.models() == []
    assert measure(client.workspace.models_path).bytes == 0
    # Its files become hard links, which the project as a whole has room for.
    limit(client, FREE)
    assert client.deploy_model("large", build_bento=False).size > 100_000


def test_a_service_of_ones_own_is_refused_before_it_is_built(client: MLOpsClient, tmp_path: Path) -> None:
    source = tmp_path / "large_service.py"
    source.write_text(f"import bentoml\n\n@bentoml.service\nclass Large:\n    data = {'x' * FREE!r}\n")
    client.serving.ensure()
    limit(client, FREE, tool="bentoml")
    with pytest.raises(QuotaExceededError, match=r"no room for 50\.\d kB more in models") as caught:
        client.serving.deploy_service(source, name="large", version="1", requirements=["numpy"])
    assert caught.value.operation == "deploy_service"
    assert measure(client.workspace.models_path).files == 0


def test_reference_data_is_refused_and_the_former_stays(client: MLOpsClient) -> None:
    generator = np.random.default_rng(0)
    former = client.set_reference_data(pd.DataFrame({"a": generator.normal(size=100)}))
    limit(client, FREE, tool="evidently")
    with pytest.raises(QuotaExceededError, match="more in monitoring of the project 'churn'"):
        client.set_reference_data(pd.DataFrame({"a": generator.normal(size=20_000)}))
    held = client.workspace.monitoring_path / "reference"
    assert [path.name for path in held.iterdir() if path.is_dir()] == [former.hash]
    assert not list((client.workspace.state_path / "staging").glob("reference-*"))


def make_large() -> bytes:
    return np.random.default_rng(0).bytes(FREE * 2)


def test_a_step_whose_output_has_no_room_fails_and_leaves_none(client: MLOpsClient) -> None:
    pipeline = client.create_pipeline("large").add_step(make_large)
    pipeline.run()
    stored = client.workspace.root_path / "pipelines" / "objects"
    (path,) = [each for each in stored.glob("*/*") if each.stat().st_size == FREE * 2]
    path.unlink()
    for name in path.name, "make_large.bin":
        for other in client.workspace.root_path.rglob(name):
            other.unlink()
    limit(client, FREE)
    with pytest.raises(StepError) as caught:
        pipeline.run()
    assert isinstance(caught.value.__cause__, QuotaExceededError)
    assert not path.exists()
    assert not list(stored.glob(".*.tmp"))
    assert client.list_runs("large")[0]["status"] == "FAILED"
    # What the temporary file takes is not taken for what is stored.
    limit(client, FREE * 2 + 20_000)
    assert pipeline.run().success


def test_the_usage_tells_limits_that_were_set_after_the_project_was_opened(client: MLOpsClient) -> None:
    assert "quota" not in client.get_storage_usage()
    client.manager.update_workspace_metadata(
        "churn", quota={"hard": "1GB", "tools": {"mlflow": {"soft": 10}}}
    )
    usage = client.get_storage_usage()
    total, mlflow = usage["quota"]
    assert total == {
        "scope": "total",
        "used_bytes": usage["total_bytes"],
        "soft_bytes": None,
        "hard_bytes": 10**9,
        "state": "ok",
    }
    assert (mlflow["scope"], mlflow["used_bytes"], mlflow["state"]) == (
        "mlflow",
        usage["mlflow_bytes"],
        "soft",
    )
    file = client.workspace.metadata_file
    file.write_text(file.read_text().replace("hard: 1GB", "hard: lots"))
    usage = client.get_storage_usage()
    assert "quota" not in usage
    assert "quota.hard: it must be a number of bytes" in usage["quota_error"]


def constant() -> str:
    return "the same text each time"


def test_what_can_go_is_told_by_tool_and_nothing_is_changed(
    client: MLOpsClient, base: Path, tmp_path: Path
) -> None:
    source = written(tmp_path / "data.bin", 7000, seed=1)
    client.dvc_add(source)
    client.dvc_push()
    client.dvc_add(written(source, 100, seed=2))
    with client.start_run() as kept:
        client.log_text("kept", "kept.txt")
    with client.start_run() as doomed:
        client.log_artifact(written(tmp_path / "doomed.bin", 9000))
    client.create_pipeline("steps").add_step(constant).run()
    mlflow = client.tracking.client()
    mlflow.delete_run(doomed.run_id)
    orphan = client.tracking.artifact_root / "0" / ("0" * 32) / "artifacts"
    orphan.mkdir(parents=True)
    written(orphan / "lost.bin", 3000)
    rows = pd.DataFrame({"a": [0.0, 1.0]})
    import mlflow.sklearn as flavour

    flavour.save_model(LogisticRegression().fit(rows, [0, 1]), tmp_path / "model", pip_requirements=["numpy"])
    client.serving.deploy(tmp_path / "model", model="alone", version="7", build_bento=False)
    client.monitoring.ensure()
    directory = project_path(client.workspace) / SNAPSHOTS
    for number in range(3):
        (directory / f"{new_id(1_700_000_000_000 + number)}.json").write_bytes(bytes(100))
    client.manager.update_workspace_metadata("churn", retention={"snapshots": 1})
    unnamed = client.workspace.root_path / "pipelines" / "objects" / "ab" / f"{'ab' * 32}.bin"
    unnamed.parent.mkdir(parents=True, exist_ok=True)
    written(unnamed, 2000)
    os.utime(unnamed, (0, 0))

    before = files_of(base)
    found = client.get_reclaimable()
    assert files_of(base) == before
    assert found.errors == {}
    by_what = {(row.tool, row.what): row for row in found.rows}
    cached = by_what["dvc", "cached data that no version in use needs"]
    assert (cached.count, cached.bytes, cached.how) == (1, 7000, "mlops data gc --project churn --yes")
    remote = by_what["dvc", "the same in the remote"]
    assert (remote.bytes, remote.how) == (7000, "mlops data gc --project churn --yes --remote")
    deleted = by_what["mlflow", "deleted runs and logged models"]
    assert deleted.count == 1
    assert 9000 <= deleted.bytes < 40_000
    lost = by_what["mlflow", "artifacts of no run or model"]
    assert (lost.count, lost.bytes, lost.how) == (1, 3000, f"rm -r {orphan.parent}")
    alone = by_what["bentoml", "model churn.alone:7, in no Bento and not registered"]
    assert alone.how == "client.serving.delete('alone', '7')"
    assert alone.bytes == measure(client.workspace.models_path / "models" / "churn.alone" / "7").bytes
    snapshots = by_what["evidently", "snapshots beyond what retention keeps"]
    assert (snapshots.count, snapshots.bytes) == (2, 200)
    outputs = by_what["pipelines", "stored outputs that no run names"]
    assert (outputs.count, outputs.bytes, outputs.paths) == (1, 2000, (str(unnamed),))
    assert len(by_what) == 7
    assert json.loads(json.dumps(found.to_dict()))["bytes"] == found.bytes

    # What is told is what the commands do.
    assert client.data.gc(dry_run=False, remote=True).bytes == 7000
    subprocess.run(
        [sys.executable, "-m", *deleted.how.split()],
        check=True,
        capture_output=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        timeout=120,
    )
    client.serving.delete("alone", "7")
    now = client.manager.get_workspace("churn")
    assert Retention.of(now, operation="test").thin(directory, now, operation="test") == 2
    shutil.rmtree(orphan.parent)
    unnamed.unlink()
    assert client.get_reclaimable().rows == ()
    assert not list(client.tracking.artifact_root.glob(f"0/{doomed.run_id}/artifacts/*"))
    assert {item["name"] for item in client.get_artifacts("file")} == {"constant", "kept.txt"}
    (output,) = (item for item in client.get_artifacts() if item["name"] == "constant")
    assert client.load_output(output["digest"]) == constant()
    assert kept.run_id in {each["run_id"] for each in client.list_runs()}


def test_a_run_that_starts_meanwhile_is_not_taken_for_lost(
    client: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = leftovers._directories

    def start_one_and_list(root: Path) -> list[Path]:
        with client.start_run():
            client.log_text("new", "new.txt")
        return listed(root)

    monkeypatch.setattr(leftovers, "_directories", start_one_and_list)
    assert client.get_reclaimable().rows == ()
    assert len(client.list_runs()) == 1


def test_a_store_that_cannot_be_read_is_named_and_hides_no_other(client: MLOpsClient) -> None:
    (client.workspace.mlflow_path / "mlflow.db").write_bytes(b"no database" * 1000)
    found = client.get_reclaimable()
    assert {"mlflow", "pipelines", "bentoml"} <= set(found.errors)
    assert "evidently" not in found.errors
    assert "mlflow.db" in found.errors["mlflow"]


def test_two_projects_have_limits_of_their_own(base: Path, tmp_path: Path) -> None:
    room._measured.clear()
    large = written(tmp_path / "large.bin", 60_000)
    with MLOpsClient("one", base_path=base) as one, MLOpsClient("two", base_path=base) as two:
        limit(one, FREE)
        with one.start_run(), two.start_run():
            with pytest.raises(QuotaExceededError, match="the project 'one'"):
                one.log_artifact(large)
            two.log_artifact(large)
