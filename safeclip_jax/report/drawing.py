"""The one style of all plots: small panels in the page's own colours, which the page lays out.

A panel has a frame of fixed place, no legend and no title: those are the page's, so that they wrap
on a phone and nothing lies on a frame. Its colours are the page's CSS variables and follow dark
mode.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from xml.sax.saxutils import quoteattr

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

INK, SAFE, RISKY, POISON = "#101418", "#2a78b5", "#d98a29", "#b3261e"
NEUTRAL, VIOLET, GREEN, SAND = "#777777", "#8a6fb0", "#2b8a57", "#b09a70"
# The colours that a panel is drawn with, and what they become in a page: see page.css.
VARIABLES = {
    INK: "currentColor",
    SAFE: "var(--safe)",
    RISKY: "var(--risky)",
    POISON: "var(--poison)",
    NEUTRAL: "var(--neutral)",
    VIOLET: "var(--violet)",
    GREEN: "var(--green)",
    SAND: "var(--sand)",
}
PALETTE = (SAFE, RISKY, VIOLET, GREEN, SAND, POISON, NEUTRAL)

_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "safeclip_jax",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are data: a dollar is a dollar
    "font.size": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(_INKED, INK),
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_STYLED = re.compile(r'style="([^"]*)"')
_FONT = re.compile(r"font: ([\d.]+px) [^;\"]*")


@dataclass(frozen=True)
class Panel:
    """A frame with what is drawn in it.

    Attributes:
      svg: one `<svg>` element.
      title: in a few words; empty where the plot's own says all.
    """

    svg: str
    title: str = ""


@dataclass(frozen=True)
class Plot:
    """Panels with one legend and one sentence.

    Attributes:
      title: of the plot.
      meaning: what is to be seen, in a sentence.
      panels: in their order.
      legend: the CSS colour of each name.
      small: whether two panels stand side by side on a phone.
    """

    title: str
    meaning: str
    panels: Sequence[Panel]
    legend: Mapping[str, str] = field(default_factory=dict)
    small: bool = False


def axes(
    xlabel: str = "", ylabel: str = "", size: tuple[float, float] = (252, 130), left: float = 42
) -> Axes:
    """An empty frame.

    Args:
      xlabel, ylabel: what the axes show, with units.
      size: width and height, points.
      left: room for the numbers on its left, points.
    """
    width, height = size
    bottom = 30 if xlabel else 18
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        place = (left / width, bottom / height, 1 - (left + 9) / width, 1 - (bottom + 8) / height)
        made = figure.add_axes(place)
        made.set(xlabel=xlabel, ylabel=ylabel)
        made.patch.set_visible(False)
        figure.patch.set_visible(False)
        for axis, ticks in ((made.xaxis, 3 if width < 200 else 6), (made.yaxis, 4)):
            axis.set_major_locator(MaxNLocator(ticks))
            axis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
    return made


def whole_numbers(axis: Axis) -> None:
    """Ticks of an axis at whole numbers alone, as epochs are."""
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def panel(drawn: Axes, title: str = "", alt: str = "") -> Panel:
    """What was drawn, as a panel; the same on every run.

    Args:
      drawn: made by `axes`.
      title: of the panel.
      alt: what it shows, for those who do not see it; the title where empty.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        cast(FigureCanvasSVG, drawn.figure.canvas).print_svg(buffer, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = re.sub(r"<style.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    text = _STYLED.sub(_by_variables, text)
    named = f'<svg role="img" aria-label={quoteattr(alt or title)} '
    return Panel(text.replace("<svg ", named, 1), title)


def _by_variables(style: re.Match[str]) -> str:
    text = _FONT.sub(r"font-size: \1", style[1])
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    return f'style="{text}"'
