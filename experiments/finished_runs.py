"""The command line of benchmarks that measure finished runs: RUN… to a Markdown table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import markdown
from safeclip_jax.system import host


def print_table(about: str, measure: Callable[[Path], list[dict]]) -> None:
    """Prints the rows that `measure` makes of the runs that the command line names."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    arguments = parser.parse_args()
    host.set_up_jax()
    print(markdown.table([row for folder in arguments.runs for row in measure(folder)]))
