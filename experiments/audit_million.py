"""A million pairs of 512 dimensions: time and memory of the auditor's scores and of its peers.

    python -m experiments.audit_million
    pip install faiss-cpu && python -m experiments.audit_million --only faiss

Made-up vectors in files; all cores. Each part is a process of its own: the auditor scores every
pair by every detector (neighbours among 8,192 reference pairs, by image and by caption) and looks
for near duplicates among all pairs; scikit-learn and faiss find the same neighbours by image alone.
Prints JSON lines, then a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import markdown
from safeclip_jax.auditing import groups
from safeclip_jax.auditing.detectors import NEIGHBORS, REFERENCES, Surroundings
from safeclip_jax.auditing.vectors import Vectors
from safeclip_jax.distributed import sharding
from safeclip_jax.system import cpu, host

WIDTH, CLASSES, AT_ONCE = 512, 1000, 10_000


def make(folder: Path, pairs: int) -> None:
    """Vectors of so many pairs round a thousand directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)
    files = [
        np.lib.format.open_memmap(folder / name, "w+", np.float32, (pairs, WIDTH))
        for name in ("images.npy", "texts.npy")
    ]
    for start in range(0, pairs, AT_ONCE):
        labels = rng.integers(0, CLASSES, AT_ONCE)
        for file in files:
            noise = rng.standard_normal((AT_ONCE, WIDTH), np.float32)
            x = directions[labels] + noise
            file[start : start + AT_ONCE] = x / np.linalg.norm(x, axis=1, keepdims=True)


def _read(folder: Path) -> Vectors:
    images, texts = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "texts"))
    return Vectors(images, texts, np.ones(len(images), bool))


def _reference(images: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array(images[np.sort(rng.choice(len(images), REFERENCES, replace=False))])


def scores(folder: Path) -> None:
    """All detectors of the auditor."""
    cpu.keep_freed_memory()
    host.set_up_jax()
    around = Surroundings.draw(_read(folder), 100.0, 0, sharding.make_mesh())
    around.scores(lambda done, total: None)
    around.shuffled()


def duplicates(folder: Path) -> None:
    """Near duplicates among all images, by the auditor."""
    vectors = _read(folder)
    groups.near(vectors.images, vectors.usable, 0)


def sklearn(folder: Path) -> None:
    """Neighbours by image among the reference pairs: scikit-learn's NearestNeighbors."""
    from sklearn.neighbors import NearestNeighbors

    images = _read(folder).images
    search = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="brute").fit(_reference(images))
    for start in range(0, len(images), AT_ONCE):
        search.kneighbors(images[start : start + AT_ONCE])


def faiss(folder: Path) -> None:
    """Neighbours by image among the reference pairs: faiss' IndexFlatIP."""
    import faiss

    images = _read(folder).images
    index = faiss.IndexFlatIP(WIDTH)
    index.add(_reference(images))
    for start in range(0, len(images), AT_ONCE):
        index.search(np.array(images[start : start + AT_ONCE]), NEIGHBORS)


PARTS: dict[str, Callable[[Path], None]] = {
    part.__name__: part for part in (scores, duplicates, sklearn, faiss)
}


def measure(part: str, folder: Path) -> dict:
    began = time.perf_counter()
    PARTS[part](folder)
    own = _own_mib()
    return {
        "part": part,
        "what": PARTS[part].__doc__,
        "seconds": round(time.perf_counter() - began, 1),
        "MiB": round(own),
        "peak MiB, mapped files included": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ),
    }


def _own_mib() -> float:
    """Memory of the process alone, without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=["scores", "duplicates", "sklearn"]
    )
    parser.add_argument("--vectors", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.vectors:
        print(json.dumps(measure(arguments.only[0], arguments.vectors)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), arguments.pairs)
        for part in arguments.only:
            command = [sys.executable, "-m", "benchmarks.audit_million", "--only", part]
            output = subprocess.check_output([*command, "--vectors", folder], text=True)
            rows.append(json.loads(output.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    print(markdown.table(rows))


if __name__ == "__main__":
    main()
