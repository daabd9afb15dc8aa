"""Plots of data with hostile names."""

import xml.dom.minidom

import numpy as np

from safeclip_jax.evaluation import records
from safeclip_jax.evaluation.share import Share
from safeclip_jax.grid.plots import bars
from safeclip_jax.report import plots

HOSTILE = ["$\\frac{", "$5 and $6", "<script>alert(1)</script>", "a & b", "[red]x[/red]"]


def test_names_are_text_in_plots():
    drawings = (
        plots.confusion(np.eye(len(HOSTILE)), HOSTILE),
        plots.comparison({name: {other: 0.5 for other in HOSTILE} for name in HOSTILE}),
    )
    for svg in drawings:
        xml.dom.minidom.parseString(svg)  # well-formed
        assert "$5 and $6" in svg and "&lt;script&gt;" in svg and "<script" not in svg


def test_every_defence_is_in_the_legend_once_whatever_attacks_it_ran_under():
    ran = [("clean", "CLIP"), ("badnets", "CLIP"), ("badnets", "RoCLIP"), ("wanet", "SafeCLIP+")]
    found = [
        {"attack": attack, "defense_name": defense, "zero_shot_accuracy": 0.9,
         "poison_success_rate": None, "attack_success_rate": 0.5, "target_base_rate": 0.1}
        for attack, defense in ran
    ]  # fmt: skip
    svg = bars(found, ["clean", "badnets", "wanet"], ["CLIP", "RoCLIP", "SafeCLIP+"])
    for name in ("CLIP", "RoCLIP", "SafeCLIP+"):
        assert svg.count(f">{name}</text>") == 1


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
