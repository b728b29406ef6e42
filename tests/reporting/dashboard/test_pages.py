"""What the pages say, what they do not, and when they look again."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops import MLOpsClient, StatusReport, WorkspaceManager
from mlops.errors import ConfigError, IntegrationError
from mlops.integrations.mlflow_tracking.run_search import find_runs
from mlops.reporting import registry
from mlops.reporting.dashboard import assets
from mlops.reporting.dashboard.known_models import KnownModels
from mlops.reporting.dashboard.remembered import Remembered
from mlops.reporting.dashboard.server import DashboardServer
from mlops.reporting.memory import FRESH_NANOSECONDS
from tests.reporting import synthetic
from tests.reporting.dashboard.serving import ask
from tests.reporting.demo import PROJECTS

PAGES = ("/", "/registry", "/search?q=script", "/search", "/no-such-page")


@contextmanager
def serving(base: Path, collect: Callable[[], Any]) -> Iterator[DashboardServer]:
    """Pages that show what a function returns, or say what it raises."""
    server = DashboardServer(WorkspaceManager(base))
    server._reports = Remembered(collect)
    with server:
        yield server


def test_every_project_has_a_row_the_broken_ones_too(dashboard: DashboardServer) -> None:
    page = ask(dashboard).text
    rows = re.findall(r'<th scope="row"><a href="/projects/([^"]+)"><bdi>', page)
    assert [row for row in rows if row in PROJECTS][-len(PROJECTS) :] == list(PROJECTS)
    assert "corrupt" in page
    assert "is not valid YAML" in page
    assert "mlflow unavailable" in page
    assert "file is not a database" in page


@pytest.mark.parametrize("path", PAGES)
def test_no_page_tells_where_the_base_is(dashboard: DashboardServer, demo: Path, path: str) -> None:
    answer = ask(dashboard, path)
    assert answer.status == (404 if path == "/no-such-page" else 200)
    assert str(demo) not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_texts_of_others_stay_texts(base: Path, path: str) -> None:
    hostile = synthetic.report(synthetic.hostile())
    with serving(base, lambda: hostile) as server:
        page = ask(server, path).text
    assert "<script>alert" not in page
    assert 'href="javascript' not in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", page)
    for inline in ("onerror=", "onclick=", "style=", "<script>"):
        assert inline not in page
    # Of scripts there are files, and figures that no browser runs.
    for script in re.findall(r"<script[^>]*>", page):
        assert "src=" in script or 'type="application/json"' in script


def test_the_numbers_are_those_of_the_report(dashboard: DashboardServer, demo: Path) -> None:
    shown = ask(dashboard, "/report.json", headers={"Cache-Control": "no-cache"}).json
    expected = StatusReport.collect(demo).to_dict()
    for moving in ("generated_at", "rankings"):
        del shown[moving], expected[moving]
    assert shown == expected


def test_the_models_are_those_of_the_registry(dashboard: DashboardServer, demo: Path) -> None:
    found = registry.collect(WorkspaceManager(demo))
    assert ask(dashboard, "/registry.json").json == found.to_dict()
    page = ask(dashboard, "/registry").text
    for entry in found.entries:
        assert f"{entry.model}:{entry.version}" in page
    assert f"{len(found.entries)} of {len(found.entries)} versions" in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("find=churn+classifier", {"classifier:1", "classifier:2"}),
        ("find=SCIKIT", {"classifier:1", "classifier:2", "demand:1"}),
        ("state=production", {"classifier:1"}),
        ("state=drifting", {"classifier:1"}),
        ("state=unchecked", {"classifier:2"}),
        ("state=packaged&find=demand", {"demand:1"}),
        ("find=no+such+model", set()),
    ],
)
def test_the_registry_is_narrowed_down(dashboard: DashboardServer, query: str, shown: set[str]) -> None:
    page = ask(dashboard, f"/registry?{query}").text
    assert set(re.findall(r'<th scope="row"><bdi class="text">([^<]+)</bdi>', page)) == shown


@pytest.mark.parametrize(
    ("words", "kind", "label"),
    [
        ("who+leaves", "Projects", "churn"),
        ("TEAM%3Dsupply", "Projects", "forecast"),
        ("classifier%3A1", "Models", "classifier:1"),
        ("%40production", "Models", "classifier:1"),
        ("unstable", "Runs", "unstable"),
        ("solver+lbfgs", "Runs", "train 1"),
        ("retrain", "Pipelines", "retrain"),
        ("night", "Schedules", "night"),
        ("columns+drifted", "Alerts", "drift"),
    ],
)
def test_things_are_found(dashboard: DashboardServer, words: str, kind: str, label: str) -> None:
    page = ask(dashboard, f"/search?q={words}").text
    part = page.partition(f">{kind}</h2>")[2].partition("</ul>")[0]
    assert f">{label}</bdi></a>" in part


def test_a_run_is_found_by_how_its_id_begins(dashboard: DashboardServer, demo: Path) -> None:
    run = MLOpsClient("forecast", base_path=demo).list_runs()[0]
    page = ask(dashboard, f"/search?q={run['run_id'][:10]}").text
    assert f'href="/projects/forecast/runs/{run["run_id"]}"' in page
    # Only how it begins: parts of ids mean nothing, and match by accident.
    assert run["run_id"] not in ask(dashboard, f"/search?q={run['run_id'][5:20]}").text


@pytest.mark.parametrize("words", ["%25%25%25", "___", "no-such-thing-anywhere", "churn+no-such-thing"])
def test_what_is_nowhere_is_not_found(dashboard: DashboardServer, words: str) -> None:
    page = ask(dashboard, f"/search?q={words}").text
    assert "Nothing has all the words" in page
    assert "<h2" not in page


def test_search_names_what_it_could_not_look_through(dashboard: DashboardServer) -> None:
    page = ask(dashboard, "/search?q=anything").text
    assert "The runs of 2 projects were not looked through" in page
    assert "file is not a database" in page


def test_reading_changes_nothing(dashboard: DashboardServer, demo: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(demo)): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in demo.rglob("*")
        }

    before = state()
    for path in (*PAGES, "/report.json", "/registry.json"):
        ask(dashboard, path, headers={"Cache-Control": "no-cache"})
    assert state() == before


def test_a_base_without_projects_says_how_to_begin(tmp_path: Path) -> None:
    base = tmp_path / "nowhere"
    with DashboardServer(WorkspaceManager(base)) as server:
        for path in PAGES[:-1]:
            assert ask(server, path).status == 200
        assert "mlops init NAME" in ask(server).text
    assert not base.exists()


def test_a_reload_looks_again_and_a_link_does_not(base: Path) -> None:
    manager = WorkspaceManager(base)
    manager.create_workspace("first")
    with DashboardServer(manager) as server:
        assert "/projects/first" in ask(server).text
        manager.create_workspace("second")
        assert "/projects/second" not in ask(server).text
        assert "/projects/second" in ask(server, headers={"Cache-Control": "max-age=0"}).text
        assert "/projects/second" in ask(server).text


def test_one_thread_collects_while_the_others_wait() -> None:
    made: list[int] = []

    def collect() -> int:
        time.sleep(0.2)
        made.append(1)
        return len(made)

    remembered = Remembered(collect, max_age=60)
    assert remembered.age is None
    asked: list[int] = []
    threads = [threading.Thread(target=lambda: asked.append(remembered.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [1] * 8
    assert remembered.get(since=time.monotonic()) == 2


def test_what_is_too_old_is_collected_again() -> None:
    counts = iter(range(10))
    remembered = Remembered(lambda: next(counts), max_age=0.05)
    assert (remembered.get(), remembered.get()) == (0, 0)
    time.sleep(0.06)
    assert remembered.get() == 1


def test_a_failure_is_a_page_without_its_inside(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = [synthetic.report()]

    def collect() -> StatusReport:
        if not first:
            raise RuntimeError(f"secret of {base}")
        return first.pop()

    with serving(base, collect) as server:
        assert ask(server).status == 200
        answer = ask(server, headers={"Cache-Control": "no-cache"})
    assert answer.status == 500
    assert "This page failed" in answer.text
    assert "secret" not in answer.text
    assert "X-Frame-Options".lower() in answer.headers
    # Whoever runs the server is told.
    assert "secret of" in caplog.text


def test_an_error_of_the_library_is_told_with_its_hint(base: Path) -> None:
    def fail() -> None:
        raise IntegrationError(f"The store {base}/x is <b>gone</b>", tool="mlflow", hint="look again")

    with serving(base, fail) as server:
        answer = ask(server)
    assert answer.status == 500
    assert "The store …/x is &lt;b&gt;gone&lt;/b&gt;" in answer.text
    assert "look again" in answer.text


def test_files_are_sent_once(dashboard: DashboardServer) -> None:
    for name in ("plotly.min.js", "style.css", "app.js", "icon.svg"):
        first = ask(dashboard, f"/static/{name}")
        assert first.status == 200
        assert first.text == assets.files()[name].read_text("utf-8")
        again = ask(dashboard, f"/static/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.text) == (304, "")


def test_the_port_is_free_again_afterwards(base: Path) -> None:
    threads = {thread for thread in threading.enumerate() if thread.name == "mlops-dashboard"}
    manager = WorkspaceManager(base)
    with DashboardServer(manager) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"Port {port}"):
            DashboardServer(manager, port=port).start()
    with DashboardServer(manager, port=port) as server:
        assert ask(server).status == 200
    assert threads == {thread for thread in threading.enumerate() if thread.name == "mlops-dashboard"}


def _ratio(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2: relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(scheme: str) -> None:
    style = assets.files()["style.css"].read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark))
    pairs = [
        (text, ground)
        for text in ("text", "quiet", "link", "ok", "warn", "bad")
        for ground in ("ground", "raised")
    ]
    pairs += [(tone, f"{tone}-ground") for tone in ("ok", "warn", "bad")]
    low = {pair: ratio for pair in pairs if (ratio := _ratio(*(colours[name] for name in pair))) < 4.5}
    assert low == {}, "WCAG AA for texts"
    lines = ("control", *(f"series-{index}" for index in range(1, 9)))
    assert [name for name in lines if _ratio(colours[name], colours["ground"]) < 3] == []


def test_models_that_changed_are_read_again_and_no_others(demo: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(demo, base, symlinks=True)
    manager = WorkspaceManager(base)
    known = KnownModels(manager)
    time.sleep(FRESH_NANOSECONDS / 1e9 + 0.1)
    assert known.collect() == registry.collect(manager)
    assert set(known._kept) >= {"churn", "forecast", "hostile"}
    assert known.collect() == registry.collect(manager)

    tracking = MLOpsClient("churn", base_path=base).tracking
    tracking.client().set_registered_model_alias("churn.classifier", "candidate", "2")
    shutil.rmtree(base / "hostile")
    found = known.collect()
    assert found == registry.collect(manager)
    assert {entry.version for entry in found.entries if "candidate" in entry.aliases} == {"2"}
    # It was changed a moment ago: another change might leave the same trace.
    assert "churn" not in known._kept
    assert "forecast" in known._kept
    assert "hostile" not in known._kept


def test_search_stops_in_time_and_says_so(
    dashboard: DashboardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.reporting.dashboard.search._SECONDS", -1.0)
    page = ask(dashboard, "/search?q=churn").text
    assert '<a href="/projects/churn"><bdi class="text">churn</bdi></a>' in page
    assert f"The runs of {len(PROJECTS)} projects were not looked through" in page
    assert page.count("there was no time left") == len(PROJECTS)


def test_a_query_gives_up_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE experiments (experiment_id, lifecycle_stage);"
            "CREATE TABLE runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id);"
            "CREATE TABLE tags (run_uuid, key, value); CREATE TABLE params (run_uuid, key, value);"
            "INSERT INTO experiments VALUES (0, 'active')"
        )
        runs = [(f"{number:032x}", f"run {number}") for number in range(2000)]
        connection.executemany("INSERT INTO runs VALUES (?, ?, 'FINISHED', 0, 'active', 0)", runs)
    start = time.monotonic()
    (found,) = find_runs(path, ["RUN", "1999"], limit=5, deadline=start + 60)
    assert found.run_name == "run 1999"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        find_runs(path, ["run"], limit=5, deadline=start)
