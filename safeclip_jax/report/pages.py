"""Pages and cards from the templates that come with the program."""

from __future__ import annotations

from pathlib import Path

import jinja2

from safeclip_jax.report import glossary
from safeclip_jax.system import atomic_file


def write(path: Path, template: str, **values: object) -> None:
    """Writes a file from a template, a self-contained one.

    In HTML every value is escaped unless the template says `safe`.

    Args:
      path: of the file.
      template: a file's name in `templates/`.
      **values: all that the template names, beside the glossary's `called` and `meaning`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("safeclip_jax.report"),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=template.endswith(".md"),
        lstrip_blocks=template.endswith(".md"),
    )
    environment.globals |= {"called": glossary.name, "meaning": glossary.meaning}
    environment.filters["thousands"] = "{:,}".format
    atomic_file.write_text(path, environment.get_template(template).render(values))
