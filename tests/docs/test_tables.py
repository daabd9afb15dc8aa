"""Pages show what result files hold, and nothing else in their tables of figures."""

import json
import re

import pytest

from docs import tables

PAGE = """before

<!-- table results/x.json
attack | {attack}
{defense} | {success:.1f} ({base:.2f})
only defense | CLIP | SafeCLIP
-->
stale
<!-- end -->

after
"""
RESULTS = sorted((tables.ROOT / "results").glob("*.json"))
ROWS = [
    {"attack": "a", "defense": "CLIP", "success": {"mean": 99.96, "sd": 0.04}, "base": 1},
    {"attack": "a", "defense": "SafeCLIP", "success": 0.25, "base": 0.123},
    {"attack": "a", "defense": "RoCLIP", "success": 5, "base": 5},
    {"attack": "b", "defense": "SafeCLIP", "success": None, "base": 0.5},
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "results").mkdir()
    content = {"command": "python -m x", "date": "2026-01-02T03:04", "device": "1 core"}
    (tmp_path / "results/x.json").write_text(json.dumps(content | {"rows": ROWS}))
    return tmp_path


def test_a_table_has_a_column_for_each_value_of_its_heading(root):
    made = tables.render(PAGE, root)
    assert "| attack | CLIP | SafeCLIP |\n" in made
    assert "| a | 100.0\u00a0±\u00a00.0 (1.00) | 0.2 (0.12) |\n" in made
    assert "| b | – | – |" in made
    assert "RoCLIP" not in made and "stale" not in made
    assert "*`results/x.json`: `python -m x`, 2026-01-02, 1 core.*" in made
    assert made.startswith("before\n") and made.endswith("after\n")


def test_a_rendered_page_is_not_stale(root):
    assert tables.stale(PAGE, root) == ["table results/x.json"]
    assert tables.stale(tables.render(PAGE, root), root) == []


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("results/x.json", "results/none.json", "results/none.json is no result file"),
        ("| SafeCLIP\n", "\nonly attack | c\n", "no row"),
        ("attack | {attack}", "attack {attack}", "is not `heading"),
    ],
)
def test_what_cannot_be_rendered_is_named(root, old, new, message):
    with pytest.raises(tables.TableError, match=re.escape(message)):
        tables.render(PAGE.replace(old, new), root)


def test_check_tells_page_and_file_and_changes_nothing(root, monkeypatch, capsys):
    (root / "README.md").write_text(PAGE)
    monkeypatch.setattr(tables, "ROOT", root)
    monkeypatch.setattr(tables, "pages", lambda: [root / "README.md"])
    monkeypatch.setattr(tables, "stale", lambda text: ["table results/x.json"])
    assert tables.main(["--check"]) == 1
    assert "README.md: table results/x.json is out of date" in capsys.readouterr().out
    assert (root / "README.md").read_text() == PAGE


def test_the_pages_are_up_to_date():
    assert {page.name: tables.stale(page.read_text()) for page in tables.pages()} == {
        page.name: [] for page in tables.pages()
    }


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_a_result_file_says_where_it_comes_from(path):
    content = json.loads(path.read_text())
    assert {"command", "commit", "date", "device", "versions", "rows"} <= content.keys()
    assert content["rows"] and re.match(r"[0-9a-f]{40}", content["commit"])


def test_no_table_of_figures_stands_outside_the_markers():
    decimal = re.compile(r"\| *\**-?\d[\d,]*\.\d+")
    for page in tables.pages():
        if page.name == "attacks.md":  # what papers published
            continue
        rest = re.sub(r"<!-- (table|settings)\b.*?<!-- end -->", "", page.read_text(), flags=re.S)
        found = [line for line in rest.splitlines() if decimal.search(line)]
        assert not found, (page.name, found[:3])
