"""The published linear probe against PyTorch's layer and optimiser, which its code uses."""

import math

import jax
import numpy as np
import pytest

from safeclip_jax.evaluation import published_probe
from tests.support.embedded import fake_source


def test_it_trains_as_pytorch_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    vectors = np.float32(rng.standard_normal((300, 8)) + 2 * np.eye(8)[labels])
    steps = published_probe.order(300, seed=3)
    assert steps.shape == (3 * 32, 128) and (steps[2::3] == -1).sum() == 32 * 84
    first = published_probe.initial(jax.random.key(1), 8, 4)
    assert np.abs(first["weight"]).max() <= 8**-0.5
    ours = published_probe.train(first, vectors, labels, steps)

    layer = torch.nn.Linear(8, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.asarray(first["weight"])))
        layer.bias.copy_(torch.tensor(np.asarray(first["bias"])))
    groups = [{"params": [layer.bias], "weight_decay": 0}, {"params": [layer.weight]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    for step, index in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.005 / 2 * (1 + math.cos(math.pi * step / len(steps)))
        there = torch.tensor(index[index >= 0].astype(np.int64))
        logits = layer(torch.tensor(vectors)[there])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.tensor(labels)[there]).backward()
        optimizer.step()
    np.testing.assert_allclose(ours["weight"], layer.weight.detach(), atol=1e-4)
    np.testing.assert_allclose(ours["bias"], layer.bias.detach(), atol=1e-4)


def test_its_accuracy_is_that_of_the_trained_layer(mesh):
    source, embed_images, embed_texts = fake_source(5, 60, learn=150, noise=1.6)
    found = published_probe.evaluate(embed_images, embed_texts, source, mesh)
    learn = source.to_learn()[0]
    vectors, labels = embed_images(learn).vectors, learn.labels
    layer = published_probe.initial(jax.random.key(0), vectors.shape[1], 5)
    layer = published_probe.train(layer, vectors, labels, published_probe.order(150, 0))
    test = embed_images(source.images).vectors
    right = (test @ layer["weight"].T + layer["bias"]).argmax(1) == source.images.labels
    assert found["published_probe_accuracy"].count == right.sum() and 0.4 < right.mean() < 1
