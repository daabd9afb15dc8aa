"""Each fault and each hostile file that the pages list has a test of the name that they give."""

import re

import pytest

from docs import tables

TESTS = {
    name
    for path in (tables.ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


def test_every_test_that_the_page_on_fidelity_names_is_there():
    text = (tables.ROOT / "docs/fidelity.md").read_text()
    rows = re.findall(r"^\|.*\|$", text.partition("## RoCLIP")[0], re.MULTILINE)
    named = [row.split("|")[-2].strip() for row in rows if row.count("|") == 7][2:]
    assert len(named) > 15
    for cell in named:
        where = cell.strip("`")
        assert where == "not reproduced" or where in TESTS or (tables.ROOT / where).is_file(), cell


@pytest.mark.parametrize("page, mark", [("survival", "faults"), ("threat_model", "hostile files")])
def test_every_test_that_a_table_names_is_there(page, mark):
    text = (tables.ROOT / f"docs/{page}.md").read_text()
    (table,) = re.findall(rf"<!-- {mark} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    rows = table.strip().splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert names and set(names) <= TESTS, row
