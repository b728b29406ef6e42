from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops import WorkspaceManager
from mlops.errors import WorkspaceNotFoundError
from mlops.ui import EvidentlyUI
from tests.ui.checked import check, series
from tests.ui.serving import ask, quiet_environment, ui_command, until


@dataclass
class Served:
    manager: WorkspaceManager
    url: str

    def projects(self) -> dict[str, dict[str, Any]]:
        status, answer = ask(self.url, "/api/projects")
        assert status == 200, answer
        return {entry["name"]: entry for entry in answer}

    def reports(self, project: str) -> list[str]:
        status, answer = ask(self.url, f"/api/projects/{self.projects()[project]['id']}/reports")
        assert status == 200, answer
        return [report["id"] for report in answer]

    def values(self, project: str, *metrics: tuple[str, dict[str, str]]) -> list[dict[str, Any]]:
        path = f"/api/v2/snapshots/{self.projects()[project]['id']}/data_series_batch"
        status, answer = ask(self.url, path, body=series(*metrics), method="POST")
        assert status in (200, 201), answer
        return answer["series"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Served]:
    manager = WorkspaceManager(tmp_path_factory.mktemp("evidently-ui") / "base")
    with quiet_environment(shared_cache):
        check(manager, "churn_model", shifts=(0.0, 0.0, 2.0))
        check(manager, "fraud", shifts=(0.0,))
        manager.create_workspace("unused")
        ui = EvidentlyUI(manager).start()
    try:
        yield Served(manager, ui.url)
    finally:
        ui.stop()


def files(root: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def test_every_project_is_read_in_its_own_folder(served: Served) -> None:
    before = files(served.manager.base_path)
    listed = served.projects()
    assert listed["churn_model"]["description"] == "All about churn_model"
    assert listed["unused"]["description"] == "[no checks yet]"
    assert len(served.reports("churn_model")) == 3
    assert len(served.reports("fraud")) == 1
    assert served.reports("unused") == []
    (share,) = served.values("churn_model", ("DriftedColumnsCount", {"value_type": "share"}))
    # age of five columns, in the third check.
    assert share["values"] == [0.0, 0.0, 0.2]
    scores = served.values("churn_model", ("ValueDrift", {}))
    assert {line["params"]["column"] for line in scores} == {"age", "usage", "city", "churned", "prediction"}
    assert all(len(line["values"]) == 3 for line in scores)
    (latency,) = served.values("churn_model", ("ExternalValue", {"name": "latency_ms"}))
    assert latency["values"] == [15.5, 16.0, 16.5]
    (memory,) = served.values("fraud", ("ExternalValue", {"name": "memory_mb"}))
    assert memory["values"] == [256.0]
    assert served.values("unused", ("RowCount", {})) == []
    assert files(served.manager.base_path) == before, "looking changes nothing"


def test_dashboards_are_ready(served: Served) -> None:
    for project in ("churn_model", "unused"):
        status, dashboard = ask(served.url, f"/api/v2/dashboards/{served.projects()[project]['id']}")
        assert status == 200
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert titles[:6] == [
            "Drifted columns",
            "Rows per batch",
            "Drift score per column",
            "Performance",
            "Latency, ms",
            "Memory, MB",
        ]
        wanted = [
            (value["metric"].rpartition(":")[2], value["metric_labels"])
            for panel in dashboard["panels"]
            for value in panel["values"]
        ]
        drawn = served.values(project, *wanted)
        assert bool(drawn) == (project == "churn_model")


def test_what_appears_later_shows_up_and_what_is_deleted_goes(served: Served) -> None:
    assert "later" not in served.projects()
    check(served.manager, "later", shifts=(0.0,))
    assert len(served.reports("later")) == 1
    check(served.manager, "later", shifts=(1.0,))
    assert len(served.reports("later")) == 2
    (rows,) = served.values("later", ("RowCount", {}))
    assert rows["values"] == [300.0, 300.0]
    former = served.projects()["later"]["id"]
    served.manager.rename_workspace("later", "renamed")
    assert len(served.reports("renamed")) == 2
    served.manager.delete_workspace("renamed", force=True)
    assert not {"later", "renamed"} & served.projects().keys()
    assert ask(served.url, f"/api/projects/{former}/reports")[0] == 404


def test_a_copy_made_by_hand_is_shown_beside_its_original(served: Served) -> None:
    base = served.manager.base_path
    shutil.copytree(base / "fraud", base / "fraud_copy")
    try:
        listed = served.projects()
        assert listed["fraud"]["id"] != listed["fraud_copy"]["id"]
        assert len(served.reports("fraud_copy")) == 1
    finally:
        shutil.rmtree(base / "fraud_copy")


def test_a_broken_project_hides_no_other(served: Served) -> None:
    base = served.manager.base_path
    check(served.manager, "broken", shifts=(0.0, 0.0))
    (directory,) = (base / "broken" / "monitoring").glob("*-*-*-*-*")
    cut, naive, foreign = (str(number) for number in range(3))
    whole = next((directory / "snapshots").glob("*.json")).read_text()
    names = {key: f"0199aaaa-0000-7000-8000-00000000000{key}.json" for key in (cut, naive, foreign)}
    (directory / "snapshots" / names[cut]).write_text(whole[: len(whole) // 2])
    without_zone = json.loads(whole) | {"timestamp": "2026-01-01T00:00:00"}
    (directory / "snapshots" / names[naive]).write_text(json.dumps(without_zone))
    (directory / "snapshots" / names[foreign]).write_text('{"report": [], "metric_results": {"a": 5}}')
    # What is whole is shown, whatever lies beside it.
    assert len(served.reports("broken")) == 3
    (rows,) = served.values("broken", ("RowCount", {}))
    assert rows["values"] == [300.0, 300.0, 300.0]

    (directory / "metadata.json").write_text('{"id":')
    (directory / "dashboard.json").write_text("[")
    assert "metadata.json cannot be read" in served.projects()["broken"]["description"]
    assert len(served.reports("broken")) == 3
    status, dashboard = ask(served.url, f"/api/v2/dashboards/{served.projects()['broken']['id']}")
    assert status == 200
    assert dashboard["panels"][0]["title"] == "Drifted columns"

    (base / "broken" / "workspace.yaml").write_text("]")
    assert "cannot be opened" in served.projects()["broken"]["description"]
    assert len(served.reports("broken")) == 3
    assert len(served.reports("fraud")) == 1
    shutil.rmtree(base / "broken")


def test_pages_only_show(served: Served) -> None:
    before = files(served.manager.base_path)
    fraud = served.projects()["fraud"]["id"]
    (report,) = served.reports("fraud")
    for method, path, body in (
        ("POST", "/api/projects", {"name": "new"}),
        ("DELETE", f"/api/projects/{fraud}", None),
        ("DELETE", f"/api/projects/{fraud}/{report}", None),
        ("POST", f"/api/projects/{fraud}/info", {"id": fraud, "name": "other"}),
        ("POST", f"/api/v2/dashboards/{fraud}", {"tabs": [], "panels": []}),
    ):
        status, answer = ask(served.url, path, body=body, method=method)
        assert (status, "only show" in str(answer)) == (403, True), (method, path, answer)
    assert ask(served.url, f"/api/projects/{fraud}/reload")[0] == 200
    assert ask(served.url, "/api/projects/00000000-0000-7000-8000-000000000000/reports")[0] == 404
    assert ask(served.url, f"/api/projects/{fraud}/{fraud}/data")[0] == 404
    assert files(served.manager.base_path) == before


def test_another_name_for_this_machine_is_refused(served: Served) -> None:
    import http.client

    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/api/projects", headers={"Host": "elsewhere.example"})
    assert connection.getresponse().status == 400
    connection.close()


def test_a_report_is_shown_and_downloaded(served: Served) -> None:
    fraud = served.projects()["fraud"]["id"]
    (report,) = served.reports("fraud")
    status, widgets = ask(served.url, f"/api/projects/{fraud}/{report}/data")
    assert status == 200
    assert "city" in json.dumps(widgets)
    status, page = ask(served.url, f"/api/projects/{fraud}/{report}/download?report_format=html")
    assert status == 200
    assert '"column_name": "city"' in page


@pytest.mark.parametrize("ending", ["interrupted", "killed"])
def test_the_command_serves_one_project_and_leaves_nothing(base: Path, tmp_path: Path, ending: str) -> None:
    manager = WorkspaceManager(base)
    workspace = manager.create_workspace("churn")
    manager.create_workspace("fraud")
    with ui_command("evidently", base, tmp_path, "churn") as (process, page):
        url = page.partition("/projects")[0]
        assert page.endswith(f"/projects/{workspace.evidently_project_id}")
        status, listed = ask(url, "/api/projects")
        assert (status, [entry["name"] for entry in listed]) == (200, ["churn"])
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        if ending == "interrupted":
            # Twice, as impatient people do.
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            assert until(lambda: process.poll() is not None)
            assert process.wait() == 0
        else:
            process.kill()
        assert until(lambda: not any(child.is_running() for child in family))
        assert until(lambda: not list(tmp_path.glob("mlops-ui-*")))
        with pytest.raises(OSError, match="refused"):
            ask(url, "/api/projects")
    assert not (base / "churn" / "monitoring" / str(workspace.evidently_project_id)).exists()


def test_a_project_that_is_not_there_is_named(base: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match="churn"):
        EvidentlyUI(WorkspaceManager(base), "churn").start()
    assert not (base / "churn").exists()
