"""What CONTRIBUTING.md shows works, and what it says of the rooms is so."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
USE = """
from types import SimpleNamespace

import numpy as np
from scipy.special import logsumexp

image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in
               np.random.default_rng(0).normal(size=(2, 8, 4)))
logits = 5 * image @ text.T
own = (logsumexp(logits, 0) + logsumexp(logits, 1)) / 2 - logits.diagonal()
loss, state = Trimmed(0.25).loss(
    [(image, text)], 5.0, {"trimmed_above": 2.0, "other": 1}, SimpleNamespace(chunks=None)
)
assert 0 < np.sum(own > 2.0) < 8
np.testing.assert_allclose(loss, own[own <= 2.0].mean(), rtol=1e-5)
np.testing.assert_allclose(state["trimmed_above"], 1.8 + 0.1 * np.quantile(own, 0.75), rtol=1e-5)
assert state["other"] == 1

import safeclip_jax

c = safeclip_jax.config("demo")
c.defense, c.trimmed_loss.left_out = "trimmed_loss", 0.25
c.epochs, c.max_steps, c.batch_size, c.log_every = 2, 2, 16, 1
c.model.preset, c.data.pairs, c.attack.rate, c.evaluate.source = "nano", 64, 0.0, ""
safeclip_jax.train(c, "run")
"""


def test_the_defence_in_it_trains_with_its_loss_and_its_state(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "added.py").write_text(code + USE)
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "added.py"],
        cwd=tmp_path,
        env=environment | {"HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["trimmed_loss"]["left_out"] == 0.25
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert [step["stage"] for step in steps] == ["clip"] * 2 + ["trimmed"] * 2
    assert all(0 < step["loss"] < 10 for step in steps)


def rooms():
    """The line of the table in which each room stands, from the top."""
    table = TEXT.split("| rooms in `safeclip_jax/` |")[1].split("\n\n")[0]
    lines = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    return {room: number for number, line in enumerate(lines) for room in line}


def test_every_room_is_in_the_table():
    folders = {path.parent.name for path in (ROOT / "safeclip_jax").glob("*/*.py")}
    assert set(rooms()) == folders


def test_rooms_import_rooms_below_them_alone():
    place = rooms()
    for path in (ROOT / "safeclip_jax").glob("*/*.py"):
        for room in re.findall(
            r"(?:from|import) safeclip_jax[. ](?:import )?(\w+)", path.read_text()
        ):
            assert place.get(room, 99) >= place[path.parent.name], (path.name, room)
