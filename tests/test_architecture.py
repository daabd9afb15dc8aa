"""The package keeps its form: few modules at the root, short files and functions, no circles."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "safeclip_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(path):
    return ast.parse(path.read_text(), str(path))


def rooms_imported(path):
    """Rooms whose modules a file imports, also inside of functions."""
    found = set()
    for node in ast.walk(parsed(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
                found.add(parts[1])
    return found


def test_few_modules_are_at_the_root():
    names = {path.stem for path in PACKAGE.glob("*.py")}
    assert len(names) <= 10, sorted(names)


@pytest.mark.parametrize("most, kind", [(400, None), (60, FUNCTIONS)], ids=["files", "functions"])
def test_files_and_functions_are_short(most, kind):
    lengths = {}
    for path in FILES:
        if kind is None:
            lengths[path.name] = len(path.read_text().splitlines())
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, kind):
                lengths[f"{path.name}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert len(lengths) > 100
    assert not {name: length for name, length in lengths.items() if length > most}


def test_no_room_needs_a_room_that_needs_it():
    needs = {}
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        if (PACKAGE / room).is_dir() and path.name != "__main__.py":
            needs.setdefault(room, set()).update(rooms_imported(path) - {room})
    assert len(needs) > 15 and sum(map(len, needs.values())) > 30
    standing = dict(needs)
    while standing:
        free = [room for room, others in standing.items() if not others & standing.keys()]
        assert free, {room: sorted(others & standing.keys()) for room, others in standing.items()}
        for room in free:
            del standing[room]


def test_the_root_is_a_door_to_the_rooms_alone():
    """Programs run with `python -m safeclip_jax.NAME` are a line each."""
    for path in PACKAGE.glob("*.py"):
        if path.stem not in ("__init__", "errors"):
            assert len(path.read_text().splitlines()) <= 10, path.name
