"""A report on what is damaged, misconfigured or out of reach: it says so, and hides nothing else."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops import StatusReport, WorkspaceManager
from mlops.integrations.mlflow_tracking import queries
from mlops.reporting.facts import ProjectReport
from mlops.reporting.reading.metric_modes import mode_of
from mlops.reporting.servers import Servers
from mlops.settings import ProjectSettings
from mlops.workspace import tools
from mlops.workspace.tools import ToolContext
from tests.reporting.demo import build_demo


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_cache))
        return build_demo(tmp_path_factory.mktemp("whole") / "base", cache=shared_cache)


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    """A base with the project ``churn``, to be damaged, and ``forecast`` beside it."""
    base = tmp_path / "base"
    (base / ".mlops").mkdir(parents=True)
    for name in ("churn", "forecast"):
        shutil.copytree(whole / name, base / name)
    return base


def collect(base: Path) -> ProjectReport:
    """Return what is said of the damaged project, once the other is known to be as it was."""
    report = StatusReport.collect(base, cache=False)
    other = report.project("forecast")
    assert (other.runs.total, other.data.versions, other.models.bento_models, other.troubles) == (2, 1, 1, ())
    return report.project("churn")


def configure(base: Path, **settings: Any) -> None:
    WorkspaceManager(base).update_workspace_metadata("churn", **settings)


def _cut(root: Path, pattern: str) -> None:
    file = next(root.glob(pattern))
    file.write_bytes(file.read_bytes()[:-20])


def _spoil(root: Path, pattern: str) -> None:
    file = next(root.glob(pattern))
    file.write_bytes(b"\xff nonsense\n" + file.read_bytes())


@pytest.mark.parametrize(
    ("damage", "tool", "state", "intact"),
    [
        (lambda root: _spoil(root, "mlflow/mlflow.db"), "mlflow", "unavailable", "data"),
        (lambda root: _spoil(root, "dvc/ledger.jsonl"), "dvc", "unavailable", "runs"),
        (lambda root: _spoil(root, "dvc/.dvc/config"), "dvc", "unavailable", "data"),
        (lambda root: shutil.rmtree(root / "dvc" / "remote"), "dvc", "unavailable", "data"),
        (lambda root: _cut(root, "models/models/*/*/model.yaml"), "bentoml", "corrupt", "monitoring"),
        (lambda root: _spoil(root, "models/bentos/*/*/bento.yaml"), "bentoml", "corrupt", "monitoring"),
        (lambda root: _spoil(root, "monitoring/history.jsonl"), "evidently", "corrupt", "monitoring"),
        (lambda root: _cut(root, "monitoring/*/metadata.json"), "evidently", "unavailable", "monitoring"),
        (lambda root: _spoil(root, "monitoring/reference/*.json"), "evidently", "unavailable", "runs"),
        (lambda root: _spoil(root, "pipelines/schedules/history.jsonl"), None, None, "schedules"),
    ],
)
def test_damage_is_told_and_the_rest_is_there(
    base: Path, damage: Callable[[Path], object], tool: str | None, state: str | None, intact: str
) -> None:
    before = getattr(collect(base), intact)
    damage(base / "churn")
    after = collect(base)
    assert getattr(after, intact) == before
    assert {(each.tool, each.state) for each in after.troubles} == ({(tool, state)} if tool else set())
    context = ToolContext(WorkspaceManager(base).get_workspace("churn"), ProjectSettings())
    assert after.tools == {name: str(tools.create(name, context).health().state) for name in after.tools}
    if tool is not None:
        assert str(base / "churn") in after.troubles[0].message
        assert (after.tools[tool] == "unavailable") == (state == "unavailable")


def test_a_wrong_section_is_told_and_closes_nothing(base: Path) -> None:
    file = base / "churn" / "workspace.yaml"
    text = file.read_text().replace("quota: {}", "quota: {hard: much}")
    file.write_text(text.replace("metadata: {}", "metadata: {metric_modes: {loss: down}}"))
    with file.open("a") as stream:
        stream.write("unknown: 1\n")
    configure(base, schedules=[{"name": "wrong", "target": "a:b", "cron": "61 * * * *"}])
    churn = collect(base)
    assert [(each.tool, each.state) for each in churn.troubles] == [
        ("metadata", "corrupt"),
        ("quota", "corrupt"),
        ("schedules", "corrupt"),
    ]
    assert "hard" in churn.troubles[1].message
    assert "61 * * * *" in churn.troubles[2].message
    assert (churn.runs.total, churn.schedules, churn.storage.quota) == (7, (), ())


def test_a_project_says_itself_which_way_its_metrics_are_better(base: Path) -> None:
    configure(base, metadata={"metric_modes": {"accuracy": "min"}})
    best = {each.metric: (each.mode, each.value) for each in collect(base).runs.best}
    assert best["accuracy"] == ("min", 0.71)
    assert best["loss"][0] == "min"
    names = ("val_loss", "cv/RMSE", "mean-absolute-error", "drift.share", "accuracy", "f1", "r2", "glossary")
    assert [mode_of(name, {}) for name in names] == ["min"] * 4 + ["max"] * 4


def test_a_missing_variable_of_the_environment_is_the_projects_trouble(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(base, dvc_remote_path="${NOWHERE}/data")
    churn = collect(base)
    assert (churn.state, churn.troubles[0].tool, churn.troubles[0].state) == ("ready", "", "unavailable")
    assert "NOWHERE" in churn.troubles[0].message
    with monkeypatch.context() as patch:
        patch.setenv("NOWHERE", str(base.parent))
        assert collect(base).data.remote == str(base.parent / "data" / "churn")


def test_quota_is_compared_with_what_is_used(base: Path) -> None:
    configure(base, quota={"soft": "1 MB", "hard": "1 GB", "tools": {"mlflow": {"hard": "10 kB"}}})
    rows = {row.scope: (row.state, row.hard_bytes) for row in collect(base).storage.quota}
    assert rows == {"total": ("soft", 10**9), "mlflow": ("hard", 10_000)}
    totals = StatusReport.collect(base, cache=False).totals
    assert (totals.over_soft, totals.over_hard) == (0, 1)


def test_a_server_that_is_gone_is_told_without_holding_others_up(base: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configure(base, mlflow_tracking_uri=f"http://user:secret@127.0.0.1:{port}")
    churn = collect(base)
    (trouble,) = churn.troubles
    assert (trouble.tool, trouble.state) == ("mlflow", "unavailable")
    assert "secret" not in trouble.message
    assert (churn.runs.total, churn.data.versions, churn.models.bento_models) == (0, 2, 1)
    # Nobody knows whether the Bento belongs to a registered version.
    assert churn.gaps == ()


def test_a_shared_database_is_read_for_the_project_alone(base: Path, whole: Path) -> None:
    shared = base.parent / "shared.db"
    shutil.copyfile(whole / "churn" / "mlflow" / "mlflow.db", shared)
    expected = collect(base)
    configure(base, mlflow_tracking_uri=f"sqlite:///{shared}")
    WorkspaceManager(base).update_workspace_metadata("forecast", mlflow_tracking_uri=f"sqlite:///{shared}")
    report = StatusReport.collect(base)
    assert report.project("churn").runs == expected.runs
    assert report.project("churn").models == expected.models
    other = report.project("forecast")
    assert (other.runs.total, other.models.models, other.troubles) == (0, 0, ())
    # It is outside the workspace, so nothing of the project is taken from the cache.
    shared.unlink()
    assert StatusReport.collect(base).project("churn").runs.total == 0


def test_mlflows_api_says_the_same_as_its_file(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = collect(base)
    monkeypatch.setattr(queries, "KNOWN_SCHEMAS", frozenset())
    churn = collect(base)
    assert churn.runs == expected.runs
    assert churn.models == expected.models
    assert churn.gaps == expected.gaps


class _Stub:
    """Stands for a project whose server accepts a question and never answers it."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.ask_server = ask
        self.context = type("C", (), {"settings": type("S", (), {"mlflow_tracking_uri": None})()})()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_servers_that_hang_are_given_up_and_others_asked(released: threading.Event) -> None:
    servers = Servers(patience=0.1)
    hanging = [_Stub(lambda: released.wait(30)) for _ in range(12)]
    answering = [_Stub(lambda: None) for _ in range(3)]
    for each in (*hanging, *answering):
        servers.ask(each)  # type: ignore[arg-type]
    assert [answered for _, answered in servers.answers()] == [False] * 12 + [True] * 3


def test_a_mistake_in_asking_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    servers = Servers()
    servers.ask(_Stub(fail))  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        list(servers.answers())
