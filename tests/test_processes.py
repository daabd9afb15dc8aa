"""Two processes on this machine, two devices each, against one process."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from safeclip_jax import logs, pools, train
from tests.one_of_two import settings
from tests.test_sources import bad_csv

ROOT = Path(__file__).parent.parent


def run_two(workdir, table):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.one_of_two", str(port)]
    processes = [
        subprocess.Popen(
            [*command, str(number), str(workdir), str(table)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]


def test_two_processes_agree_with_one_on_dirty_data(tmp_path):
    table, expected = bad_csv(tmp_path)
    run_two(tmp_path / "two", table)
    train.run(settings(table), tmp_path / "one")
    skipped = []
    for name in ("one", "two"):
        lines = (tmp_path / name / "skipped.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert len({record["key"] for record in records}) == len(records) == len(expected)
        skipped.append(sorted(((r["key"], r["index"], r["reason"]) for r in records), key=str))
    assert skipped[0] == skipped[1]
    unreadable = [index for _, index, _ in skipped[0] if index is not None]
    for epoch in (2, 3):
        one, two = (pools.load(pools.path(tmp_path / name, epoch)) for name in ("one", "two"))
        np.testing.assert_allclose(one.scores, two.scores, atol=0.02)
        assert set(np.flatnonzero(np.isnan(two.scores))) == set(unreadable)
    losses = [
        [line["loss"] for line in logs.read(tmp_path / name / "metrics.jsonl") if "loss" in line]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == len(losses[1]) > 12
    np.testing.assert_allclose(losses[0][:6], losses[1][:6], rtol=1e-4)
