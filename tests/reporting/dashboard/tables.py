"""Reading what a page shows."""

from __future__ import annotations

import html
import re


def rows(page: str, table: str) -> list[list[str]]:
    """Return the texts of a table's cells, row by row."""
    found = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert found, f"the page has no table {table}"
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in found[1].split("</tr>")]
    return [[words(cell) for cell in row] for row in cells if row]


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
