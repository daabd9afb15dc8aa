import subprocess
import sys
import textwrap

import jax
import numpy as np

from benchmarks import collectives, pairs, scaling_model
from experiments import captions_left_out, score_batches
from safeclip_jax.data.sources.scenes import BACKGROUNDS, TEMPLATES
from safeclip_jax.distributed import sharding
from safeclip_jax.objectives import losses
from safeclip_jax.objectives.chunked import Chunks

DEVICES = 8

PROGRAM = """
body.1 (p: f32[8]) -> f32[8] {
  %r = f32[4,2]{1,0} all-reduce(f32[4,2]{1,0} %p), to_apply=%add
}
ENTRY %main (p: f32[8]) -> f32[8] {
  %g = (f32[16]{0}, bf16[8]{0}) all-gather(f32[4]{0} %p, bf16[2]{0} %q), dimensions={0}
  %s = f32[4]{0} reduce-scatter(f32[16]{0} %p), to_apply=%add
  %w = f32[8] while(%t), condition=%c, body=%body.1, backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_collectives_are_counted_as_a_ring_sends_them_and_loops_as_often_as_they_run():
    found = collectives.sent(PROGRAM, 4)
    assert found == {
        "all-gather": (16 * 4 + 8 * 2) * 3 / 4,
        "reduce-scatter": 4 * 4 * 3,
        "all-reduce": 3 * 8 * 4 * 2 * 3 / 4,
    }


def test_the_chunked_loss_moves_two_arrays_of_embeddings_whatever_the_batch():
    chunks = Chunks(64, sharding.make_mesh(1, jax.devices()[:4]))
    split = sharding.batch_sharding(chunks.mesh)
    gradient = jax.grad(lambda a, b: losses.clip_loss(a, b, 10.0, chunks), (0, 1))
    run = jax.jit(gradient, in_shardings=(split, split), out_shardings=(split, split))
    for batch in (256, 1024):
        x = jax.ShapeDtypeStruct((batch, 32), np.float32)
        moved = sum(collectives.sent(run.lower(x, x).compile().as_text(), 4).values())
        embeddings = 4 * batch * 32 * 3 / 4
        # Gathered for the sums (the backward pass shares it), scattered gradients; numbers a pair.
        assert 2 * embeddings < moved < 3.5 * embeddings


def test_captions_that_name_a_background_are_told_from_those_that_do_not():
    for template in TEMPLATES:
        for background in BACKGROUNDS:
            words = {"color": "red", "shape": "ring", "position": "top", "background": background}
            caption = template.format(**words)
            assert captions_left_out.names_a_background(caption) == ("{background}" in template)


def test_the_scaling_models_operations_are_those_of_the_matrix_products():
    """ViT-B/32: patches, blocks of both towers and projections, counted by hand."""
    patches, words, out = 50, 77, 512

    def blocks(tokens, width, depth):
        return depth * (2 * 12 * tokens * width**2 + 4 * tokens**2 * width)

    expected = 2 * 49 * 32 * 32 * 3 * 768 + blocks(patches, 768, 12) + blocks(words, 512, 12)
    expected += 2 * out * (768 + 512)
    found = scaling_model.model("vit_b32")
    assert abs(found.flops / expected - 1) < 0.03
    assert found.parameters == 151_277_313


def test_what_pairs_ask_of_a_host_is_a_line_through_two_sizes():
    def size(pairs):
        steps = ("order", "pools of an epoch", "stages of an epoch", "save")
        return {
            "pairs": pairs,
            "run_peak_bytes": 2**30 + 20 * pairs,
            "index_bytes_a_pair": 110.0,
            "pools_file_bytes_a_pair": 4.125,
            "steps": {name: {"seconds": 1 + pairs / 1e7} for name in steps},
        }

    found = scaling_model.of_pairs(400_000_000, [size(n) for n in (10**6, 10**7, 10**8)])
    assert found["pairs"] == "400 M" and found["GiB a host"] == f"{1 + 8e9 / 2**30:.1f}"
    assert found["index, GB"] == "44.0" and found["pools, GB an epoch"] == "1.65"
    assert {found[name] for name in found if name.startswith("s, ")} == {"41"}


def test_the_memory_of_children_counts_and_mapped_pages_do_not(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones(4_000_000))
    code = """
        import numpy as np, subprocess, sys
        mapped = np.load(sys.argv[1], mmap_mode="r").sum()
        child = "import numpy as np; x = np.ones(8_000_000); print('there', flush=True); input()"
        subprocess.run([sys.executable, "-c", child], check=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "rows.npy")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "there\n"
        found = pairs.anonymous(process.pid)
        process.communicate("\n")
    assert 64e6 < found < 64e6 + 60e6


def test_scores_in_batches_are_of_every_pair_and_its_batch_alone():
    rng = np.random.default_rng(0)
    images, texts = (rng.normal(size=(22, 8)).astype(np.float32) for _ in range(2))
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    of_all = [
        score_batches.in_batches(kind, images, texts, 7.0, 8, seed=3)
        for kind in ("relative", "typical")
    ]
    order = np.random.default_rng(3).permutation(22)
    for start in (0, 8, 16):
        batch = np.concatenate([order[start : start + 8], order])[:8]
        logits = 7.0 * images[batch].astype(np.float64) @ texts[batch].T
        both = sum(np.log(np.exp(logits).sum(axis)) for axis in (0, 1)) / 2
        relative = 1 - (both - np.diag(logits)) / np.log(8)
        guess = np.exp(logits) / np.exp(logits).sum(axis=0)
        typical = 1 + np.log(np.diag(guess)) / np.log(8)
        typical -= np.sum(guess * np.log(guess), axis=0) / np.log(8)
        for found, expected in zip(of_all, (relative, typical), strict=True):
            mine = found[batch[: 22 - start]]
            np.testing.assert_allclose(mine, expected[: 22 - start], atol=1e-5)
