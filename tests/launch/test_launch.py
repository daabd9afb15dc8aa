"""The launch scripts, with cloud and cluster tools that only note their calls."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
TPU = [LAUNCH / "tpu_pod.sh", "train", "--name=clip", "--zone=here", "--bucket=runs"]
GKE = [LAUNCH / "gke/gke.sh", "run", "--name=clip", "--image=here/clip:1", "--claim=runs"]
FLAGS = ["--config=configs/vitb32.py", "--config.data.source=webdataset:{0..3}.tar"]

# The tool's n-th call that matches a key of `answers.json` gets the n-th answer, or the last.
FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
call = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps(call) + "\\n")
for key, answers in json.loads((here / "answers.json").read_text()).items():
    if key in " ".join(call):
        number = here / (key.replace(" ", "_").replace("/", "_") + ".number")
        count = int(number.read_text()) if number.exists() else 0
        number.write_text(str(count + 1))
        output, status = answers[min(count, len(answers) - 1)]
        if output:
            print(output)
        sys.exit(status)
"""


@pytest.fixture
def tools(tmp_path):
    """Runs a script among the fake tools; returns status, output and the tools' calls."""
    for name in ("gcloud", "srun", "scontrol", "kubectl"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)

    def run(command, **answers):
        (tmp_path / "answers.json").write_text(json.dumps(answers.get("answers", {})))
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WAIT_SECONDS": "0"}
        environment |= {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        noted = tmp_path / "calls.jsonl"
        calls = noted.read_text().splitlines() if noted.exists() else []
        return done.returncode, done.stdout + done.stderr, [json.loads(call) for call in calls]

    return run


@pytest.mark.parametrize("script", ["tpu_pod.sh", "slurm.sh", "gke/gke.sh"])
def test_scripts_are_clean_and_have_help(script, tools):
    checked = subprocess.run(["shellcheck", LAUNCH / script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    for arguments in ([], ["--help"]):
        code, output, calls = tools([LAUNCH / script, *arguments])
        assert code == 0 and "safeclip_jax.main" in output and not calls


def test_a_pod_is_created_and_the_run_goes_on_until_it_is_done(tools):
    """No slice, then waiting, then a host lost, then the slice taken away, then done."""
    states = [
        "",
        "WAITING_FOR_RESOURCES",
        "ACTIVE",
        "ACTIVE",
        "SUSPENDED",
        "PROVISIONING",
        "ACTIVE",
    ]
    code, output, calls = tools(
        [*TPU, "--spot", "--type=v5litepod-256", "--", *FLAGS],
        answers={
            "describe": [[state, 0 if state else 1] for state in states],
            "safeclip_jax.main": [
                ["run ended with status 75\nrun ended with status 75", 0],
                ["killed", 255],
                ["run ended with status 0\nrun ended with status 0", 0],
            ],
        },
    )
    assert code == 0, output
    words = [" ".join(call) for call in calls]
    created = [w for w in words if "queued-resources create" in w]
    assert len(created) == 2 and all("--spot" in w and "v5litepod-256" in w for w in created)
    assert sum("queued-resources delete" in w for w in words) == 1
    runs = [w for w in words if "safeclip_jax.main" in w]
    assert len(runs) == 3
    assert all("'--config.data.source=webdataset:{0..3}.tar'" in w for w in runs)
    assert all("--worker=all" in w and "--workdir=../run/'clip'" in w for w in runs)
    assert sum("gcsfuse --implicit-dirs 'runs' run" in w for w in words) == 3
    assert "stopped with status 75 and goes on" in output and "done;" in output


def test_a_pod_is_not_asked_again_when_the_config_is_wrong(tools):
    answers = {
        "describe": [["ACTIVE", 0]],
        "safeclip_jax.main": [["error: unknown config key\nrun ended with status 2", 0]],
    }
    code, output, calls = tools([*TPU, "--", *FLAGS], answers=answers)
    assert code == 2 and "error: the run cannot go on" in output
    assert sum("safeclip_jax.main" in " ".join(call) for call in calls) == 1


@pytest.mark.parametrize(
    "command", [[*TPU, "--dry-run", "--", *FLAGS], [*GKE, "--dry-run", "--", *FLAGS]]
)
def test_a_dry_run_prints_and_calls_nothing(command, tools):
    code, output, calls = tools(command)
    assert code == 0 and not calls
    assert "configs/vitb32.py" in output and "\n+ " in "\n" + output


@pytest.mark.parametrize(
    "command, message",
    [
        (TPU[:2], "--name and --zone are needed"),
        ([*TPU[:4], "--", *FLAGS], "--bucket is needed"),
        (TPU, "no flags for the run"),
        ([*TPU, "--typo=1"], "unknown option --typo=1"),
        ([LAUNCH / "slurm.sh", *FLAGS], "--workdir=DIR is needed"),
        ([*GKE, "--topology=4x4\n  evil: yes", "--", *FLAGS], "letters, digits"),
        (GKE, "no flags for the run"),
    ],
)
def test_bad_arguments_get_one_line(command, message, tools):
    code, output, calls = tools(command)
    assert code == 2 and message in output and not calls
    assert output.startswith("error: ")


def test_a_slurm_job_is_queued_again_unless_it_is_done_or_wrong(tools):
    command = [LAUNCH / "slurm.sh", "--workdir=/shared/run", *FLAGS]
    for status, again in ((0, False), (2, False), (75, True), (143, True)):
        code, output, calls = tools(command, answers={"srun": [["", status]]})
        assert code == status, output
        step, *rest = calls[-2:] if again else calls[-1:]
        assert step[:3] == ["srun", "--kill-on-bad-exit=0", "--ntasks-per-node=4"]
        assert step[-3:] == ["--workdir=/shared/run", *FLAGS]
        assert rest == ([["scontrol", "requeue", "7"]] if again else [])


def test_slurms_warning_reaches_the_run(tmp_path):
    """The job's shell gets SIGTERM; the step checkpoints, ends with 143, and is queued again."""
    (tmp_path / "srun").write_text(
        "#!/usr/bin/env python3\nimport pathlib, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "pathlib.Path('started').touch()\n"
        "assert signal.sigwait([signal.SIGTERM])\nprint('saved')\nraise SystemExit(143)\n"
    )
    (tmp_path / "scontrol").write_text('#!/usr/bin/env bash\necho "asked to $*"\n')
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(
        [LAUNCH / "slurm.sh", "--workdir=/shared", *FLAGS],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    while not (tmp_path / "started").exists():
        assert job.poll() is None
        time.sleep(0.01)
    job.terminate()
    output = job.communicate(timeout=30)[0]
    assert job.returncode == 143 and "saved" in output and "asked to requeue 7" in output


def test_the_jobset_holds_the_flags_and_the_places(tools):
    flags = [*FLAGS, '--config.evaluate.source=a"b\\c']
    code, output, calls = tools([*GKE, "--hosts=16", "--topology=8x8", "--", *flags])
    assert code == 0 and calls == [["kubectl", "apply", "-f", "-"]]
    job = yaml.safe_load(output.partition("\n+ ")[0])
    assert job["metadata"]["name"] == "clip"
    spec = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert spec["parallelism"] == spec["completions"] == 16
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "here/clip:1"
    assert container["command"][3:] == ["--workdir=/runs/clip", *flags]
    selector = spec["template"]["spec"]["nodeSelector"]
    assert selector["cloud.google.com/gke-tpu-topology"] == "8x8"


def test_a_slurm_step_gets_the_flags_for_gpus(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    (tmp_path / "srun").write_text('#!/usr/bin/env bash\necho "$XLA_FLAGS"; env | grep MEM_FR\n')
    _, output, _ = tools([LAUNCH / "slurm.sh", "--workdir=/shared/run", *FLAGS])
    assert "--xla_gpu_enable_latency_hiding_scheduler=true --xla_dump_to=here" in output
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION=0.92" in output
