"""What do a million, ten and a hundred million pairs cost a host? Memory and seconds.

    python -m benchmarks.pairs                    # writes results/pairs.json

A WebDataset whose index names so many pairs, all of them images of one small shard, so that
everything but the shard is as large as it would be. For each number of pairs three processes:

- `build` writes the index, record by record, as if it read them.
- `run` trains SafeCLIP+ on it by the program itself, two steps a stage and a tiny model, with two
  worker processes, from nothing to the report. Only scores and distances are drawn instead of
  computed: to embed so many images would take days here.
- `pools` does one after the other what a run does with all pairs between its stages.

A fourth process reads, a hundred times a second, the anonymous memory of each of them and its
children: what the system cannot take back, without the pages of mapped files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import markdown
from benchmarks.result_file import FOLDER, ResultFile, host

SIZES = (1_000_000, 10_000_000, 100_000_000)
IMAGES = 1000  # in the shard
_THINGS = ("a red vintage car", "two brown dogs", "an old stone bridge", "a bowl of fresh fruit")
_PLACES = ("in front of a white house", "beside the quiet river", "on a wooden table", "at night")
_EVERY = 0.01  # seconds between two looks at the memory


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Tells the process that watches what this one does and how long it took."""
    print(f"begin {name}", flush=True)
    start = time.perf_counter()
    yield
    print(f"end {name} {time.perf_counter() - start}", flush=True)


def build(pairs: int, folder: Path) -> None:
    """The index of so many pairs in the run's folder, and the run's tokenizer."""
    from safeclip_jax.data import tokenizer
    from safeclip_jax.data.sources import webdataset
    from safeclip_jax.data.sources.columns import ColumnsBuilder
    from safeclip_jax.data.sources.index import IndexCache
    from safeclip_jax.data.sources.scenes import Scenes

    places = _write_shard(folder / "shards")

    def fill(root: str, shards: list, caption: str, label: str, columns: ColumnsBuilder) -> None:
        for i in range(pairs):
            text = f"{_THINGS[i % 4]} {_PLACES[i // 4 % 4]}, picture {i}"
            columns.add(f"00000/{i:09d}", text, place=places[i % IMAGES])

    webdataset._read = fill  # in place of what reads the shard's own records
    (folder / "run").mkdir()
    tokenizer.train(Scenes(200).captions, 400, 16).save(folder / "run" / "tokenizer.json")
    with step("index"):
        webdataset.WebDataset(str(folder / "shards"), cache=IndexCache(folder / "run" / "index"))


def _write_shard(folder: Path) -> list[tuple[int, int, int]]:
    """A shard of images; shard number, offset and size of each."""
    from PIL import Image

    from safeclip_jax.data.sources.scenes import Scenes

    folder.mkdir()
    scenes = Scenes(IMAGES)
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for i in range(IMAGES):
            buffer = io.BytesIO()
            Image.fromarray(scenes.image(i)).save(buffer, "JPEG")
            member = tarfile.TarInfo(f"{i:09d}.jpg")
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
    with tarfile.open(folder / "00000.tar") as tar:
        return [(0, member.offset_data, member.size) for member in tar]


def run(pairs: int, folder: Path) -> None:
    """A run of the program from nothing to the report."""
    from absl import flags

    import safeclip_jax
    from safeclip_jax.system import cpu, host
    from safeclip_jax.training import loop, scoring

    flags.FLAGS.mark_as_parsed()  # Grain reads its own
    cpu.keep_freed_memory()
    host.set_up_jax()
    config = safeclip_jax.config("demo")
    config.defense, config.epochs, config.max_steps = "safeclip_plus", 4, 2
    config.data.source, config.data.pairs = f"webdataset:{folder / 'shards'}", 0
    config.data.workers, config.model.preset = 2, "nano"
    config.attack.rate, config.evaluate.source, config.evaluate.every = 0.0, "", 0
    scoring.scores = lambda x, state, epoch, *_: drawn(pairs, epoch)
    scoring.distances = lambda x, state, epoch, *_: drawn(pairs, epoch)
    taken = loop.Trainer._next

    def first(trainer: loop.Trainer, batches: Iterator) -> dict:
        batch = taken(trainer, batches)
        loop.Trainer._next = taken
        until_first.close()
        return batch

    until_first, whole = contextlib.ExitStack(), contextlib.ExitStack()
    whole.enter_context(step("run"))
    until_first.enter_context(step("first batch"))
    loop.Trainer._next = first
    loop.run(config, folder / "run")
    whole.close()


def drawn(pairs: int, seed: int) -> np.ndarray:
    """Scores of a sixth of misfits and of others, float32 [pairs]; some are missing."""
    rng = np.random.default_rng([seed, pairs])
    scores = rng.standard_normal(pairs, np.float32)
    scores *= 0.1
    scores += 0.6
    scores[: pairs // 6] -= 0.5
    scores[::1001] = np.nan
    return scores


def pools(pairs: int, folder: Path) -> None:
    """What a run does with all pairs between its stages."""
    from safeclip_jax.data.pipeline import stage_order
    from safeclip_jax.defenses import pool_files
    from safeclip_jax.defenses.pools import split
    from safeclip_jax.defenses.safeclip_plus import SafeCLIPPlus
    from safeclip_jax.report import pool_history

    pairs_of_stage = np.arange(pairs, dtype=np.int32)
    with step("order"):
        stage_order(pairs_of_stage, 512, (0, 7, 0))
    scores = drawn(pairs, 0)
    with step("split by threshold"):
        before = split(scores, seed=0, threshold=0.9)
    with step("split by share"):
        before = split(scores, seed=0, share=0.7)
    defense = SafeCLIPPlus()
    scores = drawn(pairs, 1)
    with step("pools of an epoch"):
        after = defense.pools(9, scores, before)
    del before, scores
    with step("stages of an epoch"):
        for stage in defense.stages(9):
            stage.part.indices(pairs, after)
    path = pool_files.path(folder / "alone", 0)
    path.parent.parent.mkdir()
    with step("save"):
        pool_files.save(after, path)
    del after
    with step("load"):
        pool_files.load(path)
    with step("history"):
        pool_history.read(folder / "alone", pairs)


PARTS = {"build": build, "run": run, "pools": pools}


def watched(part: str, pairs: int, folder: Path) -> dict[str, dict]:
    """Runs a part in a process of its own.

    Returns:
      Of each step: `seconds`, and anonymous bytes at its beginning and at most.
    """
    flags = ["--only", part, "--pairs", str(pairs), "--folder", str(folder)]
    command = [sys.executable, "-m", "benchmarks.pairs", *flags]
    steps: dict[str, dict] = {}
    under_way: list[str] = []
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        thread = threading.Thread(target=_watch, args=(process, steps, under_way))
        thread.start()
        assert process.stdout is not None
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "begin":
                now = anonymous(process.pid)
                steps[rest] = {"before": now, "peak": now, "since_start": 0.0}
                under_way.append(rest)
            elif word == "end":
                name, _, seconds = rest.rpartition(" ")
                under_way.remove(name)
                steps[name]["seconds"] = round(float(seconds), 2)
                steps[name]["since_start"] = round(time.perf_counter() - began, 2)
        thread.join()
    if process.returncode:
        raise SystemExit(f"{part} of {pairs} pairs ended with {process.returncode}")
    return steps


def _watch(process: subprocess.Popen, steps: dict[str, dict], under_way: list[str]) -> None:
    while process.poll() is None:
        now = anonymous(process.pid)
        for name in list(under_way):
            steps[name]["peak"] = max(steps[name]["peak"], now)
        time.sleep(_EVERY)


def anonymous(pid: int) -> int:
    """Anonymous memory of a process and its children, in bytes.

    A child that has not yet begun its own program shares its parent's pages, and is not counted.
    """
    total, process = 0, Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += 1024 * int(line.split()[1])
        program = (process / "cmdline").read_bytes()
        for task in (process / "task").iterdir():
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/cmdline").read_bytes() != program:
                    total += anonymous(int(child))
    return total


def measure(pairs: int, parent: Path | None) -> dict:
    """All figures of one number of pairs."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        steps = watched("build", pairs, folder)
        index = sum(path.stat().st_size for path in (folder / "run" / "index").rglob("*.npy"))
        steps |= watched("run", pairs, folder) | watched("pools", pairs, folder)
        saved = (folder / "alone" / "pools" / "epoch_000.npz").stat().st_size
    return {
        "pairs": pairs,
        "index_bytes_a_pair": round(index / pairs, 2),
        "pools_file_bytes_a_pair": round(saved / pairs, 2),
        "seconds_to_first_batch": steps["first batch"]["since_start"],
        "run_peak_bytes": steps["run"]["peak"],
        "run_peak_bytes_a_pair": round(steps["run"]["peak"] / pairs, 1),
        "steps": {
            name: {
                "seconds": found["seconds"],
                "peak_bytes_a_pair": round(found["peak"] / pairs, 1),
                "growth_bytes_a_pair": round((found["peak"] - found["before"]) / pairs, 2),
            }
            for name, found in steps.items()
        },
    }


def show(sizes: list[dict]) -> None:
    rows = [
        {k: v for k, v in size.items() if k not in ("steps", "run_peak_bytes")} for size in sizes
    ]
    print(markdown.table(rows) + "\n")
    rows = [
        {
            "step": name,
            **{f"s, {size['pairs'] // 10**6} M": size["steps"][name]["seconds"] for size in sizes},
            **{
                f"B a pair more, {size['pairs'] // 10**6} M": size["steps"][name][
                    "growth_bytes_a_pair"
                ]
                for size in sizes
            },
        }
        for name in sizes[0]["steps"]
    ]
    print(markdown.table(rows))


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.pairs", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="for 12 GB at 100 M pairs; default: temporary")
    parser.add_argument("--out", type=Path, default=FOLDER / "pairs.json")
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        return PARTS[arguments.only](arguments.pairs[0], arguments.folder)
    file = ResultFile(arguments.out)
    for pairs in arguments.pairs:
        file.add(measure(pairs, arguments.folder) | {"device": host()})
    show(file.rows)


if __name__ == "__main__":
    main()
