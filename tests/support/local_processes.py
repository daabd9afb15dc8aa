"""Several processes of a run on this machine."""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def environments(processes: int, devices: int) -> list[dict[str, str]]:
    """The environment of each process, with so many CPU devices of its own."""
    shared = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    if devices > 1:  # see `host.set_up_jax`
        shared.pop("JAX_COMPILATION_CACHE_DIR", None)
    if processes == 1:
        return [shared]
    shared |= {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
        "JAX_NUM_PROCESSES": str(processes),
    }
    return [shared | {"JAX_PROCESS_ID": str(number)} for number in range(processes)]
