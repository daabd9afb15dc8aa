"""A run of commit f3c0826, before keys and modules had their present names, goes on here.

`fixtures/run_before_rooms.tar.xz` was stopped in its third epoch by a signal, its arrays rounded
to bfloat16 to be small; `run_before_rooms.json` is what that version found as it went on.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from safeclip_jax.commands import audit, evaluate, train
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder
from safeclip_jax.training import loop
from safeclip_jax.training import metrics as run_metrics
from tests.support import browser

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED = json.loads((FIXTURES / "run_before_rooms.json").read_text())
COMMAND = (
    *("--config=demo", "--config.epochs=3", "--config.model.preset=nano"),
    *("--config.batch_size=32", "--config.data.pairs=128", "--config.data.vocab_size=300"),
    *("--config.data.context=16", "--config.unimodal.bank_size=64"),
    *("--config.score.batch_size=64", "--config.safeclip.warmup_epochs=1"),
    *("--config.safeclip.slow_epochs=0", "--config.attack.rate=0.05"),
    *("--config.evaluate.pairs=32", "--config.evaluate.every=0", "--config.log_every=1"),
    *("--config.keep_checkpoints=1", "--config.optimizer.warmup_pairs=128"),
)


def unpacked(folder):
    with tarfile.open(FIXTURES / "run_before_rooms.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "run"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    folder = unpacked(tmp_path_factory.mktemp("before"))
    assert train.main([*COMMAND, f"--workdir={folder}"]) == 0
    return folder


def test_it_is_resumed_by_the_same_command_to_the_same_end(resumed):
    lines = run_metrics.read(resumed / "metrics.jsonl")
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, 12))
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[:9] == EXPECTED["losses"][:9]
    np.testing.assert_allclose(losses, EXPECTED["losses"], rtol=0.02)  # it jittered otherwise
    found = json.loads((resumed / "results.json").read_text())
    for name in ("safe_pool_size", "risky_pool_size", "score_auroc", "steps", "poisons"):
        assert found[name] == EXPECTED["results"][name], name
    assert abs(found["zero_shot_accuracy"] - EXPECTED["results"]["zero_shot_accuracy"]) <= 1 / 32


def test_its_report_tells_of_the_pools_of_both_versions(resumed):
    shown = browser.data(resumed / "report.html")
    assert shown["epochs"] == [2, 3] and len(shown["pairs"]) == 128


def test_it_is_audited(resumed):
    assert audit.main(["--run", str(resumed), "--batch", "64"]) == 0
    scores = (resumed / "audit/scores.csv").read_text().splitlines()
    assert len(scores) == 129 and "stayed" in scores[0]


def test_it_is_evaluated(resumed, tmp_path):
    flags = ("--checkpoint", str(resumed), "--tasks", "zero_shot", "attack", "--no-cache")
    assert evaluate.main([*flags, "--out", str(tmp_path)]) == 0
    found = {}
    for path in tmp_path.glob("run_scenes_*.json"):
        found |= json.loads(path.read_text())["metrics"]
    figures = json.loads((resumed / "results.json").read_text())
    assert found["acc1"] == figures["zero_shot_accuracy"]
    assert found["attack_success_rate"] == figures["attack_success_rate"]


def test_a_finished_one_is_only_read(tmp_path):
    folder = unpacked(tmp_path)
    (folder / "results.json").write_text(json.dumps(EXPECTED["results"]))
    found = loop.run(run_folder.read(folder), folder)
    assert found["excluded_pairs"] == 0 and "barred_pairs" not in found
    assert found["zero_shot_accuracy"] == EXPECTED["results"]["zero_shot_accuracy"]


def test_a_value_that_nothing_does_any_more_is_named(tmp_path):
    folder = unpacked(tmp_path)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["score"]["view"] = "augmented"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"score\.view='augmented' is gone: images are scored as"):
        run_folder.read(folder)
