"""Reports as text, Markdown, JSON and pages, and as files."""

from __future__ import annotations

import json
import os
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from mlops.errors import ConfigError, IntegrationNotInstalledError
from mlops.reporting import page
from mlops.reporting.facts import ProjectReport
from mlops.reporting.markdown import LARGEST_BYTES, code
from mlops.reporting.rendering import Format, format_of, render, write
from mlops.reporting.report import StatusReport
from mlops.reporting.tables import tables
from mlops.reporting.wording import one_line
from tests.reporting.synthetic import fleet, hostile, report


class Elements(HTMLParser):
    """The elements of a page, with the text of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def demo_report(demo: Path) -> StatusReport:
    return StatusReport.collect(demo, cache=False)


@pytest.fixture(scope="module")
def many() -> StatusReport:
    return report(*fleet(1000))


def rows_of(text: str) -> list[list[str]]:
    """Return what a reader of Markdown sees in its tables, checking that nothing else is made of it."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "html_block":
            assert token.content.strip().startswith(("<details><summary>", "</details>"))
        elif token.type == "inline" and rows:
            children = token.children or []
            kinds = {child.type for child in children}
            assert kinds <= {"text", "code_inline", "html_inline", "strong_open", "strong_close", "hardbreak"}
            assert {child.content for child in children if child.type == "html_inline"} <= {
                "<code>",
                "</code>",
            }
            rows[-1].append("".join(child.content for child in children if child.type != "html_inline"))
    return rows


def test_nothing_that_others_wrote_is_markup_in_markdown() -> None:
    text = render(report(hostile()), Format.MARKDOWN)
    rows = rows_of(text)
    projects = next(row for row in rows if row[0] == "hostile" and len(row) == 14)
    assert projects[-1] == one_line(hostile().description, 160)
    assert text.isascii() or "\u202e" not in text
    for shown in ("a|b", "`a`", "``", "\\|", "<b>", "*a* _b_ [c](d) @e :f: &amp; ~g~ $h$", "C:\\x|y`z"):
        token = MarkdownIt("commonmark", {"html": True}).enable("table")
        (cells,) = rows_of(f"| {code(shown)} | next |\n| --- | --- |\n")
        assert cells == [shown, "next"], token


def test_nothing_that_others_wrote_is_markup_or_code_on_a_page() -> None:
    text = render(report(hostile()), Format.HTML)
    elements = Elements(text)
    assert [each for each in elements.all("script") if each.get("type") != "application/json"] == [{}] * 3
    assert not elements.all("img")
    names = {name for _, attributes in elements.found for name in attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "srcset", "action"})
    assert all(str(each["href"]).startswith("#") for each in elements.all("a"))
    assert "".join(elements.words).count("alert('x')") >= 5
    assert "\x1b" not in text.partition("<footer>")[0]
    # What has no place in a script's numbers still has one in its order.
    assert 'data-sort="Infinity"' in text
    policy = elements.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert str(policy["content"]).startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in str(policy["content"]).partition("style-src")[0]


def test_nothing_that_others_wrote_reaches_a_terminal() -> None:
    text = render(report(hostile()), Format.TABLE)
    assert all(line.isprintable() for line in text.splitlines())
    assert "[red]pipe[/red]" in text


def test_json_is_the_report() -> None:
    odd = report(*fleet(2), hostile())
    assert json.loads(render(odd, Format.JSON)) == odd.to_dict()
    # A lone surrogate is no text that a file could hold.
    torn = report(ProjectReport("torn", description="a\ud800b"))
    written = render(torn, Format.JSON).encode()
    assert json.loads(written)["projects"][0]["description"] == "a\ud800b"


def test_every_project_and_finding_of_a_real_base_is_in_every_format(demo_report: StatusReport) -> None:
    names = ("broken", "churn", "forecast", "hostile", "quiet", "torn")
    shown = {each: render(demo_report, each) for each in Format}
    for text in shown.values():
        for name in names:
            assert name in text
    for chosen in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        for gate in ("drift", "alert", "unpushed-data", "corrupt"):
            assert gate in shown[chosen], chosen
        assert "\u202e" not in shown[chosen].partition("<footer>")[0]
    assert [row[0] for row in rows_of(shown[Format.MARKDOWN]) if row[0] in names][-1]


def test_a_thousand_projects_fit_a_page_and_a_summary(many: StatusReport) -> None:
    began = time.process_time()
    text = render(many, Format.HTML)
    summary = render(many, Format.MARKDOWN)
    # About 2 s, on a machine that is busy with other tests too.
    assert time.process_time() - began < 8
    assert len(text.encode()) < 8_000_000
    rows = Elements(text).all("tr")
    assert len(rows) < 9_000
    assert text.count("project-0999") >= 2
    assert len(summary.encode()) < LARGEST_BYTES
    assert summary.count("`project-0999`") >= 1
    assert "The first 1,000 of 1," in text


def test_a_summary_never_outgrows_what_github_takes() -> None:
    text = render(report(*fleet(2500)), Format.MARKDOWN)
    assert len(text.encode()) < LARGEST_BYTES
    assert "more, which `mlops report --format json` has." in text
    titles = [line for line in text.splitlines() if "<summary>" in line or line.startswith("## ")]
    assert titles[0].startswith("## Needs attention (")
    assert "## Projects (2,500)" in titles
    assert len(titles) >= 7


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("a.json", None, Format.JSON),
        ("a.HTML", None, Format.HTML),
        ("a.htm", Format.HTML, Format.HTML),
        ("a.md", None, Format.MARKDOWN),
        ("a.txt", None, Format.TABLE),
        ("a", None, Format.TABLE),
        ("a", Format.JSON, Format.JSON),
        ("a.data", Format.JSON, Format.JSON),
    ],
)
def test_the_ending_tells_the_format(name: str, chosen: Format | None, expected: Format) -> None:
    assert format_of(Path(name), chosen) is expected


def test_an_ending_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.html ends like the format html, and json was chosen"):
        format_of(Path("a.html"), Format.JSON)
    with pytest.raises(ConfigError, match=r"a\.pdf cannot be told") as raised:
        format_of(Path("a.pdf"))
    assert ".html" in str(raised.value.hint)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = report(*fleet(1))
    file = tmp_path / "out.html"
    file.write_text("old")
    (tmp_path / "link.html").symlink_to(file)

    def no_plotly() -> Any:
        raise IntegrationNotInstalledError("plotly is not installed")

    with monkeypatch.context() as patch:
        patch.setattr(page, "_scripts", no_plotly)
        with pytest.raises(IntegrationNotInstalledError):
            write(one, file)
    assert file.read_text() == "old"

    assert one.write(tmp_path / "link.html") == file
    assert (tmp_path / "link.html").is_symlink()
    assert "project-0000" in file.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cwd", "link.html", "out.html"]


def test_what_is_no_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    one = report(*fleet(1))
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "device").symlink_to("/dev/null")
    reading, writing = os.pipe()
    (tmp_path / "pipe").symlink_to(f"/dev/fd/{writing}")
    for name, message in (
        ("folder.md", "it is a directory"),
        ("device", "it is not a file"),
        ("pipe", "it is not a file"),
        ("none/a.md", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=message):
            write(one, tmp_path / name)
    assert list((tmp_path / "folder.md").iterdir()) == []
    assert Path("/dev/null").is_char_device()
    os.close(reading)
    os.close(writing)


def test_the_tables_are_of_equal_width() -> None:
    for table in tables(report(*fleet(3), hostile())):
        assert {len(row) for row in table.rows} <= {len(table.columns)}, table.name
