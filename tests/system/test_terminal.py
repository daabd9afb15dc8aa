"""What data say is shown as it is: it is no markup, and it steers no terminal."""

import io

import pytest
from rich.table import Table

from safeclip_jax import errors
from safeclip_jax.system import terminal

HOSTILE = "a [/x] dog\x1b[2J \x9b31m [bold]red[/bold] :smile: \u202egod\u202c\x07"
SHOWN = r"a [/x] dog\x1b[2J \x9b31m [bold]red[/bold] :smile: \u202egod\u202c\x07"


@pytest.mark.parametrize("text", ["a dog, 狗, café – 50 %", "two\nlines\tand a tab"])
def test_honest_text_is_shown_as_it_is(text):
    assert errors.printable(text) == text


def test_tables_and_lines_show_what_data_say(capsys):
    table = Table("caption", title=HOSTILE)
    table.add_row(HOSTILE)
    console = terminal.console()
    console.print(table)
    console.print(HOSTILE)
    terminal.ProgressLine(1, 0, True).say(HOSTILE)
    errors.show(errors.UserError(HOSTILE))
    found = capsys.readouterr()
    assert found.out.count(SHOWN) == 4 and found.err == f"error: {SHOWN}\n"
    assert not set("\x1b\x9b\x07\u202e") & set(found.out + found.err)


def test_a_bar_shows_what_data_say(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    line = terminal.ProgressLine(10, 0, True)
    line.advance_to(5, "epoch [/x]")
    line.say(HOSTILE)
    line.close()
    text = out.getvalue()
    assert "epoch [/x]" in text and r"\x1b[2J" in text and "\x07" not in text
