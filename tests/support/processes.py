"""Runs of the command in several processes on this machine, a CPU device each."""

import subprocess
import sys
from pathlib import Path

from tests.support import local_processes

ROOT = Path(__file__).parents[2]
COMMAND = """
from safeclip_jax.distributed import hosts, watchdog
hosts.JOIN_SECONDS = {join}
watchdog.INTERVAL, watchdog.SILENCE, watchdog.REMINDER = 0.5, {silence}, 3
from safeclip_jax.commands import program, train
program.run(train.main)
"""


def start(config, workdirs, changes=((), ()), processes=2, join=60, silence=8):
    """Starts the command once for each of `workdirs`, as the first of so many processes.

    `changes` are more flags for each of them.
    """
    command = [sys.executable, "-c", COMMAND.format(join=join, silence=silence)]
    started = []
    for environment, workdir, flags in zip(
        local_processes.environments(processes, 1), workdirs, changes, strict=False
    ):
        started.append(
            subprocess.Popen(
                [*command, f"--config={config}", f"--workdir={workdir}", *flags],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def finish(started, timeout=300):
    """Exit statuses and outputs."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], outputs
