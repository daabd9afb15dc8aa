"""Captions to token ids: a byte-pair tokenizer trained on the captions, or CLIP's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from safeclip_jax.data import clip_vocabulary, tokenizer_file
from safeclip_jax.data.clip_vocabulary import END, START
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file, hugging_face

_BYTES = 256


class Tokenizer:
    """Encodes captions to a fixed number of token ids, as CLIP does.

    A row is start, words, end, then padding with `pad_id` (0). A caption that is too
    long loses words, never the end token, because the text tower reads its output
    there.

    Attributes:
      context: tokens in a row.
      vocab_size: number of ids.
      end_id: id of the end-of-text token.
    """

    pad_id = 0

    def __init__(self, backend: BackendTokenizer, context: int):
        if context < 3:
            raise UserError(f"data.context is {context}; at least 3 tokens are needed")
        start, end = backend.token_to_id(START), backend.token_to_id(END)
        if start is None or end is None:
            raise UserError(f"tokenizer lacks {START} or {END}; use one made for CLIP")
        self._backend = backend
        self._backend.no_padding()
        self._backend.no_truncation()
        self._backend.encode_special_tokens = True  # in a caption they are text
        self.context = context
        self.vocab_size = backend.get_vocab_size()
        self.start_id, self.end_id = start, end

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Returns int32 token ids of shape [len(captions), context]."""
        rows = np.full((len(captions), self.context), self.pad_id, np.int32)
        try:
            encodings = self._backend.encode_batch_fast(list(captions), add_special_tokens=False)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library's Rust code is no Exception
            raise UserError(f"the tokenizer fails at a text: {first_line(error)}") from None
        for row, encoding in zip(rows, encodings, strict=True):
            words = encoding.ids[: self.context - 2]
            row[: len(words) + 2] = [self.start_id, *words, self.end_id]
        return rows

    def save(self, path: Path) -> None:
        """Writes the tokenizer as one JSON file."""
        atomic_file.write_text(path, self._backend.to_str(pretty=True))

    def end_last(self) -> tuple[Tokenizer, np.ndarray]:
        """The same tokenizer with the end token's id moved to the last one.

        Other programs read a text at its largest id.

        Returns:
          The tokenizer, and for each of its ids the one of this tokenizer, int [vocab_size].
        """
        order = np.array([*np.delete(np.arange(self.vocab_size), self.end_id), self.end_id])
        new = {int(old): i for i, old in enumerate(order)}
        content = json.loads(self._backend.to_str())
        content["post_processor"] = None  # it would hold ids, and `encode` needs none
        model = content["model"]
        model["vocab"] = {token: new[i] for token, i in model["vocab"].items()}
        for token in content["added_tokens"]:
            token["id"] = new[token["id"]]
        content["added_tokens"].sort(key=lambda token: token["id"])
        return Tokenizer(BackendTokenizer.from_str(json.dumps(content)), self.context), order

    def save_for_transformers(self, folder: Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json` as transformers reads them.

        There the file itself says that a caption lies between start and end token.
        """
        backend = BackendTokenizer.from_str(self._backend.to_str())
        backend.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}",
            special_tokens=[(START, self.start_id), (END, self.end_id)],
        )
        backend.save(str(folder / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": self._backend.id_to_token(self.pad_id),
            "model_max_length": self.context,
            "model_input_names": ["input_ids", "attention_mask"],
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def train(captions: Iterable[str], vocab_size: int, context: int) -> Tokenizer:
    """Trains a lower-cased byte-level BPE tokenizer on captions; deterministic."""
    backend = BackendTokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|pad|>", START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    return Tokenizer(backend, context)


def load(path: Path, context: int) -> Tokenizer:
    """Reads a tokenizer that `Tokenizer.save` wrote.

    Raises:
      UserError: if the file is missing or not a tokenizer of CLIP's kind.
    """
    try:
        return Tokenizer(BackendTokenizer.from_str(tokenizer_file.read(path)), context)
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library's Rust code is no Exception
        raise UserError(f"tokenizer {path} cannot be read: {first_line(error)}") from None


def clips_own(context: int) -> Tokenizer:
    """CLIP's own tokenizer, which comes with this program."""
    return Tokenizer(clip_vocabulary.tokenizer(), context)


def pretrained(name: str, context: int) -> Tokenizer:
    """CLIP's own tokenizer, or another one of its kind that is on this machine.

    Nothing is downloaded: a run on many hosts would begin with as many downloads.

    Args:
      name: in `clip_vocabulary.NAMES`, a folder, or a name in the hub's cache.
      context: tokens in a row.

    Raises:
      UserError: if it is none of these.
    """
    if name in clip_vocabulary.NAMES:
        return clips_own(context)
    if Path(name).is_dir():
        return of_folder(Path(name), context)
    try:
        return _by_transformers(name, context)
    except ValueError:
        raise UserError(
            f"data.tokenizer={name}: no such folder, and not in the hub's cache: give a folder, "
            f"fetch it first with 'hf download {name}', or say 'clip' for CLIP's own, 'train' to "
            "train one on the captions"
        ) from None


def of_folder(folder: Path, context: int) -> Tokenizer:
    """Reads the tokenizer of another program's model, in whichever files it has.

    Raises:
      UserError: if there is none of CLIP's kind.
    """
    try:
        return _by_transformers(str(folder), context)
    except ValueError as error:
        raise UserError(f"{folder} holds no tokenizer of CLIP's kind: {error}") from None


def _by_transformers(name: str, context: int) -> Tokenizer:
    """Reads a tokenizer that is on this machine; `ValueError` with the reason if none is."""
    try:
        kind: Any = hugging_face.transformers().CLIPTokenizer
        backend = kind.from_pretrained(name, local_files_only=True).backend_tokenizer
    except Exception as error:
        raise ValueError(first_line(error)) from None
    if backend.get_vocab_size() < _BYTES:
        raise ValueError("no vocabulary")
    return Tokenizer(backend, context)
