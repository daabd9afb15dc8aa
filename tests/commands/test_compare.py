"""`safeclip-jax compare` on runs that were never trained."""

import json
import re

import numpy as np
import pytest

from safeclip_jax.commands import compare as command
from safeclip_jax.comparison import differences, finished, page, pairs
from safeclip_jax.defenses import pool_files
from safeclip_jax.errors import UserError
from safeclip_jax.runs import same_data
from tests.support import data_files
from tests.support.made_up_run import PAIRS, made_up

HOSTILE = "<script>alert(1)</script> [red]x[/red] \x1b[2J $5"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    a = made_up(folder / "a", poisons=[(i, HOSTILE) for i in range(0, PAIRS, 3)])
    b = made_up(
        folder / "b", poisons=[(1, "a heart")], pool_epochs=(3, 4), seed=1, accuracy=0.8,
        epochs=5, safeclip__warmup_epochs=3,
    )  # fmt: skip
    return a, b


def compare(tmp_path, *arguments):
    out = tmp_path / "compare.html"
    assert command.main([*map(str, arguments), f"--out={out}"]) == 0
    return out.read_text()


def test_settings_figures_and_their_differences_are_on_the_terminal(runs, tmp_path, capsys):
    compare(tmp_path, *runs)
    cells = [
        [cell.strip() for cell in line.strip("│┃").split("│")]
        for line in capsys.readouterr().out.splitlines()
        if "│" in line
    ]
    assert ["epochs", "4", "5"] in cells and ["safeclip.warmup_epochs", "2", "3"] in cells
    found = {row[0]: row[1:] for row in cells}
    assert found["zero-shot accuracy"][2] == "-10.0 points"
    assert found["zero-shot accuracy"][0].startswith("90.0% (85.0%")
    assert found["poisons"] == ["20", "1", "-19"]
    assert found["seconds"] == ["2,000", "2,000", "same"]
    assert not {"seed", "defense", "data.pairs"} & found.keys()


def test_the_page_escapes_captions_and_needs_nothing_from_elsewhere(runs, tmp_path):
    shown = compare(tmp_path, *runs)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown and "<script" not in shown
    assert not re.search(r'(?:src|href)="(?!#)', shown) and "url(http" not in shown
    assert "poisoned" in shown and "base rate" in shown and "intersection over union" in shown


def test_pools_by_epoch_and_pairs_agree_with_sets(runs):
    a, b = map(finished.read, runs)
    of_pools = list(differences.of_pools(a, b))
    assert [of.epoch for of in of_pools] == [3, 4, 5]
    assert of_pools[0].overlap is None and of_pools[2].overlap is None
    first, second = (set(pool_files.load(pool_files.path(run, 3)).safe.tolist()) for run in runs)
    middle = of_pools[1]
    assert middle.sizes == (len(first), len(second))
    assert middle.overlap == pytest.approx(len(first & second) / len(first | second))
    assert middle.poisons == (len(first & set(range(0, PAIRS, 3))), len(second & {1}))
    assert page.pool_rows(of_pools)[0][2] == "–"

    last = set(pool_files.load(pool_files.path(runs[1], 4)).safe.tolist())
    here, there = pairs.differing(a, b, pairs.source(a, own_data=False))
    poisons = set(range(0, PAIRS, 3)) | {1}
    for found, alone in ((here, first - last), (there, last - first)):
        assert found.count == len(alone) and found.poisons == len(alone & poisons)
        assert {row[0] for row in found.rows} <= alone
        assert len(found.rows) == min(len(alone), pairs.SHOWN)
        assert all(row[1] == f"train-{row[0]:07d}" and row[2] for row in found.rows)
        gaps = [abs(row[3] - row[4]) for row in found.rows]
        assert (np.diff(gaps) < 1e-4).all()
    scores = pool_files.load(pool_files.path(runs[0], 3)).scores
    index, _, _, rank, *_ = here.rows[0]
    assert rank == pytest.approx(100 * np.mean(scores <= scores[index]))


def test_an_overlap_of_empty_pools_is_whole_and_of_disjoint_ones_nothing():
    none, some = np.zeros(4, bool), np.array([True, True, False, False])
    assert differences._overlap(none, none) == 1.0
    assert differences._overlap(some, ~some) == 0.0
    assert differences._overlap(some, none) == 0.0


def test_other_training_pairs_leave_figures_and_curves_to_compare(runs, tmp_path, capsys):
    other = made_up(tmp_path / "other", data__seed=7)
    shown = compare(tmp_path, runs[0], other)
    note = "settings, figures and curves are compared, pools and pairs are not"
    printed = " ".join(capsys.readouterr().out.split())
    assert "The training pairs differ (captions" in printed and note in printed
    assert note in shown and "Curves" in shown and "safe pool of A" not in shown


def test_a_run_without_pools_is_compared_by_its_figures(runs, tmp_path):
    plain = made_up(tmp_path / "plain", pool_epochs=(), defense="none")
    shown = compare(tmp_path, plain, runs[1])
    assert "A made no pools" in shown and "Curves" in shown


def test_data_that_a_config_names_is_opened_only_on_demand(tmp_path):
    data_files.write_scenes_csv(tmp_path / "csv", data_files.scene_files(40))
    source = f"csv:{tmp_path}/csv/pairs.csv"
    a, b = (
        made_up(tmp_path / f"run{seed}", seed=seed, data__source=source, data__pairs=0)
        for seed in (0, 1)
    )
    shown = compare(tmp_path, a, b)
    assert f"shown with --own-data, which opens data.source={source}" in shown
    words = pairs.source(finished.read(a), own_data=True).captions
    assert not any(f"<td>{text}<" in shown for text in words)
    shown = compare(tmp_path, a, b, "--own-data")
    assert any(f"<td>{text}<" in shown for text in words)


def test_pools_of_other_pairs_are_refused(runs, tmp_path):
    broken = made_up(tmp_path / "broken")
    results = json.loads((broken / "results.json").read_text())
    (broken / "results.json").write_text(json.dumps(results | {"pairs": 61}))
    with pytest.raises(UserError, match="is of 60 pairs, and the run has 61"):
        finished.read(broken).pools_of(3)


BROKEN = {
    "no folder": (lambda run: run.rename(run.parent / "gone"), "is no run of ours"),
    "unfinished": (lambda run: (run / "results.json").unlink(), "is not finished"),
    "torn figures": (lambda run: (run / "results.json").write_text("{"), "cannot be read"),
    "no figures": (lambda run: (run / "results.json").write_text("{}"), "does not say how many"),
    "torn config": (lambda run: (run / "config.json").write_text("{"), "cannot be read"),
    "bad digests": (lambda run: (run / same_data.NAME).write_text("[]"), "does not hold digests"),
    "bad pools": (lambda run: next((run / "pools").iterdir()).write_bytes(b"x"), "pools"),
    "a far poison": (
        lambda run: (run / "poison_manifest.json").write_text(
            (run / "poison_manifest.json").read_text().replace('"index": 5', '"index": 60')
        ),
        "names a pair",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_run_that_cannot_be_compared_is_one_line(name, runs, tmp_path):
    run = made_up(tmp_path / "run", poisons=[(5, "a heart")])
    spoil, message = BROKEN[name]
    spoil(run)
    with pytest.raises(UserError, match=message) as error:
        command.main([str(runs[0]), str(run), f"--out={tmp_path}/compare.html"])
    assert "\n" not in str(error.value) and not (tmp_path / "compare.html").exists()


def test_two_runs_and_a_file_are_needed(runs, tmp_path):
    with pytest.raises(UserError, match="are the same run"):
        command.main([str(runs[0]), f"{runs[1]}/../a"])
    with pytest.raises(UserError, match="is a folder: name a file"):
        command.main([*map(str, runs), f"--out={tmp_path}"])
    with pytest.raises(UserError, match="required: B"):
        command.main([str(runs[0])])
