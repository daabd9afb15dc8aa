import threading
import time

import pytest

from safeclip_jax.distributed import watchdog
from safeclip_jax.distributed.hosts import place
from safeclip_jax.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watchdog, "INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "SILENCE", 0.5)


class Ended:
    """Notes why a process would have ended, and lets its thread go on doing nothing."""

    def __init__(self):
        self.reason, self.code = "", 0
        self._event = threading.Event()

    def __call__(self, reason, code):
        if not self._event.is_set():
            self.reason, self.code = reason, code
            self._event.set()

    def wait(self, seconds=5):
        return self._event.wait(seconds)


def watches(folder, count):
    ends = [Ended() for _ in range(count)]
    return [watchdog.Watchdog(folder, n, count, ends[n]) for n in range(count)], ends


def test_hosts_that_write_are_left_in_peace_and_leave_nothing(tmp_path):
    found, ends = watches(tmp_path / "hosts", 3)
    time.sleep(1)
    assert not any(end.wait(0) for end in ends)
    for watch in found:
        watch.close()
    assert not (tmp_path / "hosts").exists()


def test_a_silent_host_is_named_to_all_the_others(tmp_path):
    found, ends = watches(tmp_path / "hosts", 3)
    found[1].heartbeat("epoch 2, safe step 7")
    time.sleep(0.3)
    found[1]._thread.close()
    for number in (0, 2):
        assert ends[number].wait() and ends[number].code == 75
        assert "host 1 (" in ends[number].reason
        assert "is lost: silent for" in ends[number].reason
        assert "epoch 2, safe step 7" in ends[number].reason
        found[number].close()


def test_a_run_without_progress_ends_and_says_where_each_host_is(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "STALL", 0.6)
    found, ends = watches(tmp_path / "hosts", 2)
    found[1].heartbeat("waits for its disk")
    assert ends[0].wait() and ends[0].code == 75
    assert "no progress for" in ends[0].reason and "waits for its disk" in ends[0].reason
    for watch in found:
        watch.close()


def test_progress_keeps_a_run_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "STALL", 0.6)
    (watch,), (end,) = watches(tmp_path / "hosts", 1)
    for step in range(12):
        watch.heartbeat(f"step {step}")
        time.sleep(0.1)
    assert not end.wait(0)
    watch.close()


def test_a_reason_told_by_one_host_ends_all_but_not_the_next_attempt(tmp_path):
    found, ends = watches(tmp_path / "hosts", 2)
    found[0].tell("host 0 stopped: the disk is full", 2)
    assert ends[1].wait() and (ends[1].reason, ends[1].code) == (
        "host 0 stopped: the disk is full",
        2,
    )
    for watch in found:
        watch.close()
    found, ends = watches(tmp_path / "hosts", 2)
    time.sleep(0.3)
    assert not any(end.wait(0) for end in ends)
    for watch in found:
        watch.close()


def test_the_roll_call_ends_with_the_names_of_those_who_did_not_come(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watchdog, "REMINDER", 0.1)
    end = Ended()
    (tmp_path / "00003").write_text("old\t9\tfrom another attempt")
    calls = [watchdog.JoinWatch(tmp_path, n, 4, 1.0, end if n == 0 else Ended()) for n in (0, 2)]
    assert end.wait() and end.code == 75
    assert end.reason == "hosts 1, 3 of 4 did not come within 1 s"
    assert "waiting for hosts 1, 3 of 4" in capsys.readouterr().out
    for call in calls:
        call.close()


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, None),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "a:1",
                "JAX_PROCESS_ID": "2",
                "JAX_NUM_PROCESSES": "4",
                "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "8",
            },
            (2, 4),
        ),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "16", "SLURM_JOB_ID": "1"}, (5, 16)),
        ({"SLURM_JOB_ID": "1"}, None),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, (0, 2)),
        ({"TPU_WORKER_ID": "3", "TPU_WORKER_HOSTNAMES": "a,b,c,d"}, (3, 4)),
        ({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}, None),
    ],
)
def test_a_process_finds_its_place_in_the_environment(environment, expected):
    assert place(environment) == expected


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES must be a number"),
        ({"JAX_PROCESS_ID": "x", "JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID must be a number"),
        ({"JAX_PROCESS_ID": "2", "JAX_NUM_PROCESSES": "2"}, "must be below"),
    ],
)
def test_an_incomplete_explicit_place_is_refused(environment, message):
    with pytest.raises(UserError, match=message):
        place({"JAX_COORDINATOR_ADDRESS": "a:1", **environment})
