"""The pages of projects and of their runs: they show what the library says, and nothing else happens."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from mlops import MLOpsClient, WorkspaceManager
from mlops.reporting.dashboard import project_runs
from mlops.reporting.dashboard.server import DashboardServer
from tests.reporting.dashboard.serving import ask
from tests.reporting.dashboard.tables import rows, words
from tests.reporting.demo import HOSTILE, READY

PARTS = ("Runs", "Data", "Models", "Monitoring", "Pipelines", "Schedules", "Storage", "Lineage")


def files_below(base: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in base.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def client(demo: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient.from_project("churn", base_path=demo) as opened:
        yield opened


@pytest.fixture(scope="module")
def churn(dashboard: DashboardServer) -> str:
    return ask(dashboard, "/projects/churn").text


def test_a_page_has_every_part_of_its_project(churn: str) -> None:
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", churn) == list(PARTS)
    assert "Who leaves next month" in churn
    assert "team" in churn and "growth" in churn
    assert churn.count('<div class="trouble"') == 1
    assert "2 of 4 columns drifted" in churn
    assert "(2 versions)" in churn


def test_the_runs_are_those_the_library_lists(churn: str, client: MLOpsClient) -> None:
    listed = client.list_runs()
    shown = rows(churn, "runs-table")
    assert [row[0] for row in shown] == [run["run_name"] for run in listed]
    assert [row[2] for row in shown] == [run["status"] for run in listed]
    for run in listed:
        assert f"/projects/churn/runs/{run['run_id']}" in churn
    (wider,) = (row for row in shown if row[0] == "wider")
    assert {"0.79", "0.6", "4"} <= set(wider)


def test_the_facts_are_those_of_the_report(dashboard: DashboardServer, client: MLOpsClient) -> None:
    facts = ask(dashboard, "/projects/churn/report.json").json
    stats = client.get_stats()
    assert facts["runs"]["total"] == stats["total_runs"]
    assert facts["runs"]["by_status"] == stats["runs_by_status"]
    assert facts["data"]["versions"] == stats["total_data_versions"]
    assert facts["monitoring"]["checks"] == stats["total_checks"]
    assert facts["models"]["versions"] == stats["total_model_versions"]


def test_data_models_monitoring_and_schedules_are_told(churn: str, client: MLOpsClient) -> None:
    (dataset,) = rows(churn, "data-table")
    current = client.data.datasets()[0]
    assert dataset[0] == current.name
    assert dataset[1] == current.md5[:10]
    assert dataset[5:] == ["not pushed", "2 1 not pushed"]
    assert [row[4] for row in rows(churn, "data-1")] == ["not pushed", "pushed"]
    newest, production = rows(churn, "models-table")
    assert newest[:3] == ["classifier", "2", ""]
    assert production[:3] == ["classifier", "1", "production"]
    assert production[6] == "churn.classifier:1"
    assert production[8].startswith("drift")
    last, first = client.monitoring.history()
    assert [row[4] for row in rows(churn, "checks-table")] == [
        f"{check['n_drifted']} of {check['n_compared']}" for check in (last, first)
    ]
    columns = rows(churn, "columns-1")
    assert {row[0] for row in columns if "drifted" in row} == {"age", "spend"}
    assert {row[0]: row[1] for row in rows(churn, "performance-1")}["accuracy"] == (
        f"{last['performance']['accuracy']:.4g}"
    )
    assert [row[0] for row in rows(churn, "schedules-table")] == ["hourly", "night"]
    assert rows(churn, "schedules-table")[0][3] == "paused"
    assert rows(churn, "pipeline-versions-1")[0][0] == "v1.0.0"
    assert rows(churn, "pipeline-runs-1")[0][1:3] == ["v1.0.0", "FINISHED"]


def test_storage_is_what_the_library_measures(churn: str, client: MLOpsClient) -> None:
    usage = client.get_storage_usage()
    sizes = dict(re.findall(r'<th scope="row">([\w ]+)</th><td class="number" data-sort="(\d+)">', churn))
    assert int(sizes["whole workspace"]) == usage["total_bytes"]
    assert {part: int(sizes[part]) for part in ("mlflow", "dvc", "monitoring", "models")} == {
        part: usage[f"{part}_bytes"] for part in ("mlflow", "dvc", "monitoring", "models")
    }


def test_the_lineage_is_drawn_and_told_in_words(dashboard: DashboardServer, client: MLOpsClient) -> None:
    churn = ask(dashboard, "/projects/churn/lineage").text
    drawing = churn[churn.index("<svg") : churn.index("</svg>")]
    tree = churn[churn.index('<ul class="tree">') :]
    boxes = re.findall(r"<title>(\w+) ([^<]+)</title>\s*<rect", drawing)
    assert ("model", "churn.classifier:1") in boxes
    assert ("pipeline", "retrain@v1.0.0") in boxes
    trained = next(run for run in client.list_runs() if run["run_name"] == "train 1")
    link = f'href="/projects/churn/runs/{trained["run_id"]}"'
    assert link in drawing and link in tree
    told = words(tree)
    for kind, title in boxes:
        assert f"{kind} {title}" in told
    assert "produced model churn.classifier:1" in told


def test_the_lineage_of_one_thing_can_be_asked_for(dashboard: DashboardServer) -> None:
    page = ask(dashboard, "/projects/churn/lineage?ref=classifier%402").text
    assert "" in page
    page = ask(dashboard, "/projects/churn/lineage?ref=classifier:2").text
    titles = re.findall(r"<title>model ([^<]+)</title>", page)
    assert titles == ["churn.classifier:2"]
    for odd in (HOSTILE, "\0", "/dev/zero", "run:", "a" * 5000):
        unknown = ask(dashboard, f"/projects/churn/lineage?ref={quote(odd)}")
        assert unknown.status == 200
        assert "This cannot be shown" in unknown.text
        assert "<script>alert" not in unknown.text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"status": "FAILED"}, ["unstable"]),
        ({"pipeline": "retrain"}, ["retrain"]),
        ({"status": "FINISHED", "pipeline": "retrain"}, ["retrain"]),
    ],
)
def test_runs_are_filtered(dashboard: DashboardServer, query: dict[str, str], names: list[str]) -> None:
    page = ask(dashboard, f"/projects/churn?{urlencode(query)}").text
    assert [row[0] for row in rows(page, "runs-table")] == names


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=1e9", "page=²", "status=NONE", "status=%00", "other=1"]
)
def test_nonsense_in_an_address_counts_as_nothing(dashboard: DashboardServer, query: str) -> None:
    answer = ask(dashboard, f"/projects/churn?{quote(query, safe='=%')}")
    assert answer.status == 200
    assert len(rows(answer.text, "runs-table")) == 7


def test_no_run_like_that_says_so(dashboard: DashboardServer) -> None:
    for query in ("status=KILLED&pipeline=retrain", "pipeline=none-such", "page=99999999"):
        assert "No run is like that" in ask(dashboard, f"/projects/churn?{query}").text


def test_runs_come_in_pages(
    dashboard: DashboardServer, client: MLOpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_runs, "PAGE", 3)
    seen: list[str] = []
    path = "/projects/churn?status="
    for _ in range(10):
        page = ask(dashboard, path).text
        seen += [row[0] for row in rows(page, "runs-table")]
        following = re.search(r'<a href="(\?[^"]*)#runs" rel="next">', page)
        if following is None:
            break
        path = f"/projects/churn{html.unescape(following[1])}"
    assert seen == [run["run_name"] for run in client.list_runs()]


@pytest.mark.parametrize(
    "path",
    [
        "/projects/none",
        "/projects/UPPER",
        "/projects/..",
        "/projects/%2e%2e%2fchurn",
        "/projects/%3Cscript%3E",
        "/projects/two%20words",
        "/projects/default",
        "/projects/default/runs/1",
        "/projects/default/lineage",
        "/projects/none/runs/1",
        "/projects/churn/runs/" + "0" * 32,
        "/projects/churn/runs/" + quote(HOSTILE, safe=""),
        "/projects/churn/runs/..%2f..%2fx",
        "/projects/none/report.json",
        "/projects/none/lineage",
    ],
)
def test_what_is_not_there_is_not_found(dashboard: DashboardServer, path: str) -> None:
    answer = ask(dashboard, path)
    assert answer.status == 404
    assert "<h1>Not found</h1>" in answer.text
    assert "Traceback" not in answer.text
    assert "<script>" not in answer.text


def test_hostile_texts_stay_texts(dashboard: DashboardServer) -> None:
    page = ask(dashboard, "/projects/hostile").text
    assert "1 of 1 column drifted" in page
    run = re.search(r'href="(/projects/hostile/runs/\w+)"', page)
    assert run
    for each in (page, ask(dashboard, run[1]).text, ask(dashboard, "/analytics?by=column").text):
        assert "<script>alert" not in each
        assert "<img" not in each
        assert "<b>key" not in each
        # One of the frame, and those of charts; none of them has code.
        assert re.findall(r"<script[^>]*>(?!\{|</script>)", each) == []
    assert HOSTILE in html.unescape(page)
    assert html.escape("<img src=x onerror=alert(1)>.csv") in page


def test_a_project_that_cannot_be_read_says_why(dashboard: DashboardServer) -> None:
    answer = ask(dashboard, "/projects/broken")
    assert answer.status == 200
    assert "This project cannot be read" in answer.text
    assert "not valid YAML" in answer.text
    assert ask(dashboard, "/projects/broken/report.json").json["state"] == "corrupt"
    assert "Traceback" not in answer.text


def test_a_broken_tool_hides_no_other(dashboard: DashboardServer, demo: Path) -> None:
    answer = ask(dashboard, "/projects/torn")
    assert answer.status == 200
    assert "The runs cannot be read" in answer.text
    assert rows(answer.text, "data-table")[0][0].endswith("torn.csv")
    # What is not known is not none; and nobody elsewhere learns where the base is.
    assert re.search(r"<dt>Runs</dt><dd class=\"main\">.*not known", answer.text)
    assert str(demo) not in answer.text


def test_an_unused_project_says_what_to_do(dashboard: DashboardServer) -> None:
    page = ask(dashboard, "/projects/quiet").text
    assert page.count('<p class="empty">') >= 6
    for call in ("start_run", "dvc_add", "log_model", "monitor_predictions", "create_pipeline"):
        assert call in page


def test_looking_writes_nothing(dashboard: DashboardServer, demo: Path) -> None:
    before = files_below(demo)
    for name in (*READY, "broken", "none"):
        ask(dashboard, f"/projects/{name}")
        ask(dashboard, f"/projects/{name}/lineage")
    ask(dashboard, "/analytics")
    assert files_below(demo) == before
    assert not (demo / "none").exists()


def test_looking_imports_no_tool(demo: Path) -> None:
    code = """
import sys
from tests.reporting.dashboard.serving import ask
from tests.reporting.dashboard.tables import rows, words
from mlops import WorkspaceManager
from mlops.reporting.dashboard.server import DashboardServer

with DashboardServer(WorkspaceManager(sys.argv[1])) as server:
    for path in ("/projects/churn", "/projects/churn/lineage", "/projects/hostile", "/analytics"):
        assert ask(server, path).status == 200, path
heavy = {"mlflow", "evidently", "bentoml", "dvc", "pandas", "numpy", "plotly", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(demo)], cwd=root, check=True, timeout=120)


def test_a_check_that_lacks_something_hides_no_other(base: Path, demo: Path) -> None:
    manager = WorkspaceManager(base)
    manager.get_or_create_workspace("hurt").ensure_directories()
    lines = (demo / "churn" / "monitoring" / "history.jsonl").read_text().splitlines()
    short = lines[1][: lines[1].index('"drift_share"') - 1] + "}"
    (base / "hurt" / "monitoring" / "history.jsonl").write_text(f"{lines[0]}\n{short}\nnonsense\n")
    with DashboardServer(manager) as server:
        page = ask(server, "/projects/hurt")
        assert page.status == 200
        assert len(rows(page.text, "checks-table")) == 1
        whole = ask(server, "/analytics")
        assert whole.status == 200
        assert "hurt could not be read" in whole.text


class RunningPages:
    """MLflow's and Evidently's own pages, as if they ran."""

    def mlflow(self, project: str | None = None, *, run_id: str | None = None) -> str:
        return f"http://127.0.0.1:1/{project}/{run_id}"

    def evidently(self, project: str | None = None) -> str:
        return f"http://127.0.0.1:2/{project}"


def test_pages_lead_to_the_tools_own_pages_where_those_run(demo: Path, client: MLOpsClient) -> None:
    (run,) = client.list_runs("retrain")
    with DashboardServer(WorkspaceManager(demo), tool_pages=RunningPages()) as server:
        page = ask(server, "/projects/churn").text
        assert 'href="http://127.0.0.1:1/churn/None"' in page
        assert 'href="http://127.0.0.1:2/churn"' in page
        page = ask(server, f"/projects/churn/runs/{run['run_id']}").text
        assert f'href="http://127.0.0.1:1/churn/{run["run_id"]}"' in page


def test_a_server_that_is_down_is_told_and_hides_nothing_else(base: Path) -> None:
    manager = WorkspaceManager(base)
    manager.get_or_create_workspace("remote", mlflow_tracking_uri="http://user:secret@127.0.0.1:9")
    with DashboardServer(manager) as server:
        page = ask(server, "/projects/remote").text
    assert "The runs cannot be read" in page
    assert "There is no data version yet" in page
    assert "secret" not in page
