"""A process that makes batches and is killed while it starts does not hang the run."""

import subprocess
import sys
import textwrap
import time

import pytest

from safeclip_jax.data import workers

KILLED_AT_BIRTH = """
    import contextlib, multiprocessing, os, signal, threading, time
    from pathlib import Path
    from safeclip_jax.data import workers

    def kill():
        while True:
            for task in Path("/proc/self/task").iterdir():
                with contextlib.suppress(OSError):
                    for child in (task / "children").read_text().split():
                        os.kill(int(child), signal.SIGKILL)

    def made():
        context = multiprocessing.get_context("spawn")
        context.Process(target=print, args=(bytes(2**24),)).start()
        while True:
            time.sleep(1)
        yield 1

    if __name__ == "__main__":
        workers.PATIENCE = 0.5
        threading.Thread(target=kill, daemon=True).start()
        list(workers.guarded(made(), 3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_killed_at_birth_ends_the_run_with_75(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED_AT_BIRTH))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1].startswith("error: one of data.workers=3 processes")


def test_children_that_live_and_items_that_end_are_left_alone(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    alive = subprocess.Popen(["sleep", "60"])

    def slowly():
        time.sleep(0.5)
        yield from (1, 2)

    try:
        assert list(workers.guarded(slowly(), 1)) == [1, 2]
        assert list(workers.guarded([], 1)) == []
    finally:
        alive.kill()
        alive.wait()
