"""CLIP in plain PyTorch, to be measured beside ours: open_clip's models, loss and optimiser.

The names of its tensors are open_clip's, so that a model of ours that was exported for open_clip
loads, and a test can say that both are the same function. Attention is
`scaled_dot_product_attention`, norms give back the type that they got, and the stream between
blocks has the type of the computation. As with ours, images come as uint8 and are normalised on
the device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safeclip_jax.models.clip import MAX_LOG_SCALE, CLIPConfig
from safeclip_jax.models.resnet import ResNetConfig
from safeclip_jax.models.text import TextConfig
from safeclip_jax.models.vit import ViTConfig


class LayerNorm(nn.LayerNorm):
    """In float32 under autocast, and back."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        together = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = together.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, config: ViTConfig | TextConfig, causal: bool):
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.ln_1, self.ln_2 = LayerNorm(width), LayerNorm(width)
        self.attn = Attention(width, config.heads, causal)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, hidden))
        self.mlp.add_module("act", nn.GELU() if config.activation == "gelu" else QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, config: ViTConfig | TextConfig, causal: bool):
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(config, causal) for _ in range(config.depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class ViT(nn.Module):
    """Images [B, 3, S, S] to features [B, embedding]."""

    def __init__(self, config: ViTConfig, embedding: int):
        super().__init__()
        width, places = config.width, (config.image_size // config.patch) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, config.patch, config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(places, width) * width**-0.5)
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = Transformer(config, causal=False)
        self.proj = nn.Parameter(torch.randn(width, embedding) * width**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        token = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([token, x], dim=1) + self.positional_embedding.to(x.dtype)
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        wide = 4 * features
        self.conv1 = nn.Conv2d(channels, features, 1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(features, wide, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(features), nn.BatchNorm2d(features)
        self.bn3 = nn.BatchNorm2d(wide)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or channels != wide:
            shortcut = nn.Conv2d(channels, wide, 1, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.pool(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(self.pool(x))))


class AttentionPool(nn.Module):
    def __init__(self, places: int, width: int, heads: int, embedding: int):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(places + 1, width) * width**-0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, embedding)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        q, k, v = (
            project(y).view(len(x), -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)
            for project, y in ((self.q_proj, x[:, :1]), (self.k_proj, x), (self.v_proj, x))
        )
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).flatten(1))


class ResNet(nn.Module):
    """Images [B, 3, S, S] to features [B, embedding]."""

    def __init__(self, config: ResNetConfig, embedding: int):
        super().__init__()
        width = config.width
        stem = ((3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1))
        for i, (channels, features, stride) in enumerate(stem, 1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, features, 3, stride, 1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(features))
        channels = width
        for stage, count in enumerate(config.blocks):
            blocks = []
            for i in range(count):
                stride = 2 if stage and not i else 1
                blocks.append(Bottleneck(channels, width * 2**stage, stride))
                channels = 4 * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(config.blocks)
        places = (config.image_size // 32) ** 2
        self.attnpool = AttentionPool(places, channels, config.heads, embedding)

    def forward(self, x: Tensor) -> Tensor:
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        x = F.avg_pool2d(x, 2)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.attnpool(x)


class CLIP(nn.Module):
    """Two towers, and the loss of a batch.

    Args:
      config: one of ours, without a stem and with a class token.
      dtype: of the computation; in bfloat16 to be called under autocast.
    """

    def __init__(self, config: CLIPConfig, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.dtype = dtype
        text, embedding = config.text, config.embedding
        tower = ResNet if isinstance(config.image, ResNetConfig) else ViT
        self.visual = tower(config.image, embedding)
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(torch.randn(text.context, text.width) * 0.01)
        self.transformer = Transformer(text, causal=True)
        self.ln_final = LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.randn(text.width, embedding) * text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        for name, values in (("mean", config.mean), ("std", config.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images uint8 [B, 3, S, S] to unit vectors [B, D]."""
        return F.normalize(self.visual((images / 255 - self.mean) / self.std), dim=-1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Token ids [B, L], the end token's the largest, to unit vectors [B, D]."""
        x = (self.token_embedding(tokens) + self.positional_embedding).to(self.dtype)
        x = self.ln_final(self.transformer(x))
        x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)]
        return F.normalize(x @ self.text_projection, dim=-1)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """The CLIP loss."""
        image, text = self.embed_images(images), self.embed_texts(tokens)
        logits = self.logit_scale.exp() * image @ text.T
        true = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, true) + F.cross_entropy(logits.T, true)) / 2


def make_optimizer(model: CLIP, fused: bool) -> torch.optim.Optimizer:
    """open_clip's AdamW: decay on matrices alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, 1e-4, betas=(0.9, 0.999), fused=fused)


def clamp_scale(model: CLIP) -> None:
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOG_SCALE)
