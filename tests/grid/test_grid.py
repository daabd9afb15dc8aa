"""The grid: its cells, a small one from end to end, resuming, failing cells and the tables."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scipy.stats

import safeclip_jax
from safeclip_jax.commands import grid as command
from safeclip_jax.errors import UserError
from safeclip_jax.grid import cells as grid
from safeclip_jax.grid import overall, report

SMALL = """
import safeclip_jax
from safeclip_jax.grid.rows import audited

def get_config():
    c = safeclip_jax.config("grid_demo")
    c.cell.epochs = 1
    c.cell.data.pairs = 300
    c.cell.evaluate.pairs = 60
    c.cell.attack.rate = 0.1
    for name in list(c.attacks):
        if name not in ("badnets", "targeted"):
            del c.attacks[name]
        else:
            c.attacks[name].seeds = 1
    for name in list(c.defenses):
        if name not in ("CLIP", "CleanCLIP"):
            del c.defenses[name]
    c.defenses["CleanCLIP"].changes.epochs = 1
    c.defenses["audited"] = audited("CLIP")
    c.defenses["broken"] = {"after": "", "changes": {"init_from": "no such"}}
    c.attacks["badnets"].only = ("CLIP", "CleanCLIP", "broken")
    return c
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    (folder / "small.py").write_text(SMALL)
    return folder, run(folder)


def run(folder):
    arguments = [f"--config={folder}/small.py", f"--folder={folder}/runs", "--workers=2"]
    return command.main(arguments)


def rows(folder):
    with (folder / "runs/grid.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_demo_grid_has_the_cells_that_are_promised(tmp_path):
    config = safeclip_jax.config("grid_demo")
    cells = grid.of(config, tmp_path)
    seeds = {"badnets": 3, "blended": 3, "wanet": 3, "targeted": 3}
    assert list(config.defenses) == [
        *("CLIP, clean data", "CLIP", "CLIP + augmentation", "RoCLIP", "CleanCLIP"),
        *("SafeCLIP", "SafeCLIP+"),
    ]
    for attack in config.attacks:
        for defense in config.defenses:
            mine = [c for c in cells if (c.attack, c.defense) == (attack, defense)]
            assert [c.seed for c in mine] == list(range(seeds.get(attack, 1)))
    assert len({cell.folder for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.run.seed == cell.seed
        if cell.defense == "CleanCLIP":
            first = next(c for c in cells if c.folder == cell.after)
            assert (first.attack, first.seed, first.defense) == (cell.attack, cell.seed, "CLIP")
            assert cell.run.attack.rate == 0 and cell.run.data.part == (0.95, 1.0)
        elif cell.defense == "CLIP, clean data":
            assert cell.after == tmp_path / "clean_data/clip-seed0" and cell.run.epochs == 0
        else:
            assert cell.run.data.part == (0.0, 0.95)
            assert (cell.run.attack.rate > 0) == (cell.attack != "clean data")


@pytest.mark.parametrize(
    "path",
    [
        *sorted(Path("configs").glob("grid_*.py")),
        *sorted(Path("experiments/configs").glob("grid_*.py")),
    ],
    ids=str,
)
def test_every_grid_has_a_folder_for_each_cell_and_the_runs_that_cells_need(path, tmp_path):
    cells = grid.of(grid.load(str(path)), tmp_path)
    folders = {cell.folder for cell in cells}
    assert len(folders) == len(cells)
    assert {cell.after for cell in cells if cell.after} <= folders


@pytest.mark.slow
def test_a_small_grid_runs_and_a_broken_cell_does_not_stop_it(finished, capsys):
    folder, status = finished
    assert status == 1
    found = rows(folder)
    assert {(r["attack"], r["defense_name"]) for r in found} == {
        *(("badnets", defense) for defense in ("CLIP", "CleanCLIP")),
        *(("targeted", defense) for defense in ("CLIP", "CleanCLIP", "audited")),
    }
    for row in found:
        targeted = row["attack"] == "targeted"
        assert bool(row["poison_success_rate"]) == targeted != bool(row["attack_success_rate"])
        assert 0 <= float(row["zero_shot_accuracy_low"]) <= float(row["zero_shot_accuracy"]) <= 1
    page = (folder / "runs/grid.html").read_text()
    assert "<svg" in page and "CleanCLIP" in page and "<script" not in page
    assert "| badnets |" in (folder / "runs/grid.md").read_text()
    assert not (folder / "runs/badnets/broken-seed0/results.json").exists()


@pytest.mark.slow
def test_cleanclip_starts_from_the_poisoned_model_and_its_tokenizer(finished):
    folder = finished[0] / "runs/badnets"
    config = json.loads((folder / "cleanclip-seed0/config.json").read_text())
    assert config["init_from"] == str(folder / "clip-seed0")
    tokenizers = [(folder / name / "tokenizer.json").read_bytes()
                  for name in ("clip-seed0", "cleanclip-seed0")]  # fmt: skip
    assert tokenizers[0] == tokenizers[1]


@pytest.mark.slow
def test_finished_cells_and_audits_are_only_read_and_missing_cells_run(finished, capsys):
    folder = finished[0]
    before = rows(folder)
    path = folder / "runs/targeted/cleanclip-seed0"
    kept = folder / "runs/badnets/clip-seed0/results.json"
    stamp = kept.stat().st_mtime_ns
    shutil.rmtree(path)
    steps = flag_pairs_of_the_audited_cell(folder / "runs/targeted", 200)
    assert run(folder) == 1
    audited = json.loads((folder / "runs/targeted/audited-seed0/results.json").read_text())
    assert steps == 4 and audited["steps"] == 1
    printed = capsys.readouterr()
    assert "7 cells, 3 of them finished" in printed.out
    assert "no such" in printed.err
    assert kept.stat().st_mtime_ns == stamp
    assert [without_time(row) for row in rows(folder)] == [without_time(row) for row in before]


def without_time(row):
    """A row's figures; of the audited cell, which was trained on other pairs, its names."""
    named = ("attack", "defense_name")
    audited = row["attack"] == "targeted" and row["defense_name"] == "audited"
    return {k: v for k, v in row.items() if k != "seconds" and (k in named or not audited)}


def flag_pairs_of_the_audited_cell(folder, count):
    """As if the audit had flagged so many more; returns the steps of the cell, which is deleted."""
    cell, scores = folder / "audited-seed0", folder / "clip-seed0/audit/scores.csv"
    config = json.loads((cell / "config.json").read_text())
    assert config["data"]["leave_out"] == str(scores) and not config["init_from"]
    steps = json.loads((cell / "results.json").read_text())["steps"]
    with scores.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines[:count]:
        line["flagged"] = "1"
    with scores.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    shutil.rmtree(cell)
    return steps


ORPHAN = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from safeclip_jax.grid import runner
from safeclip_jax.grid.cells import Cell
from safeclip_jax.system.signals import Interrupted, Signals
from safeclip_jax.training import loop

def sleep():
    print(os.getpid(), flush=True)
    time.sleep(600)

def run_a_cell():
    loop.run = until_a_signal
    return runner._run_cell(Cell("", "", 0, None, Path(sys.argv[0]).parent / "cell", None))

train_a_cell = finish_a_cell = run_a_cell

def until_a_signal(config, folder):
    signals = Signals()
    with signals.heard():
        print(os.getpid(), file=sys.__stdout__, flush=True)
        while not signals.received:
            time.sleep(0.05)
    (folder / "checkpoint").touch()
    if sys.argv[1] == "train_a_cell":
        raise Interrupted(signals.request)

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), runner._start_worker, ([],))
    pool.submit(globals()[sys.argv[1]]).result()
"""


@pytest.mark.parametrize("work", ["sleep", "train_a_cell", "finish_a_cell"])
def test_a_worker_ends_with_the_grid_that_is_killed(tmp_path, work):
    (tmp_path / "orphan.py").write_text(ORPHAN)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, tmp_path / "orphan.py", work],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as grid_process:
        worker = int(grid_process.stdout.readline())
        grid_process.kill()
    deadline = time.monotonic() + 30
    while lives(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = lives(worker)
    if alive:
        os.kill(worker, signal.SIGKILL)
    assert not alive
    assert (tmp_path / "cell/checkpoint").exists() == (work != "sleep")


def lives(process):
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def result(attack, defense, seed=0, asr=None, psr=None, base=0.01, accuracy=0.9, audited=False):
    return {
        "attack": attack, "defense": "none" if defense == "CLIP" or audited else "safeclip",
        "audited": audited,
        "defense_name": defense, "seed": seed, "zero_shot_accuracy": accuracy,
        "attack_success_rate": asr, "target_base_rate": None if asr is None else base,
        "poison_success_rate": psr, "poison_base_rate": None if psr is None else base,
        "score_auroc": None, "seconds": 3600.0, "poisons": 0 if attack == "clean" else 9,
    }  # fmt: skip


def test_means_spreads_and_the_self_check():
    found = [result("a", "CLIP", s, asr=v) for s, v in enumerate((0.9, 1.0, 0.95))]
    found += [result("b", "CLIP", asr=0.5), result("c", "CLIP", psr=1.0, base=0.0)]
    found.append(result("clean", "CLIP", asr=0.0))
    table = report._table(found, ["a", "b", "c"], ["CLIP", "X"], report._success_cell)
    assert table == [
        ["a", "95.0 ± 5.0 (1.0)", "–"],
        ["b", "50.0 (1.0)", "–"],
        ["c", "100.0 (0.0)", "–"],
    ]
    assert report.too_weak(found, ["clean", "a", "b", "c"]) == ["b"]
    assert "Too weak" in report._footer(found, ["b"])
    assert "6.00 hours" in report._footer(found, [])


def test_an_audited_run_that_withstands_an_attack_does_not_make_it_a_weak_one():
    found = [result("a", "CLIP", asr=1.0), result("a", "CLIP, audited", asr=0.0, audited=True)]
    assert report.too_weak(found, ["a"]) == []
    assert report.too_weak(found[1:], ["a"]) == []


def test_text_backdoors_have_hits_for_success_and_repeated_pictures_have_none():
    text = {"text_hit_at_1": 0.8, "text_base_hit_at_1": 0.02}
    natural = {"repeated_class_rate": 0.03, "repeated_base_rate": 0.01}
    found = [result("text", "CLIP") | text, result("natural", "CLIP") | natural]
    table = report._table(found, ["text", "natural"], ["CLIP"], report._success_cell)
    assert table == [["text", "80.0 (2.0)"], ["natural", "3.0 (1.0)"]]
    assert report.too_weak(found, ["text", "natural"]) == ["text"]
    means = dict(overall.rows(found, ["text", "natural"], ["CLIP"]))
    assert (means["runs"], means["gain in success"]) == ("1", "78.0")


def test_the_whole_grid_in_means_and_paired_differences():
    accuracies = {"CLIP": (0.90, 0.94, 0.99), "X": (0.91, 0.97, 0.97)}
    found = [
        result(attack, name, seed, asr=asr, base=0.01, accuracy=accuracies[name][number])
        for name, asr in (("CLIP", 0.99), ("X", 0.03))
        for number, (attack, seed) in enumerate((("a", 0), ("a", 1), ("b", 0)))
    ]
    found += [result("clean", "X", asr=0.9, accuracy=0.1), result("b", "Y", asr=0.21, base=0.01)]
    found[5] |= {"attack_success_rate": 0.06}
    found.append(result("b", "CleanCLIP", asr=0.11, base=0.01, accuracy=0.8) | {"poisons": 0})
    table = overall.rows(found, ["clean", "a", "b"], ["CLIP", "X", "Y", "CleanCLIP", "Z"])
    differences = [1.0, 3.0, -2.0]
    half = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    assert table == [
        ["runs", "3", "3", "1", "1", "–"],
        ["accuracy", "94.3", "95.0", "90.0", "80.0", "–"],
        ["accuracy less CLIP's", "–", f"+0.7 [{half.low:+.1f}, {half.high:+.1f}]", "–", "–", "–"],
        ["gain in success", "98.0", "3.0", "20.0", "10.0", "–"],
        ["largest gain of an attack", "98.0 (a)", "5.0 (b)", "20.0 (b)", "10.0 (b)", "–"],
    ]


def test_bad_grids_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.py does not exist"):
        grid.load(str(tmp_path / "none.py"))
    with pytest.raises(UserError, match="no grid"):
        grid.load("configs/demo.py")
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return nothing\n")
    with pytest.raises(UserError, match=r"broken\.py, line 2: name 'nothing' is not defined"):
        grid.load(str(broken))
    config = safeclip_jax.config("grid_demo")
    with pytest.raises(UserError, match="--attacks 'badnet'"):
        grid.select(config, ["badnet"], [])
    config.attacks["badnets"].changes.attack["tirgger"] = "sig"
    with pytest.raises(UserError, match=r"cell badnets, CLIP, clean data: .*tirgger"):
        grid.of(config, tmp_path)


def test_selecting_a_defence_keeps_the_one_that_it_starts_from(tmp_path):
    config = safeclip_jax.config("grid_demo")
    grid.select(config, ["sig"], ["CleanCLIP"])
    assert list(config.attacks) == ["sig"] and list(config.defenses) == ["CLIP", "CleanCLIP"]
    config = safeclip_jax.config("grid_demo")
    grid.select(config, ["sig"], ["CLIP, clean data"])
    assert list(config.attacks) == ["clean data", "sig"]
    assert list(config.defenses) == ["CLIP, clean data", "CLIP"]
    config = safeclip_jax.config("grid_demo")
    grid.select(config, ["sig"], [])
    runs = [(cell.attack, cell.defense) for cell in grid.of(config, tmp_path)]
    assert [d for a, d in runs if a == "clean data"] == ["CLIP"]
    assert [d for a, d in runs if a == "sig"] == list(config.defenses)


def test_an_attack_for_some_defences_runs_with_those_of_them_that_are_selected(tmp_path):
    config = safeclip_jax.config("grid_demo")
    config.attacks["sig"].only = ("CLIP", "SafeCLIP")
    grid.select(config, ["sig", "badnets"], ["SafeCLIP", "SafeCLIP+"])
    runs = {(cell.attack, cell.defense) for cell in grid.of(config, tmp_path)}
    assert runs == {("sig", "SafeCLIP"), ("badnets", "SafeCLIP"), ("badnets", "SafeCLIP+")}


def test_seeds_can_be_fewer_than_the_grids(tmp_path):
    config = safeclip_jax.config("grid_demo")
    whole = {cell.folder for cell in grid.of(config, tmp_path)}
    grid.limit_seeds(config, 1)
    first = grid.of(config, tmp_path)
    assert {cell.seed for cell in first} == {0}
    assert {cell.folder for cell in first} == {f for f in whole if f.name.endswith("seed0")}
    with pytest.raises(UserError, match="--seeds=0"):
        grid.limit_seeds(config, 0)
