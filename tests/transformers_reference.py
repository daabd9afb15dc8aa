"""Transformers' CLIPModel of our shape, and our weights laid out as it wants them."""

import dataclasses

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from safeclip_jax.models import clip


def reference_model(config: clip.CLIPConfig, width=64, depth=2, heads=4):
    """A pair of models with both towers cut down to a width and depth."""
    shrink = {"width": width, "depth": depth, "heads": heads}
    config = dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, **shrink),
        text=dataclasses.replace(config.text, **shrink),
    )
    return clip.CLIP(config), Reference(config)


class Reference:
    def __init__(self, config: clip.CLIPConfig):
        shape = {
            "hidden_size": config.image.width,
            "intermediate_size": 4 * config.image.width,
            "num_hidden_layers": config.image.depth,
            "num_attention_heads": config.image.heads,
            "hidden_act": config.image.activation,
        }
        vision = {"image_size": config.image.image_size, "patch_size": config.image.patch}
        text = {
            "vocab_size": config.text.vocab_size,
            "max_position_embeddings": config.text.context,
            "eos_token_id": config.text.end_id,
            "bos_token_id": 1,
            "pad_token_id": 0,
        }
        both = CLIPConfig(
            text_config={**shape, **text},
            vision_config={**shape, **vision},
            projection_dim=config.embedding,
        )
        self.model = CLIPModel(both).eval()
        self._depth = config.image.depth

    def copy_from(self, params):
        p = params["params"]
        image, text = p["image"], p["text"]
        state = {
            "logit_scale": p["log_scale"],
            "visual_projection.weight": p["image_projection"]["kernel"].T,
            "text_projection.weight": p["text_projection"]["kernel"].T,
            "vision_model.embeddings.class_embedding": image["class_token"],
            "vision_model.embeddings.patch_embedding.weight": image["patches"]["kernel"].transpose(
                3, 2, 0, 1
            ),
            "vision_model.embeddings.position_embedding.weight": image["positions"],
            "text_model.embeddings.token_embedding.weight": text["tokens"]["embedding"],
            "text_model.embeddings.position_embedding.weight": text["positions"],
            **norm("vision_model.pre_layrnorm", image["norm_in"]),
            **norm("vision_model.post_layernorm", image["norm_out"]),
            **norm("text_model.final_layer_norm", text["norm_out"]),
        }
        for i in range(self._depth):
            block = f"block_{i}"
            state |= layer(f"vision_model.encoder.layers.{i}", image["transformer"][block])
            state |= layer(f"text_model.encoder.layers.{i}", text["transformer"][block])
        tensors = {name: torch.tensor(np.asarray(value)) for name, value in state.items()}
        missing, unexpected = self.model.load_state_dict(tensors, strict=False)
        assert not unexpected and all("position_ids" in name for name in missing)


def norm(prefix, p):
    return {f"{prefix}.weight": p["scale"], f"{prefix}.bias": p["bias"]}


def dense(prefix, p, inputs):
    return {
        f"{prefix}.weight": np.reshape(p["kernel"], (inputs, -1)).T,
        f"{prefix}.bias": np.reshape(p["bias"], -1),
    }


def layer(prefix, p):
    width = len(p["norm_mlp"]["scale"])
    state = norm(f"{prefix}.layer_norm1", p["norm_attention"])
    state |= norm(f"{prefix}.layer_norm2", p["norm_mlp"])
    for ours, theirs in zip(("q", "k", "v", "out"), ("q", "k", "v", "out"), strict=True):
        state |= dense(f"{prefix}.self_attn.{theirs}_proj", p["attention"][ours], width)
    state |= dense(f"{prefix}.mlp.fc1", p["mlp_in"], width)
    state |= dense(f"{prefix}.mlp.fc2", p["mlp_out"], 4 * width)
    return state
