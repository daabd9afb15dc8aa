import pytest

from safeclip_jax.data import cores


@pytest.mark.parametrize(
    "mine, in_memory, threads, workers",
    [(2, False, 2, 0), (7, False, 7, 0), (16, False, 8, 8), (16, True, 8, 0), (128, False, 8, 32)],
)
def test_many_cores_decode_in_processes(monkeypatch, mine, in_memory, threads, workers):
    monkeypatch.setattr(cores, "available", lambda: mine)
    assert cores.threads(None) == threads
    assert cores.workers(None, in_memory) == workers
    assert cores.threads(3) == 3 and cores.workers(0, in_memory) == 0


def test_processes_on_a_host_share_its_cores(monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(96)))
    assert cores.available() == 96
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")
    assert cores.available() == 12
