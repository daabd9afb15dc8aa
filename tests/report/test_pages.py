"""The pages as files and as a browser lays them out: on a phone, in the dark, on their own."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from safeclip_jax import report
from safeclip_jax.attacks import manifest
from safeclip_jax.auditing import plots as audit_plots
from safeclip_jax.commands import compare
from safeclip_jax.evaluation import records
from safeclip_jax.evaluation.share import Share
from safeclip_jax.grid import report as grid_report
from safeclip_jax.report import glossary, pages
from safeclip_jax.runs import run_data, run_folder
from safeclip_jax.training import results, run_report
from tests.support import browser
from tests.support.made_up_run import figures, made_up

NAMES = ("report", "grid", "evaluation", "compare", "audit")
TEMPLATES = Path(report.__file__).parent / "templates"
LONG = "a_setting_with_a_name_that_has_no_place_to_break/" * 3
each_page = pytest.mark.parametrize("name", NAMES)
FITS = """<script>{
const all = selector => [...document.querySelectorAll(selector)];
const place = element => element.getBoundingClientRect();
const texts = all(".panels svg text");
parent.document.title = "seen " + JSON.stringify({
  window: innerWidth, page: document.documentElement.scrollWidth,
  back: getComputedStyle(document.body).backgroundColor,
  ink: texts.map(t => getComputedStyle(t).fill)[0],
  letters: Math.min(...texts.map(t => place(t).height)),
  figures: all(".panels figure").map(f => place(f).right),
});
}</script>"""


def run_page(folder):
    run = made_up(folder / "run", poisons=[(1, f"<script>{LONG}"), (4, "a heart")], defense="none")
    config = run_folder.read(run)
    experiment = SimpleNamespace(
        source=run_data.training_pairs(config, None),
        attack=SimpleNamespace(manifest=manifest.load(run / "poison_manifest.json")),
        held_out=SimpleNamespace(class_names=list("abcdefghij")),
        config=config,
    )
    found = results.read(run / "results.json") | {"defense": "none"}
    run_report.write(run, experiment, found, {"confusion": np.eye(10)})
    return run / "report.html"


def grid_page(folder):
    attacks, defenses = ["strong", "weak"], ["CLIP", "SafeCLIP", LONG]
    intervals = {f"{name}_interval": None for name in grid_report.INTERVALS}
    found = [
        figures(12_000, 120, 0.9) | intervals
        | {"attack": attack, "defense_name": defense, "audited": False, "seed": 0,
           "defense": "none" if defense == "CLIP" else "safeclip",
           "attack_success_rate": 0.95 if attack == "strong" else 0.4}
        for attack in attacks for defense in defenses
    ]  # fmt: skip
    grid_report.write(folder, found, attacks, defenses)
    return folder / "grid.html"


def evaluation_page(folder):
    found = [
        records.Record(model, "x", "scenes", "zero_shot",
                       {"zero_shot_accuracy": Share(1, 3), "confusion": np.eye(12)},
                       [f"class {i}" for i in range(12)], skipped=1234)
        for model in ("one", "two", LONG)
    ]  # fmt: skip
    records.write(folder / "evaluation", found)
    return folder / "evaluation/report.html"


def compare_page(folder):
    runs = [made_up(folder / name, seed=seed) for seed, name in enumerate(("a" * 90, "b"))]
    compare.main([*map(str, runs), f"--out={folder}/compare.html"])
    return folder / "compare.html"


def audit_page(folder):
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=500) for name in ("similarity", "misfit")}
    plot = audit_plots.misfits(scores, rng.normal(2, 1, 300), np.arange(5))
    pages.write(
        folder / "audit.html", "audit.html", title=LONG, verdict=["Poisoned."], alarming=True,
        facts=[("pairs", "12,000")], traces=[], groups=[], plot=plot, quality=True, note="",
        words=[{"text": LONG, "suspects": 5, "captions": 1234, "p": "1e-5"}],
        detectors=[
            {"name": "misfit", "text": "it", "auroc": "1", "recall": "1", "fpr": "0", "top": "1"}
        ],
        skipped=[(LONG, "no image")],
        data='{"pairs":[],"shown":0,"mark":"flagged","reasons":[],"beside":[],"scores":["x"]}',
    )  # fmt: skip
    return folder / "audit.html"


MAKE = dict(zip(NAMES, (run_page, grid_page, evaluation_page, compare_page, audit_page),
                strict=True))  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes each page once, when it is first asked for."""
    found = {}

    def get(name):
        if name not in found:
            found[name] = MAKE[name](tmp_path_factory.mktemp(name))
        return found[name]

    return get


@each_page
def test_a_page_needs_nothing_from_elsewhere_and_follows_dark_mode(name, made):
    text = made(name).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#|audit/audit.html")', text)
    assert not re.search(r"@import|url\((?!#)|<link|<image", text)
    assert "color-scheme: light dark" in text and "prefers-color-scheme: dark" in text
    assert text.count("<h1>") == 1 and '<html lang="en">' in text and "width=device-width" in text
    assert f"<script>{LONG}" not in text


@each_page
def test_every_plot_has_a_sentence(name, made):
    plots = re.findall(r'<section class="plot[ one]*"><h2>(.*?)</h2>\s*(<p class="dim">[^<]{20,})?',
                       made(name).read_text())  # fmt: skip
    assert bool(plots) == (name != "evaluation")
    assert all(sentence for _, sentence in plots), plots


def test_every_figure_of_a_run_has_a_sentence_and_its_number_commas(made):
    text = made("report").read_text()
    row = r'<tr><th scope="row">(.*?)<td><b>(.*?)</b><td class="dim meaning">(.*?)</tr>'
    rows = re.findall(row, text)
    found = {name: (value, meaning) for name, value, meaning in rows}
    assert found["seconds"][0].startswith("2,000 (")
    for key in ("zero_shot_accuracy", "attack_success_rate", "target_base_rate", "score_auroc"):
        assert len(found[glossary.name(key)][1]) > 20
    names = [name for name, _, _ in rows]
    assert names.index("base rate") == names.index("attack success rate") + 1


def test_an_attack_too_weak_to_judge_by_is_a_warning_that_is_seen(made):
    for name, where in (("report", "this attack succeeds against plain CLIP"), ("grid", "weak.")):
        warning = re.search(r'<div class="verdict bad" role="note"><p>(.*?)</p></div>',
                            made(name).read_text(), re.DOTALL)  # fmt: skip
        assert "Too weak to judge" in warning[1] and where in warning[1]
    grid = made("grid").read_text()
    assert "<td>⚠ weak<" in grid and "<td>strong<" in grid and "⚠ strong" not in grid


@browser.needed
@each_page
def test_a_page_fits_a_phone(name, made, tmp_path):
    seen = browser.see(made(name), tmp_path, FITS, width=375)
    assert seen["window"] == 375 and seen["page"] <= 375
    assert seen["back"] == "rgb(255, 255, 255)"
    assert all(right <= 375 for right in seen["figures"])
    assert seen["letters"] is None or seen["letters"] > 9, "pixels of the smallest text of a plot"


@browser.needed
def test_plots_are_light_in_the_dark(made, tmp_path):
    night = "--blink-settings=preferredColorScheme=0"
    seen = browser.see(made("compare"), tmp_path, FITS, night)
    light = {name: sum(map(int, re.findall(r"\d+", seen[name]))) for name in ("ink", "back")}
    assert light["ink"] > 600 > 150 > light["back"]


def test_terms_are_a_name_and_a_sentence():
    assert len({term.name for term in glossary.TERMS.values()}) == len(glossary.TERMS)
    for key, term in glossary.TERMS.items():
        assert term.meaning.endswith(".") and not term.meaning[0].islower(), key
        assert glossary.name(key) == term.name
    assert glossary.name("attack_success_rate[a/b]") == "attack success rate by a/b"
    assert glossary.name("cifar10/knn_accuracy") == "k-NN accuracy on cifar10"
    assert glossary.meaning("cifar10/knn_accuracy") == glossary.TERMS["knn_accuracy"].meaning
    assert glossary.name("something_else") == "something else"
    assert glossary.meaning("something_else") == ""


def test_every_page_has_the_same_frame():
    for path in TEMPLATES.glob("*.html"):
        if path.name not in ("base.html", "parts.html", "pairs.html"):
            assert path.read_text().startswith('{% extends "base.html" %}'), path.name
