"""Two processes on this machine, a device each, against one process."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest

from safeclip_jax.checkpoints import variables
from safeclip_jax.commands import evaluate
from safeclip_jax.defenses import pool_files
from safeclip_jax.training import loop
from safeclip_jax.training import metrics as run_metrics
from tests.data.test_sources import bad_csv
from tests.support import every_stage, processes

# Of a run that ends once the pilot's pools are made and one step has trained with them.
PILOT = {"defense": "safeclip_plus", "epochs": 2, "max_steps": 1, "evaluate.source": ""}


def every_stage_of(table):
    return f"tests/support/every_stage.py:{table}"


def losses_of(folder):
    return [line["loss"] for line in run_metrics.read(folder / "metrics.jsonl") if "loss" in line]


def wait_for_steps(started, folder, count, seconds=200):
    deadline = time.monotonic() + seconds
    while len(losses_of(folder)) < count:
        if time.monotonic() > deadline or any(process.poll() is not None for process in started):
            pytest.fail(f"the run does not come on: {processes.finish(started, 1)}")
        time.sleep(0.1)


def pools_of(folder, epoch):
    return pool_files.load(pool_files.path(folder, epoch))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A finished run of two processes that one of them had asked to stop, and its data."""
    folder = tmp_path_factory.mktemp("two")
    table, expected = bad_csv(folder)
    config, workdirs = every_stage_of(table), [folder / "run"] * 2
    started = processes.start(config, workdirs)
    wait_for_steps(started, folder / "run", 6)
    started[1].send_signal(signal.SIGTERM)
    stopped = processes.finish(started)
    ended = processes.finish(processes.start(config, workdirs))
    return folder, table, expected, stopped, ended


@pytest.mark.slow
def test_a_signal_to_one_host_stops_all_of_them_at_one_step_and_they_go_on(two):
    folder, _, _, (stopped, outputs), (ended, more) = two
    assert stopped == [143, 143], outputs
    assert "the same command goes on from here" in outputs[0]
    assert ended == [0, 0], more
    assert "resumed in epoch" in more[0] and "figures:" in more[0]
    assert "figures:" not in more[1]
    steps = [x["step"] for x in run_metrics.read(folder / "run" / "metrics.jsonl") if "loss" in x]
    assert steps == list(range(1, len(steps) + 1))
    assert not (folder / "run" / "hosts").exists()


@pytest.mark.slow
def test_two_processes_agree_with_one_on_dirty_data(two, tmp_path):
    folder, table, expected, _, _ = two
    loop.run(every_stage.get_config(table), tmp_path / "run")
    skipped = []
    for parent in (tmp_path, folder):
        lines = (parent / "run" / "skipped.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert len({record["key"] for record in records}) == len(records) == len(expected)
        skipped.append(sorted(((r["key"], r["index"], r["reason"]) for r in records), key=str))
    assert skipped[0] == skipped[1]
    assert len(list((folder / "run" / "index").iterdir())) == 1  # the first host has built it
    unreadable = [index for _, index, _ in skipped[0] if index is not None]
    for epoch in (2, 3, 4):
        first, second = (pools_of(p / "run", epoch) for p in (tmp_path, folder))
        np.testing.assert_allclose(first.scores, second.scores, atol=0.02)
        assert set(np.flatnonzero(np.isnan(second.scores))) == set(unreadable)
    first, second = (losses_of(parent / "run") for parent in (tmp_path, folder))
    assert len(first) == len(second) > 12
    here, there = (variables.read_variables(p / "run") for p in (tmp_path, folder))
    assert jax.tree.map(np.shape, here) == jax.tree.map(np.shape, there)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(there))
    np.testing.assert_allclose(first[:6], second[:6], rtol=1e-4)


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(two, tmp_path):
    run = two[0] / "run"
    tasks = ("zero_shot", "retrieval", "knn")
    flags = ["--checkpoint", run, "--own-data", "--tasks", *tasks, "--no-cache", "--out", tmp_path]
    assert evaluate.main(list(map(str, flags))) == 0
    there, here = json.loads((run / "results.json").read_text()), {}
    for path in tmp_path.glob("run_scenes_*.json"):
        here |= json.loads(path.read_text())["counts"]
    names = {"zero_shot_accuracy": "acc1", "image_recall_at_10": "image_retrieval_recall@10"}
    for name in ("zero_shot_accuracy", "image_recall_at_10", "knn_accuracy"):
        share = here[names.get(name, name)]
        assert share["of"] == 50
        assert abs(there[name] - share["count"] / 50) <= 0.02 + 1e-9, name


@pytest.mark.by_hand
def test_two_processes_exclude_the_pairs_that_one_does(tmp_path):
    table, _ = bad_csv(tmp_path)
    config = every_stage.get_config(table)
    config.update_from_flattened_dict(PILOT)
    loop.run(config, tmp_path / "one")
    flags = [f"--config.{key}={value}" for key, value in PILOT.items()]
    started = processes.start(every_stage_of(table), [tmp_path / "two"] * 2, [flags] * 2)
    ended, outputs = processes.finish(started)
    assert ended == [0, 0], outputs
    one, two = (pools_of(tmp_path / name, 1) for name in ("one", "two"))
    assert len(one.excluded) and one.excluded.tolist() == two.excluded.tolist()
    np.testing.assert_allclose(one.scores, two.scores, atol=0.02)


def test_a_host_that_never_comes_is_named(tmp_path):
    table, _ = bad_csv(tmp_path)
    config = every_stage_of(table)
    (code,), (output,) = processes.finish(processes.start(config, [tmp_path / "run"], join=8))
    assert code == 75, output
    assert "waiting for host 1 of 2" in output
    assert "error: host 1 of 2 did not come within 8 s" in output


@pytest.mark.slow
def test_what_stops_one_host_stops_the_other_with_its_reason(tmp_path):
    table, _ = bad_csv(tmp_path)
    config, workdirs = every_stage_of(table), [tmp_path / "run"] * 2
    changes = [(), ("--config.data.source=csv:/nowhere.csv",)]
    codes, outputs = processes.finish(processes.start(config, workdirs, changes))
    assert codes == [2, 2], outputs
    assert "error: host 1 stopped: /nowhere.csv" in outputs[0]
    assert "error: /nowhere.csv" in outputs[1]


@pytest.mark.slow
def test_hosts_that_do_not_share_the_folder_are_told_so(tmp_path):
    table, _ = bad_csv(tmp_path)
    workdirs = [tmp_path / "one", tmp_path / "another"]
    started = processes.start(every_stage_of(table), workdirs, silence=3)
    codes, outputs = processes.finish(started)
    assert 2 in codes and all(codes), outputs  # the other may be cut short as it connects
    assert any("the hosts must share the run's folder" in output for output in outputs)


@pytest.mark.by_hand
def test_a_killed_host_is_named_in_bounded_time_and_both_go_on(tmp_path):
    table, _ = bad_csv(tmp_path)
    config, workdirs = every_stage_of(table), [tmp_path / "run"] * 2
    started = processes.start(config, workdirs)
    wait_for_steps(started, tmp_path / "run", 14)
    os.kill(started[1].pid, signal.SIGKILL)
    began = time.monotonic()
    codes, outputs = processes.finish(started, timeout=60)
    assert codes == [75, -9], outputs
    assert time.monotonic() - began < 30
    assert "error: host 1 (" in outputs[0] and "is lost: silent for" in outputs[0]
    codes, outputs = processes.finish(processes.start(config, workdirs))
    assert codes == [0, 0], outputs
    steps = [x["step"] for x in run_metrics.read(tmp_path / "run" / "metrics.jsonl") if "loss" in x]
    assert steps == list(range(1, len(steps) + 1))
