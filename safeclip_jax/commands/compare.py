"""`safeclip-jax compare`: two finished runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.comparison import differences, finished, page
from safeclip_jax.comparison import pairs as differing_pairs
from safeclip_jax.comparison.differences import TRAINING
from safeclip_jax.comparison.finished import Finished
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_data, run_folder
from safeclip_jax.system.terminal import console

_EXAMPLES = """
runs/demo-safeclip-seed0 runs/demo-none-seed0
runs/A runs/B --own-data --out=a-and-b.html
"""
_MORE = """
It prints the settings and the final figures that differ and writes a page with these, the curves of
both runs, the overlap of their safe pools by epoch, and pairs that one run holds safe at its end
and the other does not. Pools and pairs are compared if both runs have the same training pairs.
"""


def _parser() -> Parser:
    made = command_line.parser("compare", "Shows two finished runs side by side.", _EXAMPLES, _MORE)
    made.add_argument("a", type=Path, metavar="A", help="folder of a run")
    made.add_argument("b", type=Path, metavar="B", help="folder of another run")
    own = "open what the runs' config names beside drawn scenes, for keys and captions"
    made.add_argument("--own-data", action="store_true", help=own)
    out = "page to write; compare.html"
    made.add_argument("--out", type=Path, default=Path("compare.html"), help=out)
    return made


def main(argv: Sequence[str]) -> int:
    given, _ = command_line.parse(_parser(), argv)
    a, b = finished.read(given.a), finished.read(given.b)
    if given.a.resolve() == given.b.resolve():
        raise UserError(f"{given.a} and {given.b} are the same run: name two")
    if given.out.is_dir():
        raise UserError(f"--out={given.out} is a folder: name a file, as compare.html")
    run_folder.check_writable(given.out.parent)
    remarks = differences.remarks(a, b)
    pools, pairs = [], []
    if a.pools and b.pools and not differences.other_data(a, b, TRAINING):
        source = differing_pairs.source(a, given.own_data)
        if source is None:
            names = ", ".join(run_data.named(a.settings))
            remarks.append(f"Keys and captions are shown with --own-data, which opens {names}.")
        pools = list(differences.of_pools(a, b))
        pairs = differing_pairs.differing(a, b, source)
    page.write(given.out, a, b, pools, pairs, remarks)
    _show(a, b, remarks)
    print(f"page: {given.out}")
    return 0


def _show(a: Finished, b: Finished, remarks: Sequence[str]) -> None:
    rows = differences.of_settings(a, b)
    terminal = console()
    terminal.print(f"A: {a.folder}\nB: {b.folder}")
    if rows:
        terminal.print(_table(("setting", "A", "B"), [(r.key, r.a, r.b) for r in rows]))
    figures = page.shown(differences.of_figures(a, b))
    terminal.print(_table(("figure", "A", "B", "B less A"), figures))
    for remark in remarks:
        terminal.print(f"note: {remark}")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table()
    for name in header:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
