"""Mutants: one change each, of code alone; and a child that runs tests of one."""

import ast

import pytest

from experiments.mutants import summary
from experiments.mutation import operators

SOURCE = '''
"""A module."""

SIZES = {"a": 3}

@dataclass(frozen=True)
class Some:
    """A docstring with 3 and True."""

    width: int | None = 2

    def of(self, x: list[int | None], strong=False) -> tuple[float, float]:
        """Another."""
        if x and not strong:
            raise UserError(f"{len(x) + 1} are too many, of {self.width * 2}")
        assert self.width > 1
        for i in range(len(x)):
            x[i] += 0.5
        kept = stop_gradient(np.max(x, axis=0))
        return kept, self.width if strong else run(kept, x, strict=True, most=4)
'''
CHANGES = [
    "{'a': 3} → SIZES = {'a': 4}",
    "= 2 → width: int | None = 3",
    "strong=False) -> tuple[float, float]: ... → "
    "def of(self, x: list[int | None], strong=True) -> tuple[float, float]: ...",
    "if x and (not strong): ... → if not (x and (not strong)): ...",
    "if x and (not strong): ... → if x or not strong: ...",
    "if x and (not strong): ... → if x and strong: ...",
    "x[i] += 0.5 → x[i] -= 0.5",
    "x[i] += 0.5 → x[i] += 1.0",
    "→ kept = np.max(x, axis=0)",
    "→ kept = stop_gradient(np.max(x))",
    "→ kept = stop_gradient(np.min(x, axis=0))",
    "→ kept = stop_gradient(np.max(x, axis=1))",
    "→ return (self.width if strong else run(kept, x, strict=True, most=4), kept)",
    "→ return (kept, self.width if not strong else run(kept, x, strict=True, most=4))",
    "→ return (kept, self.width if strong else run(kept, x, strict=True))",
    "→ return (kept, self.width if strong else run(x, kept, strict=True, most=4))",
    "→ return (kept, self.width if strong else run(kept, x, strict=True, most=5))",
]


def test_every_change_is_one_of_code_and_no_other_is_made():
    found, lines = [], SOURCE.splitlines()
    for mutant in operators.mutants(SOURCE):
        found.append(mutant.change)
        compile(mutant.tree, "mutant", "exec")
        before, _, after = mutant.change.partition(" → ")
        assert before != after and lines[mutant.line - 1].strip()
        as_text = ast.unparse(mutant.tree)
        assert as_text != ast.unparse(ast.parse(SOURCE))
    assert len(found) == len(CHANGES)
    for change in CHANGES:
        assert sum(change in one for one in found) == 1, change


@pytest.mark.parametrize(
    "before, after",
    [
        ("a < b", ["a <= b", "a > b"]),
        ("a == b", ["a != b"]),
        ("a in b", ["a not in b"]),
        ("a - b", ["a + b"]),
        ("a // b", ["a * b"]),
        ("a ** b", ["a * b"]),
        ("a & ~b", ["a | ~b", "a & b"]),
        ("a << b", ["a >> b"]),
        ("-a", ["a"]),
        ("np.argmax(a)", ["np.argmin(a)"]),
        ("np.where(a, b, c)", ["np.where(b, a, c)"]),
        ("np.asarray(a, np.float32)", []),
        ("max(a, b)", ["min(a, b)"]),
        ("f(a, axis=1)", ["f(a)", "f(a, axis=0)"]),
        ("f(a, axis=2)", ["f(a)", "f(a, axis=3)"]),
        ("a is None", ["a is not None"]),
        ("'text'", []),
        ("f'{a + 1}'", []),
        ("0.0", ["1.0"]),
    ],
)
def test_operators(before, after):
    changes = [mutant.change for mutant in operators.mutants(f"x = {before}")]
    assert changes == [f"x = {before} → x = {other}" for other in after]


def test_the_share_is_of_those_that_can_be_told():
    rows = [{"module": "a/x", "outcome": "tests/t.py::t"}, {"module": "a/y", "outcome": "timeout"},
            {"module": "b/x", "outcome": "survived"},
            {"module": "b/x", "outcome": "survived", "harmless": "why"}]  # fmt: skip
    found = {row["room"]: row for row in summary(rows)}
    assert [row["share"] for row in found.values()] == [100, 0, pytest.approx(200 / 3)]
    assert (found["all"]["mutants"], found["all"]["harmless"], found["b"]["survived"]) == (4, 1, 1)
