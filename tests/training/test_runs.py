"""Whole runs: what they leave behind, that they repeat, and that kills do not matter."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import rankdata

from safeclip_jax.commands import evaluate, train
from safeclip_jax.defenses import pool_files
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder
from safeclip_jax.training import loop
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training.schedule import scheduled
from tests.support import browser

ROOT = Path(__file__).parents[2]
TIMES = re.compile("second|share_beyond")
SMALL = [
    "--config=demo",
    "--config.epochs=5",
    "--config.model.preset=nano",
    "--config.batch_size=64",
    "--config.data.pairs=400",
    "--config.evaluate.pairs=64",
    "--config.evaluate.every=1",
    "--config.unimodal.bank_size=128",
    "--config.score.batch_size=128",
    "--config.safeclip.warmup_epochs=1",
    "--config.attack.rate=0.02",
    "--config.log_every=1",
]


def command(workdir, *flags):
    return [sys.executable, "-m", "safeclip_jax.main", *SMALL, f"--workdir={workdir}", *flags]


def main(workdir, *flags, **kwargs):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command(workdir, *flags),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        **kwargs,
    )


def main_here(workdir, *flags):
    """The same in this process, which has the program's modules already."""
    return train.main([*SMALL, f"--workdir={workdir}", *flags])


def outcome(workdir):
    """Figures, times aside, final parameters and metrics of a finished run."""
    results = json.loads((workdir / "results.json").read_text())
    results = {name: value for name, value in results.items() if not TIMES.search(name)}
    step = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as reader:
        state = reader.restore(workdir / "checkpoints" / str(step) / "state")
    return results, state, run_metrics.read(workdir / "metrics.jsonl")


def assert_same(a, b):
    assert a[0] == b[0]
    for (path, x), y in zip(jax.tree.leaves_with_path(a[1]), jax.tree.leaves(b[1]), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
    assert a[2] == b[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = main(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout


def test_a_run_leaves_what_it_promises(finished):
    folder, printed = finished
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints", "pools"),
        *("tokenizer.json", "poison_manifest.json", "results.json", "report.html"),
    }
    assert not list(folder.rglob("*.partial"))
    results = json.loads((folder / "results.json").read_text())
    assert results.keys() >= {
        *("zero_shot_accuracy", "attack_success_rate", "target_base_rate", "poisons"),
        *("poisons_in_safe_pool", "safe_pool_size", "score_auroc", "pairs_per_second"),
        *("seconds", "seconds_scoring", "defense", "seed"),
    }
    assert results["poisons"] == 8 and results["defense"] == "safeclip"
    assert "attack success rate" in printed and "report.html" in printed
    last = pool_files.load(pool_files.path(folder, 4))
    assert len(last.safe) == results["safe_pool_size"]
    assert 0 < results["seconds_train"] < results["seconds"]


def test_metrics_cover_every_step_and_stage(finished):
    lines = run_metrics.read(finished[0] / "metrics.jsonl")
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1))
    stages = {(line["epoch"], line["stage"]) for line in lines if line["kind"] == "train"}
    assert {(0, "warm-up"), (1, "slow start"), (2, "safe"), (4, "risky")} <= stages
    rates = {line["learning_rate"] for line in lines if line.get("stage") == "slow start"}
    assert len(rates) == 1 and rates.pop() == pytest.approx(5e-4)
    assert [line["epoch"] for line in lines if line["kind"] == "pools"] == [2, 3, 4]


def test_report_is_self_contained_and_escapes(finished):
    page = (finished[0] / "report.html").read_text()
    assert page.count('<svg role="img"') == 7 and "data:image/webp;base64" in page
    assert page.count("<script") == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#|audit/audit.html")', page)


def test_report_tells_every_pair_s_way_through_the_pools(finished):
    shown = browser.data(finished[0] / "report.html")
    split = {epoch: pool_files.load(pool_files.path(finished[0], epoch - 1)) for epoch in (3, 4, 5)}
    assert shown["epochs"] == [3, 4, 5] and len(shown["pairs"]) == shown["shown"] == 400
    ranks = [rankdata(-one.scores) for one in split.values()]
    worst = np.mean(ranks, axis=0)
    manifest = json.loads((finished[0] / "poison_manifest.json").read_text())
    order = [int(pair["k"].removeprefix("train-")) for pair in shown["pairs"]]
    assert sorted(order) == list(range(400))
    assert (np.diff(worst[order]) <= 1e-4).all()
    for pair, index in zip(shown["pairs"], order, strict=True):
        assert pair["p"] == "".join("01"[index in one.safe] for one in split.values())
        np.testing.assert_allclose(
            pair["h"], [100 * one.p_safe[index] for one in split.values()], atol=0.51
        )
        assert pair["f"] == int(index in split[5].risky) and pair["t"]
    poisoned = {pair["k"] for pair in shown["pairs"] if pair.get("x")}
    assert poisoned == {poison["key"] for poison in manifest["pairs"]}
    assert shown["shares"] == [round(100 * len(one.safe) / 400) for one in split.values()]


@browser.needed
def test_report_is_used_with_the_keyboard(finished, tmp_path):
    seen = browser.use(finished[0] / "report.html", tmp_path)
    assert seen["first"] == 48 and seen["second"].startswith("2 / 9") and seen["marked"]
    assert 0 < seen["hearts"] < 400 and seen["allHearts"] and seen["sorted"]
    assert seen["open"] and seen["other"] and seen["closed"]
    assert re.search("the safe pool.*% of all pairs had a better score", seen["way"])


@pytest.mark.slow
def test_same_seed_is_bit_identical_and_seeds_differ(finished, tmp_path):
    assert main(tmp_path / "again").returncode == 0
    assert_same(outcome(finished[0]), outcome(tmp_path / "again"))
    short = ("--config.seed=1", "--config.epochs=1", "--config.max_steps=1")
    assert main_here(tmp_path / "other", *short) == 0
    first, other = (
        run_metrics.read(folder / "metrics.jsonl")[0]
        for folder in (finished[0], tmp_path / "other")
    )
    assert first["step"] == other["step"] == 1 and first["loss"] != other["loss"]


def kill_after(folder, steps, number):
    """Starts a run and sends it a signal once its metrics reach so many steps."""
    process = subprocess.Popen(
        command(folder, "--config.checkpoint_minutes=30"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = run_metrics.read(folder / "metrics.jsonl")
        if lines and lines[-1]["step"] >= steps:
            process.send_signal(number)
            return process.wait(60)
        time.sleep(0.01)
    raise AssertionError("the run ended before it could be killed")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(finished, tmp_path):
    folder = tmp_path / "killed"
    assert kill_after(folder, 8, signal.SIGKILL) == -signal.SIGKILL
    assert kill_after(folder, 17, signal.SIGTERM) == 143
    result = main(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "resumed in epoch" in result.stdout
    assert_same(outcome(finished[0]), outcome(folder))


def test_a_finished_run_is_only_read(finished):
    folder, printed = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    result = main(folder)
    said, figures = result.stdout.split("\n", 1)
    assert result.returncode == 0 and "holds a finished run: nothing is trained" in said
    assert figures in printed
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_two_runs_do_not_share_a_folder(tmp_path, config):
    with (
        run_folder.held(tmp_path),
        pytest.raises(UserError, match=r"another process trains in .*choose another --workdir"),
    ):
        loop.run(config, tmp_path)
    with run_folder.held(tmp_path):
        assert not list(tmp_path.iterdir())


def test_another_config_in_the_same_folder_is_refused(finished):
    with pytest.raises(UserError, match=r"optimizer\.b1: there 0\.9, here 0\.8"):
        main_here(finished[0], "--config.optimizer.b1=0.8")


@pytest.mark.slow
def test_no_defence_needs_no_pools_but_reports_the_auroc(tmp_path):
    flags = ("--config.defense=none", "--config.epochs=1", "--config.profile_at=3")
    assert main_here(tmp_path / "none", *flags) == 0
    assert list((tmp_path / "none/profile").rglob("*.xplane.pb"))
    results = json.loads((tmp_path / "none/results.json").read_text())
    assert results["safe_pool_size"] is None and 0 <= results["score_auroc"] <= 1


@pytest.mark.slow
def test_too_many_non_finite_steps_stop_the_run(config, tmp_path):
    config.optimizer.learning_rate = float("inf")
    config.optimizer.warmup_pairs = 1
    config.optimizer.max_skipped_steps = 3
    with pytest.raises(UserError, match="not finite for 3 steps in a row"):
        loop.run(config, tmp_path)


def test_schedule_is_linear_then_cosine_over_pairs():
    rates = [scheduled(pairs, 1100, 2.0, 100) for pairs in (0, 50, 100, 600, 1100)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-12)


def test_training_starts_from_another_runs_weights_and_tokenizer(finished, config, tmp_path):
    from safeclip_jax.training.experiment import build

    folder = finished[0]
    config.init_from, config.defense, config.data.seed = str(folder), "none", 5
    x = build(config)
    state = replace(x.steps, seed=3).init(64).starting_from(x.initial)
    expected = outcome(folder)[1]["params"]
    for (path, a), b in zip(
        jax.tree.leaves_with_path(state.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
    x.tokenizer.save(tmp_path / "tokenizer.json")
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    for key, value in (("preset", "tiny"), ("activation", "gelu"), ("mean", (0.5, 0.5, 0.5))):
        changed = copy.deepcopy(config)
        changed.model[key] = value
        with pytest.raises(UserError, match=r"init_from=.* is another model than the config's"):
            build(changed)


def test_the_evaluate_command_finds_what_the_run_found(finished, tmp_path):
    flags = ["--checkpoint", finished[0], "--tasks", "zero_shot", "attack", "--no-cache"]
    assert evaluate.main([*map(str, flags), "--out", str(tmp_path)]) == 0
    first = json.loads((finished[0] / "results.json").read_text())
    found = {}
    for path in tmp_path.glob("*_scenes_*.json"):
        found |= json.loads(path.read_text())["metrics"]
    assert found["acc1"] == first["zero_shot_accuracy"]
    for name in ("attack_success_rate", "target_base_rate"):
        assert found[name] == first[name]


def test_zero_epochs_evaluate_a_finished_run_under_another_attack(finished, tmp_path, capsys):
    flags = (f"--config.init_from={finished[0]}", "--config.epochs=0", "--config.defense=none")
    attack = ("--config.attack.rate=0", "--config.attack.trigger=badnets+sig")
    tasks = "--config.evaluate.tasks=('zero_shot', 'attack', 'retrieval', 'knn')"
    also = "--config.evaluate.also=('scenes',)"
    assert main_here(tmp_path / "only", *flags, *attack, tasks, also) == 0
    printed = capsys.readouterr().out
    first = json.loads((finished[0] / "results.json").read_text())
    found = json.loads((tmp_path / "only/results.json").read_text())
    assert found["steps"] == 0 and found["zero_shot_accuracy"] == first["zero_shot_accuracy"]
    assert found["attack_success_rate[badnets]"] == first["attack_success_rate"]
    assert 0 <= found["attack_success_rate[sig]"] <= 1
    assert found["image_recall_at_10_interval"][0] <= found["image_recall_at_10"]
    for name in ("zero_shot_accuracy", "attack_success_rate", "knn_accuracy"):
        assert found[f"scenes/{name}"] == found[name]
    assert "image recall@1" in printed and "k-NN accuracy on scenes" in printed


@pytest.mark.slow
@pytest.mark.parametrize("defense", ["roclip", "safeclip_plus"])
def test_other_defences_train_to_the_end(tmp_path, capsys, defense):
    targeted = ("--config.attack.kind=targeted", "--config.attack.target=")
    flags = (f"--config.defense={defense}", "--config.attack.images=4", "--config.epochs=4")
    if defense == "safeclip_plus":
        flags += ("--config.score.reuse=True", "--config.model.scan=True")
    assert main_here(tmp_path / defense, *targeted, *flags) == 0
    found = json.loads((tmp_path / defense / "results.json").read_text())
    assert found["attack_success_rate"] is None and 0 <= found["poison_success_rate"] <= 1
    stages = {m.get("stage") for m in run_metrics.read(tmp_path / defense / "metrics.jsonl")}
    expected = {"matched", "clip"}
    if defense == "safeclip_plus":
        expected = {"pilot", "slow start", "safe", "safe again"}
    assert expected <= stages
    if defense == "safeclip_plus":
        last = pool_files.load(pool_files.path(tmp_path / defense, 3))
        pairs = browser.data(tmp_path / defense / "report.html")["pairs"]
        strange = {int(pair["k"].removeprefix("train-")) for pair in pairs if pair["r"]}
        assert strange == set(last.excluded.tolist()) != set()
        assert (
            found["excluded_pairs"] == len(strange)
            and "excluded as outliers" in capsys.readouterr().out
        )
