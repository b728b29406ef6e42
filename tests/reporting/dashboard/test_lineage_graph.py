from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops import WorkspaceManager
from mlops.lineage.references import Ref
from mlops.lineage.search import Projects
from mlops.lineage.trace import Branch
from mlops.reporting.dashboard import lineage_graph, project_lineage
from mlops.reporting.dashboard.lineage_graph import Drawing
from mlops.reporting.dashboard.opened import open_context
from mlops.workspace import links
from mlops.workspace.tools import Link

Make = Callable[..., Drawing]


@pytest.fixture
def drawn(tmp_path: Path) -> Make:
    """Return a function that draws a project whose log has the links given."""
    manager = WorkspaceManager(tmp_path / "base")

    def draw(*told: tuple[str, str, str], limit: int | None = None) -> Drawing:
        workspace = manager.get_or_create_workspace("churn")
        links.record(workspace, [Link(*each) for each in told], operation="test")
        context = open_context(manager, "churn")
        if limit is None:
            return project_lineage.of_project(manager, context)
        graph = Projects(manager, context=context).graph
        roots = [Ref.parse(each[0], project="churn") for each in told]
        return lineage_graph.draw(graph, roots, limit=limit)

    return draw


def x_of(drawing: Drawing) -> dict[str, float]:
    return {box.node.ref.within("churn"): box.x for box in drawing.boxes}


def told(branches: tuple[Branch, ...]) -> list[str]:
    return [text for branch in branches for text in (branch.node.ref.within("churn"), *told(branch.branches))]


CHAIN = (
    ("data:d1", "run:r1", "input-of"),
    ("commit:c1", "run:r1", "code-of"),
    ("run:r1", "model:churn.clf:1", "produced"),
    ("model:churn.clf:1", "bento:churn.clf:1", "packaged-as"),
    ("data:d1", "snapshot:s1", "compared-in"),
    ("model:churn.clf:1", "snapshot:s1", "checked-by"),
)


def test_every_thing_is_right_of_what_it_came_from_and_nothing_overlaps(drawn: Make) -> None:
    drawing = drawn(*CHAIN)
    x = x_of(drawing)
    assert all(x[source] < x[target] for source, target, _ in CHAIN)
    assert len(drawing.arrows) == len(CHAIN)
    places = [(box.x, box.y) for box in drawing.boxes]
    for at, (left, top) in enumerate(places):
        assert 0 <= left <= drawing.width - drawing.box_width
        assert 0 <= top <= drawing.height - drawing.box_height
        for other_left, other_top in places[at + 1 :]:
            assert left != other_left or abs(top - other_top) >= drawing.box_height
    assert drawing.left_out == 0


def test_the_tree_tells_everything_that_is_drawn(drawn: Make) -> None:
    drawing = drawn(*CHAIN)
    assert set(told(drawing.tree)) == set(x_of(drawing))
    first = drawing.tree[0]
    assert first.relation == ""
    assert first.branches[0].relation in {"code-of", "input-of"}


def test_a_circle_ends(drawn: Make) -> None:
    drawing = drawn(
        ("run:a", "run:b", "started"), ("run:b", "run:c", "started"), ("run:c", "run:a", "started")
    )
    assert len(drawing.boxes) == 3
    assert len(drawing.arrows) == 3
    assert set(told(drawing.tree)) == {"run:a", "run:b", "run:c"}


def test_many_alike_are_shown_with_the_latest_and_the_others_are_counted(drawn: Make) -> None:
    checks = [("model:churn.clf:1", f"snapshot:s{number:03}", "checked-by") for number in range(200)]
    drawing = drawn(("run:r1", "model:churn.clf:1", "produced"), *checks, limit=60)
    shown = {box.node.ref.id for box in drawing.boxes if box.node.ref.kind == "snapshot"}
    assert shown == {f"s{number:03}" for number in range(195, 200)}
    assert drawing.left_out == 195


def test_no_more_is_drawn_than_the_limit(drawn: Make) -> None:
    chains = [
        link
        for number in range(100)
        for link in (
            (f"data:d{number}", f"run:r{number}", "input-of"),
            (f"run:r{number}", f"model:churn.m{number}:1", "produced"),
        )
    ]
    drawing = drawn(*chains)
    assert len(drawing.boxes) == lineage_graph.MAX_NODES
    assert len(drawing.boxes) + drawing.left_out == 300


def test_runs_lead_to_their_page_and_long_names_are_cut(drawn: Make) -> None:
    name = "n" * 80
    drawing = drawn(("run:r1", f"model:churn.{name}:1", "produced"), ("commit:abc", "run:r1", "code-of"))
    hrefs = {box.node.ref.kind: box.href for box in drawing.boxes}
    assert hrefs == {"run": "/projects/churn/runs/r1", "model": "/projects/churn#models", "commit": None}
    assert max(len(box.title) for box in drawing.boxes) < 30


def test_odd_ids_stay_in_the_path_of_their_address(drawn: Make) -> None:
    drawing = drawn(('run:"><script>?#/../x', "model:churn.clf:1", "produced"))
    (href,) = (box.href for box in drawing.boxes if box.node.ref.kind == "run")
    assert href == "/projects/churn/runs/%22%3E%3Cscript%3E%3F%23%2F..%2Fx"


def test_a_project_without_links_has_nothing_to_draw(drawn: Make) -> None:
    drawing = drawn()
    assert (drawing.boxes, drawing.arrows, drawing.left_out) == ((), (), 0)
