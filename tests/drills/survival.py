"""What is lost when a run is killed, its disk is full, its data or a process fails? Nothing.

    python -m tests.drills.survival

Breaks a run of under a minute with every stage in it, in every way below, lets it go on, and
compares its end with that of a run that nothing happened to: the same parameters and figures bit
for bit, every step's metrics once, no stray file. Every drill is bounded in time. A full disk needs
the right to mount a tmpfs; where there is none that drill is skipped and says so. Prints JSON
lines, then a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import markdown
from safeclip_jax.defenses import pool_files
from tests.drills.broken_runs import LIMIT, SMALL, Failed, Runs, same
from tests.support import local_processes

DISK = 320  # MiB of the disk that gets full
# Run in the process before the command: `broken` is what the drill breaks.
PATIENT = (
    "from safeclip_jax.distributed import watchdog\nwatchdog.INTERVAL, watchdog.SILENCE = 0.5, 8\n"
)
DATA = """
import errno
from safeclip_jax.data import files
files.WAITS = (0.01, 0.01)
read, calls = files.Files._read_local, []
def failing(self, *args):
    calls.append(1)
    if {first} <= len(calls) < {last}:
        raise OSError(errno.EIO, "Input/output error")
    return read(self, *args)
files.Files._read_local = failing
"""
NAN = """
import jax
from safeclip_jax.training import trainer
advance = trainer.Trainer._advance
def broken(self, **changes):
    advance(self, **changes)
    if changes.get("total_steps") in {steps} and {condition}:
        spoilt = jax.tree.map(lambda x: x * float("nan"), self.state.params)
        self.state = self.state.replace(params=spoilt)
trainer.Trainer._advance = broken
"""


class Drills(Runs):
    """The drills; each returns what it did, in words.

    Args:
      folder: of all runs.
      kills: how many to make at random moments.
      seed: of the moments.
    """

    def __init__(self, folder: Path, kills: int, seed: int):
        super().__init__(folder)
        self.kills, self.seed = kills, seed

    def killed_at_random(self) -> str:
        """kill -9 at random moments, again and again, until a run comes through."""
        counts: list[int] = []
        with ThreadPoolExecutor(2) as pool:
            while sum(counts) < self.kills:
                counts += pool.map(self._chain, range(len(counts), len(counts) + 2))
        return f"{sum(counts)} kills in {len(counts)} runs"

    def _chain(self, number: int) -> int:
        run, kills = self.folder / f"killed-{number}", 0
        rng = random.Random(f"{self.seed} {number}")  # runs are side by side
        while True:
            process = self.start(run)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=rng.uniform(0.3, 1.2) * self.seconds)
            if process.poll() is not None:
                if process.returncode:
                    raise Failed(f"exit status {process.returncode} after {kills} kills")
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
        self.check(run)
        shutil.rmtree(run)
        return kills

    def killed_in_writes(self) -> str:
        """kill -9 the moment that a file is half written: checkpoint, pools, any other."""
        kills = []
        for pattern in ("checkpoints/*tmp*", "pools/*.partial", "checksums/*.partial", "*.partial"):
            run = self.folder / f"writes-{len(kills)}"
            process = self.start(run)
            while process.poll() is None and not list(run.glob(pattern)):
                time.sleep(0.0005)
            seen = process.poll() is None
            if seen:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills.append(f"{pattern}: {'killed' if seen else 'too quick to see'}")
            self.whole(run)
            self.check(run)
        return ", ".join(kills)

    def signals(self) -> str:
        """SIGTERM and Ctrl-C save and stop with 143 and 130; a second Ctrl-C stops at once."""
        for name, numbers, statuses in (
            ("term", (signal.SIGTERM,), (143,)),
            ("int", (signal.SIGINT,), (130,)),
            ("twice", (signal.SIGINT, signal.SIGINT), (130,)),
        ):
            run = self.folder / f"signal-{name}"
            process = self.start(run, "--config.checkpoint_minutes=30")
            self.wait_for_steps(process, run, 9)
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.05)
            self.ended(process, *statuses)
            self.whole(run)
            self.check(run)
        return "143, 130, and at once"

    def disk_full(self) -> str:
        """No space is left on the disk, at one write after the other."""
        stops = []
        with _tmpfs(self.folder / "disk") as disk:
            if disk is None:
                return "skipped: a tmpfs cannot be mounted here"
            run = disk / "run"
            ballast = disk / "ballast"
            for spare in (2**10, 2**14, 2**16, 3 * 2**16, 2**19, 2**20, 3 * 2**20, 2**23):
                ballast.unlink(missing_ok=True)
                process = self.start(run)  # begins with room: the check of free space comes first
                while process.poll() is None and not (run / "config.json").exists():
                    time.sleep(0.01)
                free = shutil.disk_usage(disk).free
                with ballast.open("wb") as file, contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), 0, max(free - spare, 1))
                output = self.ended(process, 0, 75)
                if process.returncode == 0:
                    break
                if "error: " not in output or "Traceback" in output:
                    raise Failed(f"no clear message: {output[-600:]}")
                stops.append(output.strip().splitlines()[-1][:60])
            ballast.unlink(missing_ok=True)
            self.whole(run)
            kept = self.folder / "disk-full"
            shutil.copytree(run, kept)
        self.check(kept)
        return f"stopped {len(stops)} times with one line each"

    def data_fails(self) -> str:
        """A read error in mid-epoch that goes away is not noticed; one that stays stops the run."""
        table = self._table()
        flags = (f"--config.data.source=csv:{table}", "--config.data.label_column=label",
                 "--config.data.pairs=0", "--config.data.cache_gib=0",
                 "--config.data.tokenizer=train")  # fmt: skip
        run, other = self.folder / "data-whole", self.folder / "data-broken"
        self.whole(run, *flags)
        expected = self.outcome(run)
        self.whole(self.folder / "data-hiccup", *flags, patch=DATA.format(first=900, last=902))
        patch = DATA.format(first=900, last=10**9)
        output = self.ended(self.start(other, *flags, patch=patch), 75)
        if "Input/output error" not in output:
            raise Failed(f"no clear message: {output[-300:]}")
        self.whole(other, *flags)
        for found in map(self.outcome, (self.folder / "data-hiccup", other)):
            if found[:2] != expected[:2] or not same(found[2], expected[2]):
                raise Failed("the end differs from that of the run without errors")
        return "2 errors: no difference; errors without end: status 75, then the same end"

    def _table(self) -> Path:
        """Training pairs as files, so that they can fail."""
        out = self.folder / "table"
        command = [sys.executable, "-m", "safeclip_jax.poison", *SMALL, f"--out={out}"]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        return out / "train.csv"

    def worker_killed(self) -> str:
        """A process that decodes is killed: the run stops with status 75 and goes on."""
        run = self.folder / "worker"
        process = self.start(run, "--config.data.workers=1")
        self.wait_for_steps(process, run, 9)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < LIMIT:
            for child in _children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.2)
        took = time.monotonic() - began
        output = self.ended(process, 75)
        if "was killed" not in output:
            raise Failed(f"no clear message: {output[-300:]}")
        self.whole(run, "--config.data.workers=1")
        self.check(run)
        return f"status 75 after {took:.1f} s"

    def host_killed(self) -> str:
        """One of two hosts is killed: the other names it and stops; then both go on."""
        run = self.folder / "hosts"

        def both() -> list[subprocess.Popen]:
            return [
                self.start(run, patch=PATIENT, environment=environment)
                for environment in local_processes.environments(2, 1)
            ]

        first, second = both()
        self.wait_for_steps(first, run, 9)
        os.killpg(second.pid, signal.SIGKILL)
        second.communicate()
        began = time.monotonic()
        output = self.ended(first, 75)
        if "host 1" not in output:
            raise Failed(f"the host is not named: {output[-300:]}")
        took = time.monotonic() - began
        for process in both():
            self.ended(process, 0)
        self.outcome(run)
        return f"status 75 after {took:.1f} s (limits shortened to 8 s), then the run ended"

    def not_a_number(self) -> str:
        """Parameters spoilt once: the run goes back and ends the same; again: it stops."""
        flags = ("--config.optimizer.max_skipped_steps=3",)
        run = self.folder / "nan"
        once = NAN.format(steps=(14,), condition="self.position.rollbacks == 0")
        output = self.whole(run, *flags, patch=once)
        if "going back to the last checkpoint" not in output:
            raise Failed("it did not go back")
        found = self.outcome(run)
        if found[1] != self.reference[1] or not same(found[2], self.reference[2]):
            raise Failed("the end differs from the reference's")
        always = NAN.format(steps=(14,), condition="True")
        output = self.ended(self.start(self.folder / "nan-again", *flags, patch=always), 2)
        if "after 1 return(s)" not in output:
            raise Failed(f"no clear message: {output[-300:]}")
        return "once: back, then the same end; twice: status 2"

    def other_devices(self) -> str:
        """The same run on 1, 2, 4 and again 1 devices: same pairs and pools, losses to 1e-4."""
        run, apart = self.folder / "devices", 0.0
        for devices, steps in ((1, 7), (2, 13), (4, 19), (1, 0)):
            environment = {"JAX_NUM_CPU_DEVICES": str(devices)}
            process = self.start(run, environment=environment)
            if steps:
                self.wait_for_steps(process, run, steps)
                process.send_signal(signal.SIGTERM)
            self.ended(process, 143 if steps else 0)
        _, metrics, _ = self.outcome(run)
        for step, line in self.reference[1].items():
            apart = max(apart, abs(metrics[step]["loss"] / line["loss"] - 1))
        if len(metrics) != len(self.reference[1]) or apart > 1e-4:
            raise Failed(f"losses differ by {apart:.1e}")
        for path in (self.folder / "reference/pools").iterdir():
            if (
                pool_files.load(path).digest()
                != pool_files.load(run / "pools" / path.name).digest()
            ):
                raise Failed(f"{path.name} differs")
        return f"pools identical, losses within {apart:.0e}"


@contextlib.contextmanager
def _tmpfs(folder: Path) -> Iterator[Path | None]:
    """A small disk in memory; None where none may be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(path.parent.name))
    return found


def measure(drill: Callable[[], str]) -> dict:
    began = time.monotonic()
    name = drill.__name__.replace("_", " ")
    try:
        found, passed = drill(), "yes"
    except Failed as error:
        found, passed = " ".join(str(error).split()), "NO"
    seconds = round(time.monotonic() - began)
    row = {"drill": name, "passed": passed, "seconds": seconds, "what": found}
    print(json.dumps(row), flush=True)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", default=[], help="names of drills")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        drills = Drills(Path(folder), given.kills, given.seed)
        every = [
            drills.killed_at_random, drills.killed_in_writes, drills.signals, drills.disk_full,
            drills.data_fails, drills.worker_killed, drills.host_killed, drills.not_a_number,
            drills.other_devices,
        ]  # fmt: skip
        chosen = [d for d in every if not given.only or d.__name__ in given.only]
        rows = [measure(drill) for drill in chosen]
    print(markdown.table(rows))
    return 0 if all(row["passed"] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
