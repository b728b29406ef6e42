"""That no two projects share anything is proved; bad settings and secrets are found."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.integrations.mlflow_tracking import store
from mlops.reporting.doctor import Finding, examine
from mlops.reporting.doctor.secrets import kinds_in, redacted


@pytest.fixture
def manager(base: Path) -> WorkspaceManager:
    """Two projects that share nothing."""
    manager = WorkspaceManager(base)
    for name in ("churn", "fraud"):
        manager.create_workspace(name)
    assert examine(manager) == []
    return manager


def found(manager: WorkspaceManager, **options: bool) -> list[tuple[str, str]]:
    return [(finding.project, str(finding.check)) for finding in examine(manager, **options)]


def both(check: str) -> list[tuple[str, str]]:
    return [("churn", check), ("fraud", check)]


def edit(manager: WorkspaceManager, project: str, **values: object) -> None:
    """Change a workspace.yaml as a person does, without a check."""
    import yaml

    path = manager.base_path / project / "workspace.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("churn", "fraud"),
    [
        ("/data/remotes/shared", "/data/remotes/shared/churn"),
        ("s3://bucket/ml", "s3://bucket/ml/churn"),
        ("s3://bucket/ml", "S3://bucket/ml/churn/"),
    ],
)
def test_a_remote_inside_of_another_projects_is_shared(
    manager: WorkspaceManager, churn: str, fraud: str
) -> None:
    edit(manager, "churn", dvc_remote_path=churn)
    edit(manager, "fraud", dvc_remote_path=fraud)
    findings = examine(manager)
    assert [(f.project, str(f.check)) for f in findings] == both("shared-store")
    assert all("DVC remote" in f.message and f.problem and not f.fixable for f in findings)
    assert findings[0].details["projects"] == ["fraud"]
    # One project alone is compared with all the others, too.
    assert examine(manager, "fraud") == findings[1:]


def test_remotes_and_stores_side_by_side_are_not_shared(manager: WorkspaceManager, base: Path) -> None:
    for name in ("churn", "fraud"):
        edit(
            manager,
            name,
            dvc_remote_path="s3://bucket/ml",
            mlflow_tracking_uri=f"sqlite:///{base.parent}/all.db",
        )
    manager.create_workspace("churn-2", dvc_remote_path="s3://bucket/ml")
    assert examine(manager) == []


def test_an_experiment_or_a_prefix_of_models_on_one_server_is_shared(
    manager: WorkspaceManager, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("churn", "fraud"):
        edit(manager, name, mlflow_tracking_uri=f"sqlite:///{base.parent}/all.db")
    edit(manager, "fraud", bentoml_tag_prefix="churn.fraud.")
    first, _ = examine(manager)
    assert "The model prefix of churn, churn. on sqlite" in first.message
    edit(manager, "fraud", bentoml_tag_prefix=None)
    with monkeypatch.context() as patch:
        patch.setenv("MLOPS_MLFLOW_EXPERIMENT_NAME", "everything")
        first, _ = examine(manager)
    assert "The experiment of churn, everything on sqlite" in first.message


def test_another_projects_own_database_is_shared(manager: WorkspaceManager, base: Path) -> None:
    edit(manager, "fraud", mlflow_tracking_uri=f"sqlite:///{base}/churn/mlflow/mlflow.db")
    findings = examine(manager)
    assert [(f.project, str(f.check)) for f in findings] == both("shared-store")
    assert "tracking database" in findings[0].message


def test_caches_and_evidently_projects_are_shared_by_configuration(manager: WorkspaceManager) -> None:
    for name in ("churn", "fraud"):
        MLOpsClient(name, workspace_manager=manager).data.ensure()
    # Nobody but plain DVC reads this, which then stores the objects of one project with the other.
    config = manager.base_path / "fraud" / "dvc" / ".dvc" / "config.local"
    config.write_text(f"[cache]\n    dir = {manager.base_path / 'churn' / 'dvc' / '.dvc' / 'cache'}\n")
    first, second = examine(manager)
    assert (first.check, first.project) == ("shared-store", "churn")
    assert "cache of plain DVC" in second.message
    config.unlink()
    edit(manager, "fraud", evidently_project_id=manager.get_workspace("churn").id)
    findings = examine(manager)
    assert [(f.project, str(f.check)) for f in findings] == both("shared-store")
    assert "Evidently project" in findings[0].message


def test_links_between_projects_and_hard_linked_files_are_shared(
    manager: WorkspaceManager, base: Path
) -> None:
    (base / "churn" / "outputs" / "table.csv").write_text("a\n")
    (base / "fraud" / "outputs" / "theirs").symlink_to(base / "churn" / "outputs")
    (base / "fraud" / "outputs" / "loop").symlink_to(base / "fraud" / "outputs" / "loop")
    link = base / "fraud" / "outputs" / "linked.csv"
    link.hardlink_to(base / "churn" / "outputs" / "table.csv")
    (base / "churn" / "outputs" / "twice.csv").hardlink_to(base / "churn" / "outputs" / "table.csv")
    before = sorted(base.rglob("*"))
    findings = {(f.project, str(f.check)): f for f in examine(manager, fix=True)}
    assert sorted(findings) == [
        ("churn", "shared-file"),
        ("fraud", "link-to-project"),
        ("fraud", "shared-file"),
    ]
    assert list(findings["fraud", "link-to-project"].details["links"]) == [str(link.with_name("theirs"))]
    assert findings["fraud", "shared-file"].details["files"] == [str(link)]
    assert [f.project for f in examine(manager, "fraud")] == ["fraud", "fraud"]
    assert sorted(base.rglob("*")) == before
    # What nobody can write to, like a stored object, may be linked.
    link.chmod(0o444)
    assert found(manager) == [("fraud", "link-to-project")]


def test_a_server_that_does_not_answer_is_asked_once(manager: WorkspaceManager) -> None:
    for name in ("churn", "fraud"):
        edit(manager, name, mlflow_tracking_uri="http://ml:hunter" + "2x@127.0.0.1:9")
    told = [f.message for f in examine(manager) if f.check == "store-unavailable"]
    assert "The MLflow store http://127.0.0.1:9 cannot be reached" in told[0]
    assert "http://127.0.0.1:9 did not answer for another project either" in told[1]


def test_names_that_are_one_on_a_server_collide(manager: WorkspaceManager, base: Path) -> None:
    manager.create_workspace("a-b")
    (base / "a_b").mkdir()
    (base / "a_b" / "workspace.yaml").write_text("schema_version: 1\nid: other\nproject_name: a_b\n")
    assert found(manager) == [("a-b", "name-collision"), ("a_b", "name-collision")]


def test_a_copied_database_is_told_from_a_moved_one(base: Path) -> None:
    manager = WorkspaceManager(base)
    client = MLOpsClient.from_project("churn", base_path=base)
    client.tracking.ensure()
    database = client.tracking.database
    subprocess.run(["cp", "-a", base / "churn", base / "copy"], check=True)
    edit(manager, "copy", project_name="copy", id=str(uuid.uuid4()), evidently_project_id=None)
    (finding,) = examine(manager)
    assert (finding.project, str(finding.check), finding.problem) == ("copy", "foreign-location", True)
    assert "was copied here" in finding.message
    (base / "churn").rename(base / "moved")
    edit(manager, "moved", project_name="moved")
    moved = next(f for f in examine(manager) if f.project == "moved")
    assert (str(moved.check), moved.problem) == ("foreign-location", False)
    assert all(f.fixed for f in examine(manager, fix=True))
    assert examine(manager) == []
    assert database.parents[1].exists() is False
    with store.reading(base / "copy" / "mlflow" / "mlflow.db") as connection:
        (location,) = connection.execute("SELECT artifact_location FROM experiments").fetchone()
    assert location == f"{(base / 'copy' / 'mlflow' / 'artifacts').as_uri()}/0"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"quota": {"soft": "much"}}, "quota"),
        ({"retention": {"days": -1}}, "retention.days"),
        ({"monitoring": {"thresholds": {"drift_shar": 0.3}}}, "monitoring.thresholds.drift_shar"),
        ({"schedules": [{"name": "night"}]}, "'night'"),
        ({"dvc_remote_path": "../elsewhere"}, "../elsewhere"),
        ({"dvc_remote_path": "ftp://host/path"}, "ftp://"),
        ({"mlflow_tracking_uri": "${NOT_THERE}"}, "NOT_THERE"),
        ({"bentoml_tag_prefix": "No."}, "No."),
    ],
)
def test_settings_that_make_no_sense_are_found(
    manager: WorkspaceManager, values: dict[str, object], named: str
) -> None:
    edit(manager, "churn", **values)
    findings = examine(manager)
    assert findings
    assert {(f.project, str(f.check)) for f in findings} <= {
        ("churn", "wrong-setting"),
        ("churn", "shared-store"),
    }
    assert named in findings[0].message
    assert all(f.hint and f.problem for f in findings)


def test_keys_of_a_schedule_that_nobody_reads_are_unknown(manager: WorkspaceManager) -> None:
    schedule = {"name": "night", "target": "a:b", "cron": "0 2 * * *", "retrys": 3}
    edit(manager, "churn", schedules=[schedule], colour="red")
    (finding,) = examine(manager)
    assert (str(finding.check), finding.details["keys"]) == (
        "unknown-key",
        ["colour", "schedules.night.retrys"],
    )


def test_a_project_that_lost_its_file_is_found(manager: WorkspaceManager, base: Path) -> None:
    MLOpsClient("churn", workspace_manager=manager).serving.ensure()
    (base / "notes").mkdir()
    (base / "churn" / "workspace.yaml").unlink()
    (finding,) = examine(manager, fix=True)
    assert (finding.project, str(finding.check)) == ("churn", "corrupt-workspace")
    assert finding.details["holds"] == ["models/models"]
    assert examine(manager, "fraud") == []


def test_files_of_other_schema_versions_are_told(manager: WorkspaceManager, base: Path) -> None:
    edit(manager, "churn", schema_version=2)
    path = base / "fraud" / "workspace.yaml"
    path.write_text("project_name: fraud\ncreated_at: 2024-01-01T00:00:00\nroot_path: /elsewhere/fraud\n")
    newer, older = examine(manager)
    assert (newer.project, str(newer.check), newer.problem) == ("churn", "schema-version", True)
    assert "pip install -U" in newer.hint
    assert (older.project, str(older.check), older.problem) == ("fraud", "schema-version", False)
    MLOpsClient.from_project("fraud", base_path=base, description="seen").close()
    assert found(manager) == [("churn", "schema-version")]


# Put together here, so that nobody's scanner takes this file for a leak.
SECRETS = {
    "a URL with a password": "postgresql://ml:hunter" + "2x@db.example/ml",
    "an AWS access key": "AKI" + "AIOSFODNN7ABCDEFG",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a GitHub token": "gh" + "p_" + "a1B2" * 9,
    "a GitLab token": "glp" + "at-" + "x" * 20,
    "a Slack token": "xox" + "b-123456789012-abcdefghijkl",
    "a Slack webhook": "https://hooks.slack" + ".com/services/T00000000/B00000000/" + "x" * 24,
    "a Hugging Face token": "hf" + "_" + "aBcD" * 9,
    "an API key of OpenAI or Anthropic": "sk" + "-ant-" + "a1" * 20,
    "a Google API key": "AI" + "za" + "a" * 35,
    "a PyPI token": "pyp" + "i-AgEIcHlwaS5vcmc" + "a" * 60,
}
HARMLESS = (
    "postgresql://ml:${DB_PASSWORD}@db.example/ml",
    "postgresql://ml:***@db.example/ml",
    "http://127.0.0.1:5000/path@here",
    "https://user:<password>@host",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "sk-learn",
    "hf_hub_download",
    "task-0123456789",
    "s3://bucket/prefix",
    "2033516e922fc62e56b9c0ff69320c16",
)


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_known_by_their_form(kind: str) -> None:
    text = f"before {SECRETS[kind]} after"
    assert kinds_in(text) == [kind]
    assert SECRETS[kind] not in redacted(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_resembles_a_secret_is_none(text: str) -> None:
    assert kinds_in(text) == []


def test_secrets_are_found_where_they_were_written_and_never_shown(base: Path) -> None:
    manager = WorkspaceManager(base)
    client = MLOpsClient.from_project("churn", base_path=base)
    texts = iter(SECRETS.values())
    url = next(texts)
    webhooks = [SECRETS["a Slack webhook"], "https://${HOOK}"]
    mail = {"smtp_password": "correct-horse", "imap_password": "${IMAP}", "tokens": "123456"}
    edit(manager, "churn", monitoring={"webhooks": webhooks}, metadata=mail)
    client.data.ensure()
    config = base / "churn" / "dvc" / ".dvc" / "config"
    config.write_text(config.read_text() + '    secret_access_key = "0123"\n')
    (base / "churn" / "dvc" / ".dvc" / "config.local").write_text(f"[remote]\n    url = {url}\n")
    store = client.tracking.client()
    run = store.create_run(
        "0", run_name="run", tags={"mlops.command": f"train --token {SECRETS['a GitHub token']}"}
    )
    store.log_param(run.info.run_id, "db", url)
    for key, value in {"lr": "0.1", "db.password": "correct horse", "api_key": "${API_KEY}"}.items():
        store.log_param(run.info.run_id, key, value)
    store.set_tag(run.info.run_id, "note", "--password is asked for; eos_token=endoftext key: abcdef")
    store.set_tag(run.info.run_id, "started", "train.py --db-password 'battery-staple' data.csv")
    store.set_terminated(run.info.run_id)
    store.create_registered_model("churn.m", description=SECRETS["an AWS access key"])
    client.close()
    findings = examine(manager)
    assert {str(f.check) for f in findings} == {"secret"}
    run_id = run.info.run_id
    places = sorted((f.details["place"].rpartition("/")[2], f.details["kind"]) for f in findings)
    assert places == sorted(
        [
            ("config, section 'remote \"project\"'", "the option secret_access_key"),
            ("'description' of the model churn.m", "an AWS access key"),
            (f"'db' of the run {run_id}", "a URL with a password"),
            (f"'db.password' of the run {run_id}", "what is named a password or key"),
            (f"'started' of the run {run_id}", "what is named a password or key"),
            (f"'mlops.command' of the run {run_id}", "a GitHub token"),
            (_line_of(base / "churn" / "workspace.yaml", "hooks.slack"), "a Slack webhook"),
            (_line_of(base / "churn" / "workspace.yaml", "smtp_password"), "what is named a password or key"),
        ]
    )
    everything = json.dumps([f.to_dict() for f in findings])
    hidden = (*SECRETS.values(), "correct", "battery")
    assert not any(secret in everything for secret in hidden)
    assert all(f.problem and "change the secret" in f.hint for f in findings)


def _line_of(path: Path, text: str) -> str:
    number = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)
    return f"{path.name}, line {number}"


def test_an_error_that_quotes_a_secret_is_told_without_it(manager: WorkspaceManager) -> None:
    secret = "ftp://ml:hunter" + "2x@host/path"
    edit(manager, "churn", dvc_remote_path=secret, mlflow_tracking_uri=secret)
    findings: list[Finding] = examine(manager)
    assert {str(f.check) for f in findings} >= {"secret", "wrong-setting"}
    assert "hunter" not in json.dumps([f.to_dict() for f in findings])


def test_a_look_at_many_projects_takes_little_more_than_reading_their_files(base: Path) -> None:
    manager = WorkspaceManager(base)
    client = MLOpsClient.from_project("p-0", base_path=base)
    client.tracking.ensure()
    for number in range(1, 40):
        manager.create_workspace(f"p-{number}")
        MLOpsClient(f"p-{number}", workspace_manager=manager).tracking.ensure()
    before = time.process_time()
    assert examine(manager) == []
    # A hundredth of a second each at rest; the bound leaves room for a slow machine.
    assert time.process_time() - before < 40 * 0.1
