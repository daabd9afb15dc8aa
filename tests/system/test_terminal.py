"""What data say is shown as it is: it is no markup, and it steers no terminal."""

import io
import re
import time

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


@pytest.mark.parametrize("width", [120, 80, 60])
def test_bar_count_rate_and_time_left_stay_on_a_narrow_terminal(monkeypatch, width):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(
        terminal, "console", lambda: terminal._Plain(file=out, force_terminal=True, width=width)
    )
    now = iter(range(1000))
    line = terminal.ProgressLine(50_000, 0, True)
    line._bar.get_time = lambda: next(now)
    for pairs in range(1000, 12_000, 1000):
        line.advance_to(pairs, "epoch 3/20 clip loss 1.234 scale 14.3 lr 5.0e-04 input 12 %")
    line._bar.refresh()
    line.close()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    last = [row for row in re.split(r"[\r\n]", text) if row.strip()][-1]
    assert len(last) <= width and "\n" not in last
    assert "11,000/50,000" in last and "pairs/s" in last and "━" in last
    assert re.search(r"\d:\d\d", last) and last.startswith("epoch 3")
    assert ("…" in last) == (width < 120)


def test_a_line_comes_every_ten_seconds_also_while_nothing_is_done(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", 0.2)
    line = terminal.ProgressLine(10, 0, True)
    line.doing("compiles the clip step")
    time.sleep(2.5)
    line.advance_to(5, "epoch 1")
    line.close()
    shown = capsys.readouterr().out
    assert shown.count("  0% compiles the clip step") == 2 and " 50% epoch 1" in shown
