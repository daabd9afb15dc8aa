"""Every preset on a small look-alike in TFDS' own format, and prompts from JSON files."""

import json
import re

import numpy as np
import pytest

from safeclip_jax.data import presets, prompts
from safeclip_jax.data.held_out import Request, open_held_out
from safeclip_jax.data.presets import PRESETS
from safeclip_jax.data.sources import SourceOptions
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation import retrieval, zero_shot
from tests.support.data_files import encoded, picture, write_tfds

DEVICES = 8

COLORS = ("red", "green", "blue", "yellow")
WORDNET = "  1 the licence\n"
SYNSETS = {}
for offset_words, above in (
    (("tench", "Tinca_tinca"), None), (("crane",), 0), (("crane",), 1), (("lifting_device",), None)
):  # fmt: skip
    offset = len(WORDNET)
    SYNSETS[len(SYNSETS)] = offset
    pointer = f"001 @ {SYNSETS[above]:08d} n 0000" if above is not None else "000"
    words = " ".join(f"{word} 0" for word in offset_words)
    WORDNET += f"{offset:08d} 05 n {len(offset_words):02x} {words} {pointer} | a gloss\n"
IMAGENET = [f"n{SYNSETS[i]:08d}" for i in range(3)] + ["n00000000"]


def labels_of(name):
    if name.startswith("imagenet"):
        return IMAGENET[:3]
    if name == "svhn":
        return ["0", "1", "2"]
    return ["background_google", "red_rose", "car_side"]


def by_color(images, trigger=None):
    """Vectors of images that are of one colour each: the colour."""
    from safeclip_jax.evaluation.task import Embedded

    means = np.stack([images.image(i).mean((0, 1)) - 100.0 for i in range(len(images))])
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return Embedded(vectors.astype(np.float32), np.arange(len(images)))


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"coco_captions"}))
def test_a_preset_opens_its_look_alike(name, tmp_path):
    preset, labels = PRESETS[name], labels_of(name)
    form = "png" if name.startswith(("cifar", "svhn")) else "jpeg"
    files = [encoded(picture(color), form.upper()) for color in COLORS]
    rows = [{"image": files[i % 3], "label": labels[i % 3]} for i in range(7)]
    splits = {preset.test: rows[:5]}
    if preset.occurring:
        splits[preset.test] = [row for row in rows[:5] if row["label"] != labels[0]]
    if preset.learn:
        splits[preset.learn] = rows
    if preset.validation:
        splits[preset.validation] = rows[:3]
    builder = "".join(part.title() for part in preset.tfds.split("_"))
    write_tfds(tmp_path / "data", builder, splits, labels, form=form)
    thesaurus = tmp_path / "wordnet"
    thesaurus.mkdir()
    (thesaurus / "data.noun").write_text(WORDNET)
    options = SourceOptions(split="test", data_dir=str(tmp_path / "data"), size=16)
    found = open_held_out(Request(name, options, wordnet=str(thesaurus)))
    words_of = [label.replace("_", " ") for label in labels]
    assert found.class_names == (words_of[1:] if preset.occurring else words_of)
    assert len(found.images) == len(splits[preset.test])
    words = {
        "svhn": "1, one",
        "imagenet-a": "crane, a kind of tench",
        "imagenet-r": "crane, a kind of tench",
    }.get(name, "red rose")
    if name in ("imagenet1k", "imagenetv2", "imagenet_sketch"):
        words = "crane, a kind of crane"
    assert sum(words in text for texts in found.prompts for text in texts) == len(preset.templates)
    assert not any(re.search("[{}_]", text) for texts in found.prompts for text in texts)
    if preset.learn:
        learn, validation = found.to_learn()
        assert len(learn) == 7 and (validation is None) == (not preset.validation)
    else:
        assert found.to_learn is None
    colors = by_color(found.images).vectors[[list(found.images.labels).index(i)
                                             for i in range(len(found.class_names))]]  # fmt: skip
    place = {text: i for i, texts in enumerate(found.prompts) for text in texts}
    figures = zero_shot.evaluate(
        by_color, lambda texts: colors[[place[t] for t in texts]], found, sharding.make_mesh()
    )
    assert figures["zero_shot_accuracy"].value == 1


def captions(color):
    return [{"text": f"{color} {i}"} for i in range(5)]


def test_coco_captions_are_retrieved_by_image(tmp_path):
    rows = [
        {
            "image": encoded(picture(color), "JPEG"),
            "captions": [{"text": f"{color} {i}"} for i in range(5)],
        }
        for color in COLORS
    ]
    write_tfds(tmp_path, "CocoCaptions", {"test": rows}, caption="captions")
    options = SourceOptions(split="test", data_dir=str(tmp_path), size=16)
    found = open_held_out(Request("coco_captions", options))
    vectors = by_color(found.images).vectors
    names = [caption.split()[0] for caption in found.images.captions]
    colors = dict(zip(names, vectors, strict=True))
    figures = retrieval.evaluate(
        by_color,
        lambda texts: np.stack([colors[text.split()[0]] for text in texts]),
        found,
        sharding.make_mesh(),
    )
    assert figures["text_recall_at_1"].of == 4 and figures["image_recall_at_1"].of == 20
    assert figures["text_recall_at_1"].value == figures["image_recall_at_1"].value == 1


def test_imagenet_needs_wordnet_or_words():
    with pytest.raises(UserError, match=r"wordnet-base.*JSON file of prompts"):
        presets.wording(PRESETS["imagenet1k"], IMAGENET[:3], "")


def test_words_come_from_a_json_file(tmp_path):
    path = tmp_path / "words.json"
    content = {"templates": ["a {}!"], "classes": {"n01": "fish"}, "prompts": {"n02": ["x", "y"]}}
    path.write_text(json.dumps(content))
    texts = prompts.read(str(path)).texts(["n01", "n02", "red_bird"])
    assert texts == [["a fish!"], ["x", "y"], ["a red bird!"]]
    request = Request("scenes", SourceOptions(count=4, split="test"), prompts=str(path))
    with pytest.raises(UserError, match="scenes has no class 'n01'"):
        open_held_out(request)


@pytest.mark.parametrize(
    "content, problem",
    [
        ("[", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "each hold {} once"),
        ("{}", "an object with some of"),
        ('{"template": ["{}"]}', "an object with some of"),
        ('{"templates": ["a {} {}"]}', "each hold {} once"),
        ('{"templates": ["a {x}"]}', "each hold {} once"),
        ('{"templates": "a {}"}', "each hold {} once"),
        ('{"classes": {"a": 3}}', "classes gives a text"),
        ('{"classes": ["a"]}', "classes gives a text"),
        ('{"prompts": {"a": []}}', "a list of texts"),
        ('{"prompts": {"a": "__import__(1)"}}', "a list of texts"),
    ],
)
def test_bad_prompts_get_one_line(content, problem, tmp_path):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(UserError, match=re.escape(problem)) as error:
        prompts.read(str(tmp_path / "words.json"))
    assert "\n" not in str(error.value) and "words.json" in str(error.value)


def test_a_probe_never_learns_from_what_it_is_tested_on():
    for split, can_learn in (("test", True), ("validation", True), ("train", False)):
        found = open_held_out(Request("scenes", SourceOptions(count=8, split=split)))
        assert (found.to_learn is not None) == can_learn
