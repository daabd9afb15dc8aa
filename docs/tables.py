"""Renders what pages show of result files and of the code, between markers.

    python -m docs.tables            # rewrites the pages
    python -m docs.tables --check    # changes nothing; status 1 if a page is out of date

A marker has a line for each column: the heading, and a format string for a row of the result file.
A figure {"mean", "sd"} is shown as mean ± sd, and a cell that lacks a figure as –. A heading with a
name in braces becomes a column for each of its values:

    <!-- table results/grid_demo.json
    attack | {attack}
    {defense} | {success:.1f} ({base_rate:.1f})
    only defense | CLIP | SafeCLIP
    -->
    <!-- end -->

`<!-- settings -->` and `<!-- commands -->` are filled by `docs/reference.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import markdown
from docs import reference

ROOT = Path(__file__).parent.parent
_MARKED = re.compile(
    r"(<!-- (table|settings|commands)\b ?(\S*)\s*(.*?)-->\n)(.*?)(<!-- end -->)", re.DOTALL
)


class Figure(NamedTuple):
    """A mean with its standard deviation."""

    mean: float
    sd: float

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}}\u00a0±\u00a0{self.sd:{spec}}"  # on one line


class TableError(Exception):
    """A marker or a result file that cannot be rendered."""


def render(page: str, root: Path = ROOT) -> str:
    """The page's Markdown with what is between its markers made anew; paths are below the root.

    Raises:
      TableError: if a result file cannot be read, or lacks what a marker asks for.
    """

    def anew(found: re.Match[str]) -> str:
        opening, kind, path, columns, _, closing = found.groups()
        of_table = kind == "table"
        made = _table(path, columns, root) if of_table else reference.RENDERERS[kind]()
        return f"{opening}\n{made}\n\n{closing}"

    return _MARKED.sub(anew, page)


def stale(page: str, root: Path = ROOT) -> list[str]:
    """What is out of date in a page: `table results/demo.json`, `settings`, …"""
    now, new = (_MARKED.findall(text) for text in (page, render(page, root)))
    return [
        f"{kind} {path}".strip()
        for (_, kind, path, _, there, _), (*_, here, _) in zip(now, new, strict=True)
        if there != here
    ]


def pages() -> list[Path]:
    """All that may hold markers."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _table(path: str, lines: str, root: Path) -> str:
    try:
        rows = (content := json.loads((root / path).read_text()))["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise TableError(f"{path} is no result file: {error!r}") from None
    only, columns = {}, {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        head, *rest = (part.strip() for part in line.split("|"))
        if head.startswith("only "):
            only[head.removeprefix("only ")] = rest
        elif len(rest) == 1:
            columns[head] = rest[0]
        else:
            raise TableError(f"{path}: {line!r} is not `heading | format`")
    chosen = [row for row in rows if all(str(row.get(k)) in v for k, v in only.items())]
    if not chosen or not columns:
        raise TableError(f"{path}: no row or no column is left to show")
    return markdown.table(_cells(chosen, columns)) + f"\n\n*{_origin(path, content)}*"


def _cells(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Cells by heading; rows that share the cells under fixed headings are one."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        cells = {_filled(head, row): _filled(text, row) for head, text in columns.items()}
        key = tuple(_filled(text, row) for head, text in columns.items() if "{" not in head)
        found.setdefault(key, {}).update(cells)
    headings = dict.fromkeys(head for cells in found.values() for head in cells)
    return [{head: cells.get(head, "–") for head in headings} for cells in found.values()]


def _filled(text: str, row: Mapping[str, Any]) -> str:
    values = {k: Figure(**v) if isinstance(v, dict) and "sd" in v else v for k, v in row.items()}
    names = (name for _, name, _, _ in string.Formatter().parse(text) if name)
    if any(values.get(name.partition("[")[0]) is None for name in names):
        return "–"
    return string.Formatter().vformat(text, (), values)


def _origin(path: str, content: Mapping[str, Any]) -> str:
    parts = f"`{content['command']}`", content["date"][:10], content["device"]
    return f"`{path}`: {', '.join(filter(None, parts))}."


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, tell what differs")
    check, status = parser.parse_args(argv).check, 0
    for page in pages():
        text, name = page.read_text(), page.relative_to(ROOT)
        try:
            differing = stale(text)
        except TableError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        if not check and differing:
            page.write_text(render(text))
        for what in differing:
            print(f"{name}: {what} {'is out of date: python -m docs.tables' * check}".rstrip())
            status = int(check)
    return status


if __name__ == "__main__":
    sys.exit(main())
