import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.data import augment_text, tokenizer, wordnet
from safeclip_jax.data.pipeline import ImageReader, Loader, stage_order, steps_in_stage
from safeclip_jax.data.skipped import SkippedRecords
from safeclip_jax.data.sources import scenes
from safeclip_jax.data.sources.scenes import COLORS, SHAPES, Scenes
from safeclip_jax.errors import UserError


def test_scenes_are_a_function_of_seed_split_and_index():
    a, b = Scenes(40, 3), Scenes(90, 3)
    assert a.captions == b.captions[:40]
    for i in (0, 17, 39):
        np.testing.assert_array_equal(a[i].image, b[i].image)
    assert Scenes(40, 4).captions != a.captions
    assert Scenes(40, 3, "test").captions != a.captions
    assert not np.array_equal(Scenes(40, 3, "validation")[5].image, a[5].image)


@pytest.mark.parametrize("size", [32, 224])
def test_captions_name_what_is_drawn(size):
    scenes = Scenes(30, 0, size=size)
    for i, caption in enumerate(scenes.captions):
        pair = scenes[i]
        assert pair.image.shape == (size, size, 3) and pair.image.dtype == np.uint8
        assert scenes.class_names[pair.label] in caption.replace(",", "").split()
        name = next(word for word in caption.split() if word in COLORS)
        distance = np.abs(pair.image.astype(int) - COLORS[name]).sum(axis=2)
        assert (distance < 75).mean() > 0.03
    assert set(Scenes(500).labels) == set(range(len(SHAPES)))


def test_shapes_are_drawn_as_through_a_mask(monkeypatch):
    """A cut-out outside the image makes every shape take the way of those with one."""
    drawn = [Scenes(60, 2, size=48).image(i) for i in range(60)]
    elsewhere = [(9, 9), (9.5, 9), (9, 9.5)]
    through_a_mask = {name: (outline, cut or elsewhere) for name, (outline, cut) in SHAPES.items()}
    monkeypatch.setattr(scenes, "SHAPES", through_a_mask)
    masked = Scenes(60, 2, size=48)
    assert all(np.array_equal(image, masked.image(i)) for i, image in enumerate(drawn))


def test_bad_scenes_are_refused():
    with pytest.raises(UserError, match="0 pairs"):
        Scenes(0)
    with pytest.raises(UserError, match="did you mean 'validation'"):
        Scenes(3, split="valid")
    with pytest.raises(UserError, match="image size 8"):
        Scenes(3, size=8)


def test_tokenizer_keeps_the_end_of_long_captions(tmp_path):
    captions = Scenes(300).captions
    trained = tokenizer.train(captions, 400, 20)
    rows = trained.encode([captions[0], "a red star " * 50, "", "ÜNSEEN ☃ text"])
    assert rows.shape == (4, 20) and rows.dtype == np.int32 and rows.max() < trained.vocab_size
    assert (rows[:, 0] == trained.start_id).all()
    assert ((rows == trained.end_id).sum(axis=1) == 1).all()
    assert rows[1, -1] == trained.end_id and rows[2, 1] == trained.end_id
    trained.save(tmp_path / "tokenizer.json")
    again = tokenizer.load(tmp_path / "tokenizer.json", 20)
    np.testing.assert_array_equal(again.encode(captions), trained.encode(captions))
    same = tokenizer.train(captions, 400, 20)
    np.testing.assert_array_equal(same.encode(captions), trained.encode(captions))


def test_tokenizer_errors(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        tokenizer.load(tmp_path / "broken.json", 20)
    with pytest.raises(UserError, match="no tokenizer of CLIP's kind: no vocabulary"):
        tokenizer.pretrained(str(tmp_path), 77)
    with pytest.raises(UserError, match="no such folder, and not in the hub"):
        tokenizer.pretrained(str(tmp_path / "gone"), 77)
    with pytest.raises(UserError, match="at least 3"):
        tokenizer.train(["a"], 300, 2)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.integers(0, 2**32))
def test_caption_augmentation_keeps_to_the_captions_words(caption, seed):
    words = caption.split()
    changed = augment_text.augment(caption, augment_text.random_of(seed)).split()
    assert set(changed) <= set(words)
    assert abs(len(changed) - len(words)) <= max(1, round(0.1 * len(words)))
    assert bool(changed) == bool(words)


def test_every_caption_operation_occurs():
    caption = "a red star on a white background"
    results = {augment_text.augment(caption, augment_text.random_of(i)) for i in range(200)}
    assert {len(result.split()) for result in results} == {6, 7, 8}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 500), st.integers(1, 64), st.integers(0, 99))
def test_a_stage_sees_pairs_at_most_once_and_drops_less_than_a_batch(pairs, batch, seed):
    order = stage_order(np.arange(pairs) * 3, batch, (seed, 0, 0))
    assert len(order) == steps_in_stage(pairs, batch) * batch
    if pairs >= batch:
        assert len(set(order.tolist())) == len(order) > pairs - batch
    assert set(order.tolist()) <= set(range(0, 3 * pairs, 3))
    if 0 < pairs < batch:
        assert set(order.tolist()) == set(range(0, 3 * pairs, 3))


def loader(source, size=32, process=0, processes=1, **changes):
    skipped = changes.pop("skipped", SkippedRecords(source, 1.0))
    reader = ImageReader(source, size, changes.pop("cache", 2**30))
    trained = tokenizer.train(source.captions, 400, 20)
    place = {"process": process, "processes": processes}
    return Loader(source.captions, reader, trained, skipped, 5, 2, **place, **changes)


def test_batches_resume_anywhere_and_split_over_processes():
    source, pairs = Scenes(100), np.arange(10, 90)
    args = (pairs, 16, (3, 1), (True, True))
    whole = list(loader(source).training_batches(*args))
    assert len(whole) == 5
    resumed = list(loader(source, cache=0).training_batches(*args, start=3))
    halves = [list(loader(source, process=p, processes=2).training_batches(*args)) for p in (0, 1)]
    for name in ("index", "image", "tokens"):
        np.testing.assert_array_equal(resumed[0][name], whole[3][name])
        joined = np.concatenate([half[2][name] for half in halves])
        np.testing.assert_array_equal(joined, whole[2][name])
    other_epoch = next(loader(source).training_batches(pairs, 16, (4, 1), (True, True)))
    assert not np.array_equal(other_epoch["index"], whole[0]["index"])


def test_batches_hold_the_pairs_they_name():
    source = Scenes(50)
    batches = loader(source)
    for batch in batches.training_batches(np.arange(50), 16, (0, 0), (False,)):
        for row, i in enumerate(batch["index"]):
            np.testing.assert_array_equal(batch["image"][row], source[i].image)
            expected = batches.tokenizer.encode([source.captions[i]])
            np.testing.assert_array_equal(batch["tokens"][row], expected)


def test_caption_views_are_fresh_in_each_epoch_and_view():
    source = Scenes(64)
    at = {}
    for epoch in (0, 1):
        for batch in loader(source).training_batches(np.arange(64), 32, (epoch, 0), (True, True)):
            at.update(
                {(epoch, int(i)): t for i, t in zip(batch["index"], batch["tokens"], strict=True)}
            )
    differs = [not np.array_equal(at[0, i], at[1, i]) for i in range(64)]
    assert np.mean(differs) > 0.7
    assert np.mean([not np.array_equal(*at[0, i]) for i in range(64)]) > 0.6


def test_scoring_covers_every_pair():
    batches = list(loader(Scenes(50)).scoring_batches(np.arange(50), 16))
    index = np.concatenate([batch["index"] for batch in batches])
    assert len(index) == 64 and sorted(index[:50]) == list(range(50))


def write_wordnet(folder):
    """A thesaurus of three synsets in WordNet's file format."""
    folder.mkdir()
    nouns = (
        "  1 This software and database is being provided to you, the LICENSEE\n"
        "00001740 03 n 03 car 0 auto 0 motor_vehicle 0 000 | a machine\n"
        "00001930 03 n 02 picture 0 image 0 001 @ 00001740 n 0000 | a visual\n"
    )
    (folder / "data.noun").write_text(nouns)
    (folder / "data.adj").write_text("00001740 00 a 02 big(a) 0 large 0 000 | not small\n")
    (folder / "data.verb").write_text("")
    (folder / "data.adv").write_text("")
    return folder


def test_synonyms_come_from_wordnets_files(tmp_path, monkeypatch):
    folder = write_wordnet(tmp_path / "wordnet")
    synonyms = wordnet.Synonyms(folder)
    assert synonyms.of("Car") == ("auto", "motor vehicle")
    assert synonyms.of("large") == ("big",) and synonyms.of("dog") == ()
    assert wordnet.find(str(folder)) == folder and wordnet.find("") is None
    nltk = tmp_path / "nltk"
    (nltk / "corpora").mkdir(parents=True)
    folder.rename(nltk / "corpora" / "wordnet")
    monkeypatch.setenv("NLTK_DATA", str(nltk))
    assert wordnet.find("auto") == nltk / "corpora" / "wordnet"
    with pytest.raises(UserError, match="is no WordNet"):
        wordnet.Synonyms(tmp_path)


def test_all_four_operations_with_a_thesaurus(tmp_path):
    synonyms = wordnet.Synonyms(write_wordnet(tmp_path / "wordnet"))
    caption = "a picture of a big dog"
    results = {
        augment_text.augment(caption, augment_text.random_of(i), synonyms) for i in range(300)
    }
    assert "a image of a big dog" in results and "a picture of a large dog" in results
    inserted = {r for r in results if len(r.split()) == 7}
    assert inserted and all({"image", "large"} & set(r.split()) for r in inserted)
    assert {len(r.split()) for r in results} == {5, 6, 7}
    assert augment_text.augment("dog", augment_text.random_of(0), synonyms) == "dog"
    singles = {augment_text.augment("car", augment_text.random_of(i), synonyms) for i in range(50)}
    assert "auto" in singles and "" not in singles


def test_clips_own_tokenizer_from_a_folder_equals_transformers(tmp_path):
    """Files in the format of CLIP's tokenizer; its encoding is transformers' but for padding."""
    transformers = pytest.importorskip("transformers")
    trained = tokenizer.train(Scenes(300).captions, 500, 77)
    trained.save(tmp_path / "trained.json")
    model = json.loads((tmp_path / "trained.json").read_text())["model"]
    letters = list(tokenizer.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = sorted(letters) + [letter + "</w>" for letter in sorted(letters)]
    merges = [("h", "e"), ("r", "e"), ("re", "d</w>"), ("s", "t"), ("he", "a")]
    vocabulary += ["".join(pair) for pair in merges] + [tokenizer.START, tokenizer.END]
    assert model["vocab"]
    (tmp_path / "clip").mkdir()
    ids = {token: i for i, token in enumerate(vocabulary)}
    (tmp_path / "clip" / "vocab.json").write_text(json.dumps(ids))
    lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    (tmp_path / "clip" / "merges.txt").write_text(lines)
    theirs = transformers.CLIPTokenizer.from_pretrained(str(tmp_path / "clip"))
    for context in (12, 77):
        ours = tokenizer.pretrained(str(tmp_path / "clip"), context)
        captions = [*Scenes(20).captions, "", "A Red  HEART!", "word " * 200, "naïve ☃"]
        expected = theirs(captions, padding="max_length", max_length=context, truncation=True)[
            "input_ids"
        ]
        rows = ours.encode(captions)
        for row, reference in zip(rows, np.array(expected), strict=True):
            end = int(np.argmax(reference == ours.end_id))
            np.testing.assert_array_equal(row[: end + 1], reference[: end + 1])
            assert not row[end + 1 :].any()
