"""The peer of the benchmarks is the same function as our model, and learns from the same loss."""

import jax
import numpy as np
import pytest

from benchmarks import steps
from safeclip_jax.models import clip
from safeclip_jax.objectives import losses
from safeclip_jax.weights import links, open_clip
from tests.support import noise

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("preset, size", [("vit_nano8", 32), ("rn_nano", 32)])
def test_the_peer_computes_our_embeddings_and_our_loss(preset, size):
    from benchmarks import torch_clip

    config = steps.config_of(preset, size)
    data = steps.arrays(6, size, 1)
    images, tokens = data["image"], data["tokens"][:, 0]
    model = clip.CLIP(config)
    pixels = config.normalize(np.float32(images) / 255)
    variables = noise.variables(model, pixels, tokens)
    tensors = links.export(open_clip.links_of(config), variables)
    peer = torch_clip.CLIP(config)
    missing = peer.load_state_dict({k: torch.tensor(x) for k, x in tensors.items()}, False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    ours, _ = jax.jit(
        lambda v: model.apply(v, pixels, tokens, train=True, mutable=["batch_stats"])
    )(variables)
    seen = torch.from_numpy(images).permute(0, 3, 1, 2)
    theirs = peer.embed_images(seen), peer.embed_texts(torch.from_numpy(tokens).long())
    for mine, other in zip(ours[:2], theirs, strict=True):
        np.testing.assert_allclose(mine, other.detach().numpy(), atol=2e-5)
    expected = float(losses.clip_loss(*ours))
    assert abs(peer(seen, torch.from_numpy(tokens).long()).item() - expected) < 1e-4


def test_the_peers_step_lowers_its_loss():
    from benchmarks import torch_clip

    config = steps.config_of("vit_nano8", 32)
    data = steps.arrays(8, 32, 1)
    images = torch.from_numpy(data["image"]).permute(0, 3, 1, 2)
    tokens = torch.from_numpy(data["tokens"][:, 0]).long()
    torch.manual_seed(0)
    model = torch_clip.CLIP(config, torch.bfloat16)
    optimizer = torch_clip.make_optimizer(model, fused=False)
    for group in optimizer.param_groups:
        group["lr"] = 2e-3
    found = []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(images, tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]
    decayed, others = (len(group["params"]) for group in optimizer.param_groups)
    assert decayed + others == len(list(model.parameters())) and decayed > 10
