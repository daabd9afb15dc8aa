"""HTML pages from the templates that come with the program."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jinja2


def write(path: Path, template: str, **values: object) -> None:
    """Writes a self-contained page; every value is escaped unless the template says `safe`.

    Args:
      path: of the page.
      template: a file's name in `templates/`.
      **values: all that the template names.
    """
    text = (resources.files("safeclip_jax") / "templates" / template).read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    path.write_text(environment.from_string(text).render(values), "utf-8")
