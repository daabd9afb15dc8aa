"""Runs of the command in several processes on this machine, two CPU devices each."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = """
import sys
from safeclip_jax import hosts, roll
hosts.JOIN_SECONDS, roll.INTERVAL, roll.SILENCE, roll.REMINDER = {join}, 0.5, {silence}, 3
from safeclip_jax import main
main.cli()
"""


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start(config, workdirs, changes=((), ()), processes=2, join=60, silence=8):
    """Starts the command once for each of `workdirs`, as the first of so many processes.

    `changes` are more flags for each of them.
    """
    port, started = free_port(), []
    for number, workdir in enumerate(workdirs):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "2",
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(number),
        }
        command = [sys.executable, "-c", COMMAND.format(join=join, silence=silence)]
        started.append(
            subprocess.Popen(
                [*command, f"--config={config}", f"--workdir={workdir}", *changes[number]],
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
