"""What do zero-shot classification and retrieval cost beyond the embedding? Seconds and memory.

    python -m benchmarks.evaluation

50,000 image vectors against 1,000 classes of 80 prompts each, and 5,000 images against 25,000
captions; vectors of 512 numbers that are made up, tasks that are the real ones. Retrieval
again with four times the captions shows what memory depends on. Each in a process of its own,
beside NumPy, which holds all similarities. Prints JSON lines, then a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import zlib

import numpy as np

from benchmarks import markdown
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation import retrieval, zero_shot

IMAGES, CLASSES, PROMPTS, SIZE = 50_000, 1_000, 80, 512
PICTURES, CAPTIONS = 5_000, 5


def vectors(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, SIZE), np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def embed_texts(texts) -> np.ndarray:
    return vectors(len(texts), zlib.crc32(texts[0].encode()))


def ours_zero_shot():
    images, labels = vectors(IMAGES, 0), np.arange(IMAGES) % CLASSES
    prompts = [[f"{c} {p}" for p in range(PROMPTS)] for c in range(CLASSES)]
    yield
    classes = zero_shot.class_vectors(embed_texts, prompts)
    _, ranks = zero_shot.classify(images, labels, classes, sharding.make_mesh())
    yield int(np.sum(ranks == 0)), int(np.sum(ranks < 5))


def numpy_zero_shot():
    images, labels = vectors(IMAGES, 0), np.arange(IMAGES) % CLASSES
    prompts = [[f"{c} {p}" for p in range(PROMPTS)] for c in range(CLASSES)]
    yield
    # The same texts at once as ours: made-up vectors depend on that.
    texts = [text for group in prompts for text in group]
    every = [embed_texts(texts[i : i + 4096]) for i in range(0, len(texts), 4096)]
    classes = np.concatenate(every).reshape(CLASSES, PROMPTS, SIZE).sum(axis=1)
    similarity = images @ (classes / np.linalg.norm(classes, axis=1, keepdims=True)).T
    own = similarity[np.arange(IMAGES), labels]
    ranks = (similarity > own[:, None]).sum(axis=1)
    yield int(np.sum(ranks == 0)), int(np.sum(ranks < 5))


def _retrieval_data(captions: int):
    images, texts = vectors(PICTURES, 0), vectors(PICTURES * captions, 1)
    of_images, of_texts = np.arange(PICTURES), np.repeat(np.arange(PICTURES), captions)
    texts += 0.15 * images[of_texts]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return images, texts, of_images, of_texts


def ours_retrieval(captions: int = CAPTIONS):
    images, texts, of_images, of_texts = _retrieval_data(captions)
    yield
    mesh = sharding.make_mesh()
    to_texts = retrieval.ranks(images, texts, of_images, of_texts, mesh)
    to_images = retrieval.ranks(texts, images, of_texts, of_images, mesh)
    yield int(np.sum(to_texts < 1)), int(np.sum(to_images < 1))


def numpy_retrieval(captions: int = CAPTIONS):
    images, texts, of_images, of_texts = _retrieval_data(captions)
    yield
    similarity = images @ texts.T
    best = np.argmax(similarity, axis=1)
    yield int(np.sum(of_texts[best] == of_images)), int(np.sum(similarity.argmax(0) == of_texts))


CASES = {
    "zero-shot 50,000 × 1,000 × 80": (ours_zero_shot, numpy_zero_shot),
    "retrieval 5,000 × 25,000": (ours_retrieval, numpy_retrieval),
    "retrieval 5,000 × 100,000": (lambda: ours_retrieval(20), lambda: numpy_retrieval(20)),
}


def measure(case: str, numpy: bool) -> dict:
    """One case in this process: the memory is what it takes beyond its input."""
    steps = CASES[case][numpy]()
    next(steps)
    before = _peak()
    start = time.perf_counter()
    hits = next(steps)
    return {
        "case": case,
        "by": "NumPy" if numpy else "ours",
        "seconds": round(time.perf_counter() - start, 2),
        "MiB beyond input": round(_peak() - before),
        "hits": hits,
    }


def _peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="only this one, in this process")
    parser.add_argument("--numpy", action="store_true", help="with --case: NumPy's way")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.numpy)))
        return
    rows = []
    for case in CASES:
        for numpy in ([], ["--numpy"]):
            command = [sys.executable, "-m", "benchmarks.evaluation", "--case", case, *numpy]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    print(markdown.table(rows))


if __name__ == "__main__":
    main()
