"""A page with pairs as a browser sees it."""

import html
import json
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
needed = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def data(page):
    """What its script shows."""
    text = page.read_text()
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


STEPS = """
<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const seen = {}, cards = () => [...document.querySelectorAll(".card")];
const began = performance.now();
seen.first = cards().length;
seen.place = at("place").textContent;
press("n"); seen.second = at("place").textContent; press("p");
press("/"); seen.focus = document.activeElement.id;
at("query").value = "HEART"; at("query").oninput(); seen.hearts = shown.length;
seen.allHearts = shown.every(i => texts[i].includes("heart"));
at("query").value = ""; at("query").oninput();
const sorted = data.scores.length - 1;
at("sort").value = sorted; at("sort").onchange();
const values = shown.map(i => pairs[i].s[sorted]);
seen.sorted = values.every((v, n) => n === 0 || v <= values[n - 1]);
at("filter").value = data.mark; at("filter").onchange();
seen.marked = shown.length === pairs.slice(0, count).filter(p => p.f).length;
at("filter").value = "all"; at("filter").onchange();
document.activeElement.blur();
press("ArrowRight"); seen.card = document.activeElement === cards()[0];
document.activeElement.click(); seen.open = at("dialog").open; seen.name = at("name").textContent;
press("ArrowRight"); seen.other = at("name").textContent !== seen.name;
seen.way = at("detail").textContent;
seen.figures = document.querySelectorAll("#detail figure").length;
at("close").click(); seen.closed = !at("dialog").open;
seen.milliseconds = performance.now() - began;
document.title = "seen " + JSON.stringify(seen);
</script>
"""


def use(page, tmp_path):
    """Runs the steps in a page with pairs and returns what they saw."""
    return see(page, tmp_path, STEPS)


def see(page, tmp_path, script, *flags, width=None):
    """What a script at a page's end puts into the title, behind "seen ", as JSON.

    With a width, of pixels, the page is in a frame of it: a window has a least width. The title is
    then that of `parent.document`.
    """
    text = page.read_text().replace("</html>", script + "</html>")
    if width:
        style = f"width: {width}px; height: 800px; border: 0"
        text = f'<title></title><iframe style="{style}" srcdoc="{html.escape(text)}"></iframe>'
    driven = tmp_path / "driven.html"
    driven.write_text(text)
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *flags,
         f"--user-data-dir={tmp_path}/profile", "--dump-dom", driven.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    assert title.startswith("seen "), title
    return json.loads(title.removeprefix("seen ").replace("&quot;", '"'))
