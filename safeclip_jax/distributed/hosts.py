"""Several processes as one run: how they find each other, and what happens if one is lost.

JAX's own runtime joins them; this module says when to, from the environment alone, so that
the same command runs on a laptop, under Slurm, on a TPU pod and in Kubernetes.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from safeclip_jax.distributed import watchdog
from safeclip_jax.distributed.watchdog import LOST, Heartbeat
from safeclip_jax.errors import UserError, first_line, show

JOIN_SECONDS = 300

# Variables that say a process' number and how many there are.
EXPLICIT = ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES")
MANAGED = (
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)


class Place(NamedTuple):
    """A process among the processes of the run."""

    number: int
    processes: int


def place(environment: Mapping[str, str]) -> Place | None:
    """This process' place by its environment; None if that does not say.

    Explicit (`JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`), Slurm, Open MPI,
    or TPU workers in Kubernetes.

    Raises:
      UserError: if the explicit variables are incomplete or do not fit.
    """
    if "JAX_COORDINATOR_ADDRESS" in environment:
        missing = [name for name in EXPLICIT if not environment.get(name, "").isdigit()]
        if missing:
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS is set, so {' and '.join(missing)} must be a number"
            )
        found = Place(*(int(environment[name]) for name in EXPLICIT))
        if found.number >= found.processes:
            raise UserError(
                f"JAX_PROCESS_ID={found.number} must be below JAX_NUM_PROCESSES={found.processes}"
            )
        return found
    for number, count in MANAGED:
        if {number, count} <= environment.keys():
            return Place(int(environment[number]), int(environment[count]))
    names = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    if environment.get("TPU_WORKER_ID", "").isdigit() and len(names) > 1:
        return Place(int(environment["TPU_WORKER_ID"]), len(names))
    return None


@contextlib.contextmanager
def joined(folder: Path) -> Iterator[Heartbeat]:
    """Joins the run's other processes, if there are any, and watches over them.

    Yields:
      A function to call with a word on each piece of progress.

    Args:
      folder: of the run, which all hosts share.

    Raises:
      UserError: if the processes cannot be joined.
    """
    here = place(os.environ)
    if not (here and here.processes > 1) and not _on_tpu_host():
        yield watchdog.no_heartbeat
        return
    _join(here, folder)
    if jax.process_count() == 1:
        yield watchdog.no_heartbeat
        return
    if jax.default_backend() == "cpu":  # a cached step may order its collectives differently
        jax.config.update("jax_enable_compilation_cache", False)
    watch = watchdog.Watchdog(folder / "hosts", jax.process_index(), jax.process_count(), _exit)
    try:
        yield watch.heartbeat
    except UserError as error:
        watch.tell(f"host {jax.process_index()} stopped: {error}", error.status)
        _exit(str(error), error.status)
    except jax.errors.JaxRuntimeError as error:
        watch.wait_for_verdict()
        _exit(f"the hosts lost each other ({first_line(error)})", LOST)
    finally:
        watch.close()


def _join(here: Place | None, folder: Path) -> None:
    explicit = here if "JAX_COORDINATOR_ADDRESS" in os.environ else None
    arguments = (
        {"num_processes": explicit.processes, "process_id": explicit.number} if explicit else {}
    )
    waiting = watchdog.JoinWatch(folder / "hosts", *here, JOIN_SECONDS, _exit) if here else None
    try:
        jax.distributed.initialize(
            **arguments,  # type: ignore[arg-type]
            cluster_detection_method="deactivate" if explicit else None,
            initialization_timeout=JOIN_SECONDS + 30,
            shutdown_timeout_seconds=60,
        )
    except ValueError as error:
        if here is not None:
            raise UserError(f"the processes cannot be joined: {first_line(error)}") from None
    finally:
        if waiting is not None:
            waiting.close()


def _on_tpu_host() -> bool:
    """Whether JAX can ask the cloud's metadata which TPU workers there are."""
    chips = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _exit(message: str, code: int) -> None:
    """Ends the process at once: other threads may wait in a collective for good."""
    show(message)
    sys.stdout.flush()
    os._exit(code)
