"""The tokenizer's rows against what its backend says of each caption alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel
from tokenizers.models import BPE

from safeclip_jax.data import tokenizer
from safeclip_jax.errors import UserError

CAPTIONS = ["a red heart", "a blue star on a white table", "", "two Blue stars", "ein Stück ☃"]


@pytest.fixture(scope="module")
def trained():
    return tokenizer.train(CAPTIONS * 3, 290, 8)


def plain_row(found, caption, context):
    ids = found._backend.encode(caption, add_special_tokens=False).ids[: context - 2]
    row = [found.start_id, *ids, found.end_id]
    return row + [0] * (context - len(row))


@pytest.mark.parametrize("context", [3, 4, 8, 60])
def test_a_row_is_start_words_end_and_padding(context, trained, tmp_path):
    trained.save(tmp_path / "t.json")
    found = tokenizer.load(tmp_path / "t.json", context)
    rows = found.encode(CAPTIONS)
    assert rows.dtype == np.int32 and found.context == context and found.pad_id == 0
    assert rows.tolist() == [plain_row(found, caption, context) for caption in CAPTIONS]
    with pytest.raises(UserError, match="at least 3"):
        tokenizer.load(tmp_path / "t.json", 2)


def test_a_trained_vocabulary_has_the_bytes_and_as_many_merges_as_fit(trained):
    assert trained.vocab_size == 290
    assert [trained._backend.id_to_token(i) for i in range(3)] == ["<|pad|>", "<|startoftext|>",
                                                                  "<|endoftext|>"]  # fmt: skip
    assert (trained.start_id, trained.end_id) == (1, 2)
    tokens = trained._backend.encode("Ein ☃").tokens
    assert ByteLevel().decode(tokens) == " ein ☃"  # no byte is unknown
    same, lower = trained.encode(["Red HEART", "red heart"])
    np.testing.assert_array_equal(same, lower)
    joined, apart = trained.encode(["e\u0301", "\u00e9"])  # one letter, in two ways
    np.testing.assert_array_equal(joined, apart)
    # The first word of a caption is the same token as it is within.
    first, within = (trained._backend.encode(text).tokens for text in ("star", "a star"))
    assert within[-len(first) :] == first


def test_the_end_token_can_come_last(trained, tmp_path):
    moved, order = trained.end_last()
    assert moved.end_id == moved.vocab_size - 1 == 289 and moved.context == 8
    assert sorted(order) == list(range(290)) and order[-1] == trained.end_id
    before, after = (found._backend.id_to_token for found in (trained, moved))
    assert [after(i) for i in range(290)] == [before(int(i)) for i in order]
    np.testing.assert_array_equal(order[moved.encode(CAPTIONS)], trained.encode(CAPTIONS))
    moved.save(tmp_path / "moved.json")
    content = json.loads((tmp_path / "moved.json").read_text())
    ids = [token["id"] for token in content["added_tokens"]]
    assert ids == sorted(ids) and ids[-1] == 289


def test_for_transformers_a_caption_lies_between_start_and_end(trained, tmp_path):
    trained.save_for_transformers(tmp_path)
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    for caption in CAPTIONS:
        ids = backend.encode(caption).ids
        assert (ids[0], ids[-1]) == (trained.start_id, trained.end_id)
        assert ids[1:-1] == trained._backend.encode(caption, add_special_tokens=False).ids
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|pad|>",
        "model_max_length": 8,
        "model_input_names": ["input_ids", "attention_mask"],
    }


@pytest.mark.parametrize("count", [255, 256])
def test_a_vocabulary_that_cannot_hold_all_bytes_is_none(count, monkeypatch):
    words = {f"w{i}": i for i in range(count - 2)} | {
        tokenizer.START: count - 2, tokenizer.END: count - 1
    }  # fmt: skip
    backend = Backend(BPE(words, []))
    loaded = SimpleNamespace(backend_tokenizer=backend)
    found = SimpleNamespace(from_pretrained=lambda name, local_files_only: loaded)
    transformers = SimpleNamespace(CLIPTokenizer=found)
    monkeypatch.setattr(tokenizer.hugging_face, "transformers", lambda: transformers)
    if count == 256:
        assert tokenizer.pretrained("x", 9).end_id == 255
    else:
        with pytest.raises(UserError, match="not in the hub's cache"):
            tokenizer.pretrained("x", 9)


@pytest.mark.parametrize("missing", ["<|startoftext|>", "<|endoftext|>"])
def test_a_tokenizer_without_start_or_end_is_refused(missing, trained, tmp_path):
    trained.save(tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text().replace(missing, "<|other|>")
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match="use one made for CLIP"):
        tokenizer.load(tmp_path / "t.json", 8)
