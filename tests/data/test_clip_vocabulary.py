"""CLIP's own tokenizer comes with the program, and no hub is asked for any."""

import gzip
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import safeclip_jax
from safeclip_jax.data import clip_vocabulary, tokenizer
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.training import experiment
from tests.support import data_files

TEXTS = [*Scenes(20).captions, "", "A Red  HEART!", "naïve ☃ 東京", "it's 2024, we're here...",
         "<|endoftext|> in a caption", "word " * 90]  # fmt: skip


@pytest.fixture
def offline(monkeypatch):
    """No connection may even be tried."""

    def refused(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.mark.parametrize("name", clip_vocabulary.NAMES)
def test_clips_tokenizer_is_at_hand_by_its_names(offline, name):
    words = tokenizer.pretrained(name, 77)
    assert (words.vocab_size, words.start_id, words.end_id) == (49408, 49406, 49407)
    row = words.encode(["A photo of a cat"])[0]  # ids that OpenAI's program gives
    assert row[:8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]


def test_it_encodes_as_transformers_does():
    from transformers import CLIPTokenizer

    made = clip_vocabulary.tokenizer()
    merges = [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]
    theirs = CLIPTokenizer(vocab=made.get_vocab(), merges=merges)
    backend = theirs.backend_tokenizer
    for text in TEXTS:
        assert backend.encode(text).ids[1:-1] == made.encode(text).ids, text


def test_it_survives_being_saved(tmp_path):
    words = tokenizer.clips_own(20)
    words.save(tmp_path / "tokenizer.json")
    back = tokenizer.load(tmp_path / "tokenizer.json", 20)
    np.testing.assert_array_equal(back.encode(TEXTS), words.encode(TEXTS))


def test_the_vocabulary_is_that_of_open_clip():
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("open_clip is not installed")
    theirs = Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(theirs.read_bytes()).decode().splitlines()[1:48895]
    ours = Path(clip_vocabulary.__file__).parent / "merges.txt.gz"
    assert gzip.decompress(ours.read_bytes()).decode().splitlines() == lines


@pytest.mark.parametrize("name", ["nobody/nothing", "bert-base-uncased", "models/gone", "a/b/c"])
def test_another_name_that_is_not_here_is_one_line_at_once(offline, name):
    with pytest.raises(UserError) as error:
        tokenizer.pretrained(name, 77)
    assert "\n" not in str(error.value)
    for part in (f"data.tokenizer={name}:", f"hf download {name}", "'clip'", "'train'"):
        assert part in str(error.value)


def test_a_name_in_the_hubs_cache_is_read(tmp_path):
    made = json.loads(clip_vocabulary.tokenizer().to_str())["model"]
    snapshot = tmp_path / "hub/models--some--clip/snapshots/0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub/models--some--clip/refs").mkdir()
    (tmp_path / "hub/models--some--clip/refs/main").write_text("0123")
    (snapshot / "vocab.json").write_text(json.dumps(made["vocab"]))
    merges = "".join(f"{a} {b}\n" for a, b in made["merges"])
    (snapshot / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    code = (
        "from safeclip_jax.data import tokenizer as t; print(t.pretrained('some/clip', 9).end_id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "49407\n", done.stderr


def test_your_data_takes_clips_words_and_no_network(offline, tmp_path):
    """What the command of `docs/data.md` builds, of a small model."""
    data_files.write_scenes_csv(tmp_path, data_files.scene_files(40))
    config = safeclip_jax.config("vitb32")
    config.data.source = f"csv:{tmp_path}/pairs.csv"
    config.model.preset, config.model.image_size = "vit_nano8", 32
    config.batch_size = config.score.batch_size = config.unimodal.bank_size = 8
    built = experiment.build(config)
    assert built.tokenizer.end_id == built.steps.model.config.text.end_id == 49407
