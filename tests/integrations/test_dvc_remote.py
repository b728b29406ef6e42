from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops.errors import (
    ConfigError,
    DataIntegrityError,
    IntegrationNotInstalledError,
    IntegrationUnavailableError,
    IsolationError,
    MLOpsError,
)
from mlops.integrations.dvc_data import DVCData
from mlops.integrations.dvc_data.remote import locate_remote
from mlops.integrations.dvc_data.vault import Vault
from mlops.workspace.tools import ToolContext, ToolState

MakeContext = Callable[..., ToolContext]
MARKER = "s3cr3t-value-42"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment() -> Iterator[pytest.MonkeyPatch]:
    """Variables of a test, gone before the check that the library changed none."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def bucket(s3: str, environment: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3

    environment.setenv("AWS_ACCESS_KEY_ID", "testing-key-id")
    environment.setenv("AWS_SECRET_ACCESS_KEY", MARKER)
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    environment.setenv("AWS_ENDPOINT_URL", s3)
    resource = boto3.resource("s3")
    made = resource.create_bucket(Bucket="team-bucket")
    yield "team-bucket"
    made.objects.all().delete()
    made.delete()


def keys(bucket: str) -> list[str]:
    import boto3

    return sorted(item.key for item in boto3.resource("s3").Bucket(bucket).objects.all())


def test_projects_share_a_bucket_and_no_object(
    make_context: MakeContext, bucket: str, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/data"
    churn = DVCData(make_context("churn", dvc_remote_path=url))
    fraud = DVCData(make_context("fraud", dvc_remote_path=url))
    source = tmp_path / "set"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name)
    version = churn.add(source, pointer=False)
    assert fraud.add(source, pointer=False).md5 == version.md5
    assert churn.push().objects == 3
    assert fraud.summary()["unpushed"] == 1
    assert fraud.push().objects == 3
    assert {key.partition("/files/")[0] for key in keys(bucket)} == {"data/churn", "data/fraud"}
    assert churn.push().objects == 0

    import boto3

    lost = next(key for key in keys(bucket) if key.startswith("data/churn") and not key.endswith(".dir"))
    boto3.resource("s3").Object(bucket, lost).delete()
    assert churn.push(source).objects == 1

    shutil.rmtree(churn.context.workspace.dvc_path)
    churn.pull(version=version.md5, destination=tmp_path / "back")
    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == {"a": "a", "b": "b"}

    shutil.rmtree(fraud.context.workspace.dvc_path / ".dvc" / "cache")
    boto3.resource("s3").Bucket(bucket).objects.filter(Prefix="data/fraud").delete()
    with pytest.raises(DataIntegrityError, match="file list"):
        fraud.push()


def test_options_of_config_local_are_used_and_kept_out_of_exports(
    make_context: MakeContext, bucket: str, s3: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.delenv("AWS_ENDPOINT_URL")
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    data = DVCData(make_context(dvc_remote_path=f"s3://{bucket}"))
    data.ensure()
    (data.context.workspace.dvc_path / ".dvc" / "config.local").write_text(
        "['remote \"project\"']\n"
        f"    endpointurl = {s3}\n    access_key_id = abcd\n    secret_access_key = {MARKER}\n"
    )
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    assert data.push().objects == 1
    (tmp_path / "export").mkdir()
    data.export(tmp_path / "export")
    exported = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
    assert exported
    assert not any(MARKER.encode() in path.read_bytes() for path in exported)


def test_an_unreachable_remote_is_an_error_without_secrets(
    make_context: MakeContext, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", "testing-key-id")
    environment.setenv("AWS_SECRET_ACCESS_KEY", MARKER)
    environment.setenv("AWS_ENDPOINT_URL", f"http://{MARKER}@127.0.0.1:9")
    environment.setenv("AWS_MAX_ATTEMPTS", "1")
    data = DVCData(make_context(dvc_remote_path="s3://team-bucket"))
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    with pytest.raises(IntegrationUnavailableError, match=r"s3://team-bucket/churn cannot be used") as caught:
        data.push()
    assert (caught.value.operation, caught.value.tool) == ("push", "dvc")
    assert MARKER not in str(caught.value)
    assert caught.value.__cause__ is None or MARKER not in str(caught.value.__cause__)


def test_a_missing_bucket_is_an_error(make_context: MakeContext, bucket: str, tmp_path: Path) -> None:
    data = DVCData(make_context(dvc_remote_path="s3://no-such-bucket"))
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    with pytest.raises(IntegrationUnavailableError, match="no-such-bucket"):
        data.push()
    assert data.summary()["unpushed"] == 1


def test_a_missing_plugin_is_named(
    make_context: MakeContext, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    data = DVCData(make_context(dvc_remote_path="gs://team-bucket"))
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    assert data.health().state is ToolState.NOT_INSTALLED
    with pytest.raises(IntegrationNotInstalledError, match="'dvc-gs' is not installed") as caught:
        data.push()
    assert caught.value.hint == 'install it with: pip install "dvc[gs]"'
    data = DVCData(make_context(dvc_remote_path="s3://team-bucket"))
    assert data.health().state is ToolState.READY
    environment.setitem(sys.modules, "dvc_s3", None)
    with pytest.raises(IntegrationNotInstalledError, match="s3") as caught:
        data.push()
    assert caught.value.details["extra"] == "s3"


def test_where_the_remote_is(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context()
    root = context.workspace.root_path
    operation = Vault(context).operation("push")

    def at(setting: str | None) -> tuple[str, str]:
        found = locate_remote(context.workspace, setting, operation)
        return found.url, found.identity

    assert at(None) == (str(root / "dvc/remote"), "dvc/remote")
    assert at("store/dvc") == (str(root / "store/dvc"), "store/dvc")
    assert at(str(root / "store")) == (str(root / "store"), "store")
    assert at(str(tmp_path / "nas"))[0] == str(tmp_path / "nas" / "churn")
    assert at(f"file://{tmp_path}/nas/churn/")[0] == str(tmp_path / "nas" / "churn")
    assert at("s3://bucket")[0] == "s3://bucket/churn"
    assert at("s3://bucket/a/churn/")[0] == "s3://bucket/a/churn"
    assert at(f"https://me:{MARKER}@host/x?sig={MARKER}") == (
        f"https://me:{MARKER}@host/x/churn?sig={MARKER}",
        "https://me@host/x/churn",
    )
    for setting, kind in {
        "": ConfigError,
        'a"b': ConfigError,
        "ftp://host/x": ConfigError,
        "../other/dvc/remote": IsolationError,
        ".": IsolationError,
        "dvc": IsolationError,
        "dvc/.dvc/cache": IsolationError,
    }.items():
        with pytest.raises(kind) as caught:
            at(setting)
        assert caught.value.hint
    make_context("fraud")
    with pytest.raises(IsolationError, match="another workspace"):
        at(str(root.parent / "fraud" / "dvc" / "remote"))


def test_secrets_of_a_url_stay_in_memory(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(dvc_remote_path=f"http://me:{MARKER}@127.0.0.1:9/x?sig={MARKER}")
    data = DVCData(context)
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    shown = [str(data.health()), str(data.summary()), str(data.status()), str(data.datasets())]
    with pytest.raises(MLOpsError) as caught:
        data.push()
    shown += [str(caught.value), str(caught.value.__cause__ or "")]
    for path in context.workspace.root_path.rglob("*"):
        if path.is_file():
            shown.append(path.read_text(errors="replace"))
    assert not [text for text in shown if MARKER in text]


@pytest.mark.parametrize("folder", ["with space, comma", "größe #1 100%", "it's"])
def test_a_remote_of_any_name(make_context: MakeContext, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    data = DVCData(make_context(dvc_remote_path=str(tmp_path / folder)))
    (tmp_path / "a.csv").write_text("1")
    version = data.add(tmp_path / "a.csv")
    data.push()
    assert (tmp_path / folder / "churn/files/md5" / version.md5[:2] / version.md5[2:]).read_text() == "1"
    from dvc.config import Config

    config = Config(str(data.context.workspace.dvc_path / ".dvc"))
    assert config["remote"]["project"]["url"] == str(tmp_path / folder / "churn")


def test_another_remote_starts_with_nothing_pushed(make_context: MakeContext, tmp_path: Path) -> None:
    first = make_context()
    (tmp_path / "a.csv").write_text("1")
    data = DVCData(first)
    data.add(tmp_path / "a.csv")
    data.push()
    (tmp_path / "nas").mkdir()
    other = DVCData(
        ToolContext(first.workspace, make_context(dvc_remote_path=str(tmp_path / "nas")).settings)
    )
    assert other.summary()["unpushed"] == 1
    assert other.push().objects == 1
    assert str(tmp_path / "nas" / "churn") in (first.workspace.dvc_path / ".dvc" / "config").read_text()
    assert data.summary()["unpushed"] == 0


def test_the_users_own_dvc_settings_do_not_count(
    make_context: MakeContext, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "config" / "dvc"
    settings.mkdir(parents=True)
    (settings / "config").write_text(
        f"[core]\n    remote = mine\n[cache]\n    dir = {tmp_path / 'foreign'}\n"
        f"['remote \"project\"']\n    url = {tmp_path / 'foreign'}\n    jobs = 1\n"
    )
    environment.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    environment.setenv("DVC_GLOBAL_CONFIG_DIR", str(settings))
    environment.setenv("DVC_SYSTEM_CONFIG_DIR", str(settings))
    data = DVCData(make_context())
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    data.push()
    shutil.rmtree(data.context.workspace.dvc_path / ".dvc" / "cache")
    data.pull(force=True)
    assert not (tmp_path / "foreign").exists()


def test_a_bucket_is_read_again_mended_and_cleaned_up(
    make_context: MakeContext, bucket: str, tmp_path: Path
) -> None:
    import boto3

    data = DVCData(make_context(dvc_remote_path=f"s3://{bucket}/data"))
    source = tmp_path / "set"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name * 1000)
    first = data.add(source)
    seen: list[tuple[int, int]] = []
    data.push(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] >= 2000
    assert data.verify().ok

    damaged, gone = (key for key in keys(bucket) if not key.endswith(".dir"))
    objects = boto3.resource("s3")
    objects.Object(bucket, damaged).put(Body=b"x" * 1000)
    objects.Object(bucket, gone).delete()
    report = data.verify()
    assert report.damaged == (f"s3://{bucket}/{damaged}",)
    assert (len(report.gaps), report.missing) == (2, ())
    assert data.push(repair=True).objects == 2
    assert data.verify().ok

    # A new file of the same bucket prefix, the first version forgotten: only what it alone had goes.
    (source / "b").write_text("new")
    data.add(source)
    data.push()
    dry = data.gc(remote=True)
    assert (dry.remote_objects, dry.versions[0].md5) == (2, first.md5)
    assert len(keys(bucket)) == 5
    data.gc(remote=True, dry_run=False)
    assert len(keys(bucket)) == 3
    shutil.rmtree(data.context.workspace.dvc_path / ".dvc" / "cache")
    shutil.rmtree(source)
    seen.clear()
    data.pull(progress=lambda done, total: seen.append((done, total)))
    assert (source / "b").read_text() == "new"
    assert seen[-1][0] == seen[-1][1] >= 2 * 1003


def test_what_a_progress_function_raises_in_a_transfer_passes_through(
    make_context: MakeContext, bucket: str, tmp_path: Path
) -> None:
    data = DVCData(make_context(dvc_remote_path=f"s3://{bucket}"))
    (tmp_path / "a.csv").write_text("1")
    data.add(tmp_path / "a.csv")
    mine = ValueError("mine")

    def fail(done: int, total: int) -> None:
        raise mine

    with pytest.raises(ValueError, match="mine") as caught:
        data.push(progress=fail)
    assert caught.value is mine
    assert data.summary()["unpushed"] == 1
    data.push()
    with pytest.raises(ValueError, match="mine"):
        data.verify(progress=fail)
