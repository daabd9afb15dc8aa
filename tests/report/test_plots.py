"""Plots of data with hostile names."""

import re
import xml.dom.minidom
import xml.sax.saxutils
from pathlib import Path

import numpy as np

from safeclip_jax import report
from safeclip_jax.evaluation import records
from safeclip_jax.evaluation.share import Share
from safeclip_jax.grid.plots import bars
from safeclip_jax.report import confusion, drawing, plots

PAGES = Path(report.__file__).parent / "templates"
HOSTILE = ["$\\frac{", "$5 and $6", "<script>alert(1)</script>", "a & b", "[red]x[/red]"]


def run_of(attack, defense, success=0.5):
    return {"attack": attack, "defense_name": defense, "zero_shot_accuracy": 0.9,
            "poison_success_rate": None, "attack_success_rate": success, "target_base_rate": 0.1,
            }  # fmt: skip


def test_names_are_text_in_plots():
    for panel in bars([run_of(name, name) for name in HOSTILE], HOSTILE, HOSTILE).panels:
        xml.dom.minidom.parseString(panel.svg)  # well-formed
        assert "<script" not in panel.svg
        shown = xml.sax.saxutils.escape(panel.title)
        assert panel.svg.count(shown) >= 2  # as the defence, and for those who do not see it


def test_colours_are_the_page_s_and_follow_dark_mode():
    css = (PAGES / "page.css").read_text()
    light, dark = re.findall(r":root \{([^}]*)\}", css)[:2]
    (panel,) = plots.losses([{"kind": "train", "stage": "x", "step": 1, "loss": 2.0}], 3).panels
    used = set(re.findall(r"var\((--\w+)\)", panel.svg))
    assert used and "currentColor" in panel.svg
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r'"#\w+"|url\(#\w+\)', "", panel.svg))
    for variable in drawing.VARIABLES.values():
        name = variable.removeprefix("var(").removesuffix(")")
        assert name == "currentColor" or (f"{name}:" in light and f"{name}:" in dark)


def test_a_panel_is_the_same_on_every_run_and_light():
    first, second = (
        plots.pool_sizes([{"kind": "pools", "epoch": e, "safe_pool_size": 5000 + e,
                           "poisons_in_safe_pool": 3} for e in range(9)], 12)
        for _ in range(2)
    )  # fmt: skip
    assert first == second and all(len(panel.svg) < 12_000 for panel in first.panels)
    assert "<image" not in first.panels[0].svg and "5,000" in first.panels[0].svg


def test_epochs_are_whole_numbers():
    for last in (1, 2, 3, 7, 31):
        panel = plots.curves([[(1, 0.5), (last, 0.7)]], "x")
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", panel.svg)
        before = texts[: texts.index("epoch")]
        assert before and all(re.fullmatch(r"[\d−]+", text) for text in before), before


def test_attack_success_is_drawn_above_its_base_rate():
    metrics = [{"kind": "evaluation", "epoch": 4, "zero_shot_accuracy": 0.9,
                "attack_success_rate": 0.0066, "target_base_rate": 0.0094,
                "poison_success_rate": None, "poison_base_rate": None}]  # fmt: skip
    plot = plots.evaluations(metrics)
    svg = plot.panels[0].svg
    assert svg.rindex("var(--poison)") > svg.rindex("var(--neutral)")
    assert "attack success rate, at the end 0.7 %" in plot.legend
    assert "base rate, at the end 0.9 %" in plot.legend


def test_a_matrix_of_many_classes_is_a_list_of_errors():
    counts = np.diag(np.full(30, 8))
    counts[3, 5], counts[9, 1] = 2, 8
    names = [f"class {i}" for i in range(30)]
    found = confusion.of(counts, names)
    assert not found.names
    assert found.errors == [("class 9", "class 1", 50.0), ("class 3", "class 5", 20.0)]
    whole = confusion.of(counts[:6, :6], names[:6])
    assert whole.rows[3] == ("class 3", [0, 0, 0, 80.0, 0, 20.0]) and not whole.errors


def test_every_defence_has_its_bars_under_the_attacks_it_ran_under():
    ran = [("clean", "CLIP"), ("badnets", "CLIP"), ("badnets", "RoCLIP"), ("wanet", "SafeCLIP+")]
    plot = bars(
        [run_of(*pair) for pair in ran],
        ["clean", "badnets", "sig", "wanet"],
        ["CLIP", "RoCLIP", "SafeCLIP+"],
    )
    assert [panel.title for panel in plot.panels] == ["clean", "badnets", "wanet"]
    for panel in plot.panels:
        for name in ("CLIP", "RoCLIP", "SafeCLIP+"):
            assert panel.svg.count(f">{name}</text>") == ((panel.title, name) in ran)


def test_names_are_text_in_the_report_of_an_evaluation(tmp_path, capsys):
    found = [
        records.Record(name, "somewhere", other, "zero_shot",
                       {"zero_shot_accuracy": Share(1, 2), "confusion": np.eye(5)}, HOSTILE)
        for name in HOSTILE[:3] for other in ("../../x", HOSTILE[2])
    ]  # fmt: skip
    records.write(tmp_path / "out", found)
    page = (tmp_path / "out/report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert all(path.parent == tmp_path / "out" for path in tmp_path.rglob("*.json"))
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert "$5 and $6" in capsys.readouterr().out.replace("\n", " ")
