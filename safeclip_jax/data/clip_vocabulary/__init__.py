"""CLIP's own tokenizer, from the vocabulary that OpenAI published (Radford et al., 2021).

It lies beside this file, so that no hub is asked for it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"
NAMES = (
    "clip",
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
)
SIZE = 49408
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def tokenizer() -> Tokenizer:
    """Lower-cased byte-level BPE of 49,408 tokens; the last two are start and end."""
    text = gzip.decompress((Path(__file__).parent / "merges.txt.gz").read_bytes()).decode()
    first, second = zip(*(line.split() for line in text.splitlines()), strict=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += [a + b for a, b in zip(first, second, strict=True)]
    ids = {token: i for i, token in enumerate([*tokens, START, END])}
    merges = list(zip(first, second, strict=True))
    made = Tokenizer(models.BPE(ids, merges, unk_token=END, end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.add_special_tokens([START, END])
    return made
