"""The script for an accelerator, at a size for a CPU, and what its parts are made of."""

import fcntl
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import apart, forward_pass, scaling_model, steps
from benchmarks.result_file import ResultFile
from experiments import drawn_scenes, million
from safeclip_jax.data.sources.scenes import Scenes

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments/accelerator.sh"
FIELDS = ["command", "commit", "date", "device", "versions", "rows"]
CHILD = """
import json, sys, time
case = json.loads(sys.argv[2])
time.sleep(case.get("sleep", 0))
print("compiles …")
exec(case.get("code", ""))
print(json.dumps({"double": 2 * case["number"]}))
"""

NO_JAX = "; import sys; assert 'jax' not in sys.modules"  # its threads do not survive a fork


def run_script(tmp_path, *parts, budget=400):
    environment = os.environ | {"OUT": str(tmp_path), "BUDGET": str(budget), "TINY": "1"}
    environment |= {"COMMIT": "abc", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [SCRIPT, *parts], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert all(list(content) == FIELDS for content in files.values())
    return done.returncode, done.stdout + done.stderr, files


def test_the_script_is_clean_and_refuses_what_it_does_not_know(tmp_path):
    checked = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    code, output, files = run_script(tmp_path, "--help")
    assert code == 0 and "million:RATE" in output and not files
    code, output, files = run_script(tmp_path, "steps", "milion:0.1")
    assert code == 2 and "error: no part is called milion:0.1" in output and not files


@pytest.mark.by_hand
def test_input_and_a_million_leave_their_files(tmp_path):
    eaten = [
        {"framework": "safeclip_jax", "objective": "clip", "pairs/s": 1e6},
        {"framework": "safeclip_jax", "objective": "clip", "error": "out of memory"},
    ]
    content = dict.fromkeys(FIELDS) | {"rows": eaten}
    (tmp_path / "accelerator_vit_b32.json").write_text(json.dumps(content))
    code, output, files = run_script(tmp_path, "million:0.05:3:none", "input")
    assert code == 0, output
    found = files["accelerator_million_0.05_none"]
    assert found["commit"] == "abc" and found["device"] == "cpu" and "jax" in found["versions"]
    drawn, run = found["rows"]
    assert drawn["what"] == "scenes drawn" and drawn["pairs"] == 400
    assert (run["defense"], run["epochs"], run["steps"]) == ("none", 3, 3 * 6)
    assert 0 < run["zero_shot_accuracy"] < 1 and 0 < run["share in steps"] < 1
    assert [place[0] for place in run["course"]] == [1, 2, 3]
    rows = files["accelerator_input"]["rows"]
    assert {row["reader"] for row in rows} >= {"ours, host"}
    (clip,) = (row for row in rows if row["objective"] == "clip")
    assert clip["of the device's %"] == pytest.approx(clip["pairs/s"] / 1e4, abs=0.06)


@pytest.mark.by_hand
def test_every_part_of_the_script(tmp_path):
    parts = ("steps", "input", "million:0.05", "million:0.05:4:safeclip_plus")
    code, output, files = run_script(tmp_path, *parts, budget=1800)
    assert code == 0, output
    steps_of = ("vit_b32", "rn50", "vit_b16", "variants")
    names = {*steps_of, "input", "million_0.05_none_safeclip", "million_0.05_safeclip_plus"}
    assert files.keys() == {f"accelerator_{name}" for name in names}
    for name in steps_of:
        rows = files[f"accelerator_{name}"]["rows"]
        assert any("pairs/s" in row for row in rows)
        assert all("pairs/s" in row or row["error"] for row in rows)
    *_, plain, safe = files["accelerator_million_0.05_none_safeclip"]["rows"]
    assert plain["epochs"] == safe["epochs"] >= million.LEAST_EPOCHS
    assert plain["safe_pool_size"] is None and safe["safe_pool_size"] > 0


@pytest.mark.by_hand
def test_a_batch_that_does_not_fit_is_a_row_and_not_the_end(tmp_path, monkeypatch, capsys):
    path, has_torch = tmp_path / "steps.json", importlib.util.find_spec("torch") is not None
    flags = ["--preset=vit_nano8", "--size=32", "--batches", "1000000000", "16", "--steps=2"]
    flags += ["--objectives=clip", "--devices=2", f"--json={path}"]
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # see `host.set_up_jax`
    monkeypatch.setattr(sys, "argv", ["steps", *flags, *(["--peer"] if has_torch else [])])
    steps.main()
    rows = {(r["framework"], r["batch"]): r for r in json.loads(path.read_text())["rows"]}
    assert len(rows) == (4 if has_torch else 2)
    for (_, batch), row in rows.items():
        if batch == 16:
            assert row["least ms"] <= row["ms"] <= row["most ms"] and row["pairs/s sent"] > 0
            assert row["pairs/s"] == pytest.approx(16e3 / row["ms"], rel=0.01)
        else:
            assert row["error"] == apart.OUT_OF_MEMORY
    ours = rows["safeclip_jax", 16]
    assert ours["compiler MiB"] > 1 and ours["devices"] == 2
    printed = capsys.readouterr().out
    assert "| vit_nano8 | 1000000000 |" in printed
    if has_torch:
        ratio = round(ours["pairs/s"] / rows["PyTorch", 16]["pairs/s"], 2)
        assert printed.count(f" | {ratio} |\n") >= 1


@pytest.fixture
def runner(tmp_path, monkeypatch):
    (tmp_path / "child_of_a_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(apart, "_LEAST_SECONDS", 0.5)

    def make(seconds=60, limit=60):
        return apart.Runner("child_of_a_test", apart.Deadline(seconds), limit)

    return make


def test_every_case_has_a_result_or_a_reason(runner):
    cases = [
        {"number": 1},
        {"number": 2, "code": "raise ValueError('no such thing')"},
        {"number": 3, "code": "raise MemoryError"},
        {"number": 4, "code": "import os; os.kill(os.getpid(), 9)"},
        {"number": 5, "code": "import os; os._exit(7)"},
        {"number": 6, "sleep": 60},
        {"number": 7},
    ]
    found = {case["number"]: result for case, result in runner(limit=5).all(cases, at_once=3)}
    assert found == {
        1: {"double": 2},
        2: {"error": "ValueError: no such thing"},
        3: {"error": "out of memory"},
        4: {"error": "killed, perhaps for want of memory"},
        5: {"error": "ended with status 7"},
        6: {"error": "stopped after 5 s"},
        7: {"double": 14},
    }


def test_what_has_no_memory_beside_others_runs_again_alone(runner, tmp_path):
    """The first time it fails; the second time it is alone."""
    mark = tmp_path / "was here"
    code = f"p = __import__('pathlib').Path({str(mark)!r})\n"
    code += "if not p.exists(): p.touch(); raise MemoryError"
    ((_, result),) = runner().all([{"number": 4, "code": code}], at_once=2)
    assert result == {"double": 8}


def test_nothing_starts_that_cannot_end_in_time(runner):
    start = time.monotonic()
    results = [result for _, result in runner(seconds=2).all([{"number": 1, "sleep": 60}] * 3)]
    assert results[0]["error"].startswith("stopped after")
    assert results[1:] == [{"error": "not started, no time was left"}] * 2
    assert time.monotonic() - start < 10


def test_cases_that_compile_share_the_turn_and_one_that_is_timed_has_it_alone():
    """Both in one process: locks belong to open files."""
    with open(steps.__file__) as compiles, open(steps.__file__) as other:
        fcntl.flock(compiles, fcntl.LOCK_SH)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_steps_are_timed_from_end_to_end_with_two_in_flight():
    flying, most = [0], [0]

    def launch():
        flying[0] += 1
        most[0] = max(most[0], flying[0])

        def wait():
            time.sleep(0.02)
            flying[0] -= 1

        return wait

    times = steps.intervals(launch, 5)
    assert len(times) == 5 and most[0] == 2 and flying[0] == 0
    assert all(0.02 <= seconds < 0.1 for seconds in times)


@pytest.mark.slow
def test_utilisation_counts_three_forward_passes_a_pair():
    case = {"preset": "vit_b32", "size": 224, "objective": "clip"}
    result = {"device": "NVIDIA H100 80GB HBM3", "devices": 1, "pairs/s": 10_000}
    forward = forward_pass.cost(steps.config_of("vit_b32", 224)).flops
    assert steps.utilisation(case, result) == {"MFU %": round(300 * forward * 1e4 / 989e12, 1)}
    unimodal = steps.utilisation(case | {"objective": "unimodal"}, result)["MFU %"]
    assert unimodal == pytest.approx(4 / 3 * 300 * forward * 1e4 / 989e12, abs=0.1)
    assert steps.utilisation(case, result | {"device": "cpu"}) == {}


def test_a_result_file_is_whole_after_every_row(tmp_path):
    found = ResultFile(tmp_path / "new/found.json")
    assert json.loads(found.path.read_text())["rows"] == []
    found.add({"batch": 8, "device": "a device"})
    found.add({"batch": 16, "error": "out of memory"})
    content = json.loads(found.path.read_text())
    assert list(content) == FIELDS and content["device"] == "a device"
    assert content["rows"] == [{"batch": 8}, {"batch": 16, "error": "out of memory"}]
    assert content["date"].endswith("+00:00") and content["versions"]["python"]


def test_the_scaling_model_takes_the_best_measured_utilisation(tmp_path):
    assert scaling_model.utilisation(tmp_path) == (0.4, "assumed")
    rows = [
        {"preset": "vit_b32", "batch": 512, "MFU %": 51.0},
        {"preset": "vit_b32", "batch": 1024, "MFU %": 55.0},
        {"preset": "vit_b32", "batch": 2048, "MFU %": 61.0, "objective": "unimodal"},
        {"preset": "vit_b32", "batch": 4096, "error": "out of memory"},
        {"preset": "vit_b32", "batch": 1024, "MFU %": 70.0, "framework": "PyTorch"},
    ]
    found = ResultFile(tmp_path / "accelerator_vit_b32.json")
    for row in rows:
        found.add({"framework": "safeclip_jax", "objective": "clip", "device": "H100"} | row)
    share, source = scaling_model.utilisation(tmp_path)
    assert share == 0.55
    assert source == "measured (accelerator_vit_b32.json, vit_b32, batch 1024, H100)"


@pytest.mark.parametrize("processes", [1, 3])
def test_drawn_scenes_are_the_scenes(tmp_path, processes):
    code = "from pathlib import Path; from experiments import drawn_scenes as d; "
    code += f"d.draw(20, 5, 32, Path({str(tmp_path)!r}), {processes})"
    subprocess.run([sys.executable, "-c", code + NO_JAX], check=True, cwd=ROOT)
    expected = Scenes(20, 5, size=32)
    found = pickle.loads(pickle.dumps(drawn_scenes.DrawnScenes(tmp_path)))
    assert list(found.captions) == list(expected.captions)
    assert list(found.keys) == list(expected.keys)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert all(np.array_equal(found.image(i), expected.image(i)) for i in range(20))


def test_as_many_epochs_as_fit(tmp_path):
    both = ["none", "safeclip"]
    args = million.parser().parse_args(["--seconds=410", "--workers=16"])
    timed = {"wall s": 48, "seconds_train": 6, "seconds_input": 1.5, "seconds_checkpoint": 0.5}
    pieces = million.Pieces(args, tmp_path)
    assert pieces._chosen(timed) == int((0.95 * 410 - 100) / (8 + 1.6 * 8 + 3 * 6))
    assert pieces._chosen({"error": "out of memory"}) == million.LEAST_EPOCHS
    assert million.fitting(1000, 0, 10, 6, ["none"]) == million.MOST_EPOCHS
    assert million.fitting(30, 40, 8, 6, both) == million.LEAST_EPOCHS


def test_a_run_that_was_cut_off_has_what_it_reached(tmp_path):
    lines = [
        {"step": 5, "kind": "evaluation", "epoch": 0},
        {"step": 9, "kind": "pools", "epoch": 1, "safe_pool_size": 7, "poisons_in_safe_pool": 0},
        {"step": 10, "kind": "evaluation", "epoch": 1},
    ]
    lines[0] |= {"zero_shot_accuracy": 0.5, "attack_success_rate": 0.2}
    lines[2] |= {"zero_shot_accuracy": 0.6, "attack_success_rate": 0.1}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = million.reached(tmp_path)
    assert found["cut off after epochs"] == 2 and found["course"] == [(1, 0.5, 0.2), (2, 0.6, 0.1)]
    assert (found["zero_shot_accuracy"], found["attack_success_rate"]) == (0.6, 0.1)
    assert found["safe_pool_size"] == 7 and found["poisons_in_safe_pool"] == 0
    assert million.reached(tmp_path / "nothing")["cut off after epochs"] == 0
