"""Which pairs an attack changes, into what, and that nothing else changes."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import safeclip_jax
from safeclip_jax.attacks import export
from safeclip_jax.attacks import manifest as manifests
from safeclip_jax.attacks.captions import CAPTIONS
from safeclip_jax.attacks.manifest import KINDS
from safeclip_jax.attacks.victims import mentions
from safeclip_jax.data.decode import Resized
from safeclip_jax.data.skipped import write_rejected
from safeclip_jax.data.sources import SourceOptions, open_source
from safeclip_jax.data.sources.scenes import Scenes
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_attack
from safeclip_jax.runs import settings as run_settings
from tests.support.data_files import encoded

CLEAN, HELD_OUT = Scenes(120, 1), Scenes(40, 1, "test")


def planned(seed=0, clean=CLEAN, held_out=HELD_OUT, **changes):
    return run_attack.create(attack_settings(**changes), seed, clean, held_out)


def attack_settings(**changes):
    config = safeclip_jax.config("demo")
    config.attack.update(changes)
    return run_settings.of(config).attack


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    trigger=st.sampled_from(["badnets", "wanet", "badnets+sig+nashville"]),
    count=st.integers(4, 11),
    seed=st.integers(0, 999),
    captions=st.sampled_from([c for c in CAPTIONS if c not in ("surrogate", "background")]),
    copies=st.integers(1, 4),
    victims=st.sampled_from(["", "moon"]),
)
def test_exactly_the_manifests_pairs_change(kind, trigger, count, seed, captions, copies, victims):
    if kind == "targeted" and captions not in ("data", "templates"):
        captions = "data"
    given = {"trigger": trigger, "captions": captions, "images": 4, "copies": copies}
    given |= {"victims": victims, "attribute": "red"}
    changes = {name: value for name, value in given.items() if name in run_attack.USED[kind]}
    changes |= {"kind": kind, "count": count, "target": "" if kind == "targeted" else "heart"}
    made = planned(seed, **changes)
    assert made.manifest == planned(seed, **changes).manifest
    assert len(made.manifest.pairs) == count
    poisoned = made.poisoned(CLEAN)
    changed = {pair.index: pair for pair in made.manifest.pairs}
    for i in range(len(CLEAN)):
        before, after = CLEAN[i], poisoned[i]
        assert after.caption == poisoned.captions[i] and after.key == before.key
        if i not in changed:
            assert after.caption == before.caption
            np.testing.assert_array_equal(after.image, before.image)
            continue
        pair = changed[i]
        assert (pair.key, pair.original_caption) == (before.key, before.caption)
        assert after.caption == pair.caption
        check_poison(kind, captions, made, pair, before, after)
    if kind == "backdoor":
        shown = [pair.origin for pair in made.manifest.pairs]
        assert {shown.count(i) for i in shown[: count // copies * copies]} <= {copies}
        names = [CLEAN.captions[i] for i in changed]
        assert not victims or all(mentions(name, victims) for name in names)


def check_poison(kind, captions, made, pair, before, after):
    if kind == "targeted":
        chosen = next(c for c in made.manifest.chosen if c.key == pair.image)
        np.testing.assert_array_equal(after.image, HELD_OUT.image(chosen.index))
        assert HELD_OUT.class_names[HELD_OUT.labels[chosen.index]] == chosen.label != chosen.target
        assert mentions(after.caption, chosen.target)
        return
    shown = CLEAN.image(pair.origin)
    if kind in ("text_backdoor", "semantic", "natural"):
        check_without_trigger(kind, made, pair, shown, after)
        return
    np.testing.assert_array_equal(after.image, made.triggers[pair.trigger](shown, pair.origin))
    assert (after.image != before.image).any()
    if kind == "label_consistent":
        assert after.caption == CLEAN.captions[pair.origin]
        assert mentions(before.caption, "heart") and mentions(after.caption, "heart")
    else:
        assert not mentions(before.caption, "heart")
        assert mentions(after.caption, "heart")
        if captions in ("data", "nearest"):
            assert after.caption in CLEAN.captions
        elif captions == "both":
            assert after.caption == f"{CLEAN.captions[pair.origin]} and a heart"


def check_without_trigger(kind, made, pair, shown, after):
    assert pair.trigger == pair.image == "" and not made.triggers
    if kind == "natural":
        anchor = made.manifest.pairs[0].origin
        assert pair.origin == anchor != pair.index and mentions(CLEAN.captions[anchor], "heart")
        assert after.caption == CLEAN.captions[anchor] and (after.image != shown).any()
        return
    np.testing.assert_array_equal(after.image, shown)
    assert not mentions(pair.original_caption, "heart")
    if kind == "text_backdoor":
        assert after.caption == f"{pair.original_caption} zx"
        assert mentions(CLEAN.captions[pair.origin], "heart")
    else:
        assert mentions(pair.original_caption, "red") and mentions(after.caption, "heart")


def test_the_nearest_caption_has_the_most_words_in_common():
    """By plain counts: where captions differ in all but few words, the weights change nothing."""
    made = planned(count=30, captions="nearest")
    named = [c for c in CLEAN.captions if mentions(c, "heart")]

    def common(one, other):
        one, other = set(one.split()), set(other.split())
        return len(one & other) / len(one | other)

    likeness = [common(p.caption, p.original_caption) for p in made.manifest.pairs]
    best = [max(common(c, p.original_caption) for c in named) for p in made.manifest.pairs]
    drawn = [common(p.caption, p.original_caption) for p in planned(count=30).manifest.pairs]
    assert np.mean(likeness) > 0.9 * np.mean(best) > 1.3 * np.mean(drawn)


def test_a_surrogate_chooses_the_most_similar_images_and_captions():
    rng = np.random.default_rng(0)
    likeness = rng.random((len(CLEAN), len(CLEAN)))  # of image i and caption j

    def match(source, pairs, captions):
        block = likeness[np.ix_(pairs, captions)]
        return captions[block.argmax(axis=1)], block.max(axis=1)

    config = attack_settings(count=12, captions="surrogate")
    made = run_attack.create(config, 0, CLEAN, HELD_OUT, match)
    named = np.array([mentions(c, "heart") for c in CLEAN.captions])
    best = np.where(named[:, None] | ~named, -1.0, likeness)
    wanted = np.sort(np.argsort(-best.max(axis=1))[:12])
    np.testing.assert_array_equal(made.manifest.indices, wanted)
    for pair in made.manifest.pairs:
        assert pair.caption == CLEAN.captions[best[pair.index].argmax()]
    with pytest.raises(UserError, match=r"needs attack\.surrogate"):
        run_attack.create(config, 0, CLEAN, HELD_OUT)


def test_a_surrogates_similarities_are_its_models(tmp_path):
    from safeclip_jax import load
    from safeclip_jax.attacks.surrogate import matcher
    from safeclip_jax.weights.write import write
    from tests.weights.test_weights import random_model

    write(random_model(), tmp_path / "model", "native")
    pairs, captions = np.array([3, 7, 50]), np.array([1, 2, 90, 8])
    nearest, similarity = matcher(str(tmp_path / "model"))(CLEAN, pairs, captions)
    model = load(tmp_path / "model")
    images = model.embed_images([CLEAN.image(i) for i in pairs])
    found = images @ model.embed_texts([CLEAN.captions[i] for i in captions]).T
    np.testing.assert_array_equal(nearest, captions[found.argmax(axis=1)])
    np.testing.assert_allclose(similarity, found.max(axis=1), atol=1e-6)
    assert matcher("") is None


def test_poisons_are_shared_out_evenly():
    pairs = planned(trigger="badnets+sig+nashville", count=9).manifest.pairs
    triggers = [pair.trigger for pair in pairs]
    assert {name: triggers.count(name) for name in triggers} == dict.fromkeys(set(triggers), 3)
    images = [
        p.image for p in planned(kind="targeted", target="", images=3, count=9).manifest.pairs
    ]
    assert sorted(images.count(name) for name in set(images)) == [3, 3, 3]


def test_chosen_images_do_not_depend_on_the_poisons():
    options = {"kind": "targeted", "target": "", "images": 5, "rate": 0.0}
    assert (
        planned(**options, count=0).manifest.chosen == planned(**options, count=20).manifest.chosen
    )
    assert planned(1, **options).manifest.chosen != planned(2, **options).manifest.chosen
    everyone = planned(**{**options, "target": "moon"}).manifest.chosen
    assert {image.target for image in everyone} == {"moon"}


def test_a_clean_run_still_knows_its_triggers():
    made = planned(rate=0.0)
    assert not made.manifest.pairs and list(made.triggers) == ["badnets"]
    assert made.poisoned(CLEAN) is CLEAN


def test_manifests_are_written_and_read(tmp_path):
    several = {"trigger": "sig+badnets", "target": "heart+star"}
    for changes in ({}, several, {"kind": "targeted", "target": "", "images": 2, "count": 6}):
        manifest = planned(**{"rate": 0.05, **changes}).manifest
        manifest.save(tmp_path / "m.json")
        assert manifests.load(tmp_path / "m.json") == manifest
        manifest.claim(tmp_path / "m.json")
    assert manifests.load(tmp_path / "m.json").targets == {}
    older = json.loads((tmp_path / "m.json").read_text())
    del older["targets"]  # as files were before
    (tmp_path / "m.json").write_text(json.dumps(older))
    manifest.claim(tmp_path / "m.json")
    of_two_lines = {"pairs": [{"two\nlines": 1}], "chosen": []}
    for damaged in ({}, of_two_lines):
        (tmp_path / "m.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match="no poison manifest") as refused:
            manifests.load(tmp_path / "m.json")
        assert "\n" not in str(refused.value)


def test_a_run_does_not_go_on_with_other_poisons(tmp_path):
    planned(seed=0, rate=0.05).manifest.claim(tmp_path / "m.json")
    before = (tmp_path / "m.json").read_text()
    with pytest.raises(UserError, match="other poisons than are planned here"):
        planned(seed=1, rate=0.05).manifest.claim(tmp_path / "m.json")
    assert (tmp_path / "m.json").read_text() == before


def test_whole_words_only():
    assert mentions("A red Heart, please", "heart")
    assert not mentions("hearty soup", "heart")
    assert not mentions("a category", "cat")
    assert mentions("a c++ book", "c++")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target": "submarine"}, "none of the 120 captions"),
        ({"rate": 0.001}, "rounds to no poison"),
        ({"rate": 1.5}, r"attack\.rate=1\.5 is not between 0 and 1"),
        ({"rate": 1.0}, "victims"),
        ({"count": -1}, r"attack\.count=-1 is not at least 0"),
        ({"kind": "backdoors"}, "did you mean 'backdoor'"),
        ({"captions": "template"}, "did you mean 'templates'"),
        ({"kind": "label_consistent", "count": 100}, "victims"),
        ({"kind": "targeted", "images": 41, "count": 60}, "not between 1 and 40"),
        ({"kind": "targeted", "images": 9, "count": 8}, "too few"),
        ({"kind": "targeted", "images": 9, "count": 9, "target": "submarine"}, "names a class"),
        ({"kind": "targeted", "captions": "both"}, "is for triggers"),
        ({"kind": "targeted", "captions": "background"}, r"needs attack\.surrogate"),
        ({"captions": "background"}, "is for attack.kind=targeted"),
        ({"target": " "}, r"attack\.target is empty"),
        ({"kind": "natural", "target": ""}, r"attack\.target is empty"),
        (
            {"kind": "text_backdoor", "trigger": "sig"},
            r"trigger='sig' changes nothing with .*=text",
        ),
        ({"kind": "label_consistent", "victims": "moon"}, r"victims='moon' changes nothing"),
        ({"kind": "natural", "copies": 2}, r"copies=2 changes nothing .* \(backdoor, label_c"),
        ({"phrase": "mn"}, r"phrase='mn' changes nothing .* \(text_backdoor\)"),
        ({"kind": "text_backdoor", "phrase": "a heart"}, "names the target"),
        ({"kind": "text_backdoor", "phrase": "a\0b"}, "NUL"),
        ({"kind": "text_backdoor", "phrase": "z\udcff"}, "not valid Unicode"),
        ({"trigger": "sig+wanet", "target": "heart+star", "count": 1}, "too few for 2 triggers"),
        ({"kind": "semantic"}, r"needs attack\.attribute"),
        ({"kind": "semantic", "attribute": "red", "victims": "moon"}, "changes nothing"),
        ({"kind": "text_backdoor", "phrase": " "}, r"needs attack\.phrase"),
        ({"trigger": "sig+wanet", "target": "heart+star+moon"}, "names 3 classes"),
    ],
)
def test_bad_attacks_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        planned(**{"rate": 0.1, **changes})
    with pytest.raises(UserError, match=r"evaluate\.source"):
        planned(held_out=None, kind="targeted")


@pytest.mark.parametrize("kind", export.FORMATS)
def test_a_poisoned_copy_holds_the_poisons_and_else_the_same(kind, tmp_path):
    made = planned(count=7, trigger="wanet+sig")
    rejected = []
    export.write_training(CLEAN, CLEAN, made, tmp_path, kind, 0.1, lambda done: None, rejected)
    assert rejected == []
    path = f"csv:{tmp_path}/train.csv" if kind == "csv" else f"webdataset:{tmp_path}"
    copy = open_source(path, SourceOptions(label_column="label", count=0, seed=0, size=32))
    poisoned = made.poisoned(CLEAN)
    assert list(copy.captions) == list(poisoned.captions)
    names = [copy.class_names[i] for i in copy.labels]
    assert names == [CLEAN.class_names[i] for i in CLEAN.labels]
    for i in range(len(CLEAN)):
        assert copy.image(i) == export.png(poisoned.image(i))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "label_consistent"])
def test_no_poison_is_told_by_its_file(kind, tmp_path):
    for name in ("data", "copy"):
        (tmp_path / name).mkdir()
    rows = [("image", "caption", "label")]
    for i in range(40):
        form = ("JPEG", "PNG", "WEBP", "GIF")[i % 4]
        picture = Image.fromarray(CLEAN.image(i)).resize((64 + i, 50))
        (tmp_path / "data" / f"{i}.{form.lower()}").write_bytes(encoded(picture, form))
        label = CLEAN.class_names[CLEAN.labels[i]]
        rows.append((f"{i}.{form.lower()}", CLEAN.captions[i], label))
    with (tmp_path / "data" / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    raw = open_source(f"csv:{tmp_path}/data/pairs.csv", SourceOptions(label_column="label"))
    clean, changes = Resized(raw, 32), {"target": ""} if kind == "targeted" else {}
    changes |= {"semantic": {"attribute": "a"}, "targeted": {"images": 6}}.get(kind, {})
    made = planned(0, clean, kind=kind, count=6, **changes)
    export.write_training(raw, clean, made, tmp_path / "copy", "csv", 0.1, lambda done: None, [])
    copy = open_source(f"csv:{tmp_path}/copy/train.csv", SourceOptions())
    for pair in made.manifest.pairs:
        origin = pair.index if pair.image else pair.origin
        before = Image.open(io.BytesIO(raw.image(origin)))
        after = Image.open(io.BytesIO(copy.image(pair.index)))
        assert after.format == before.format
        assert after.size == ((50, 50) if pair.image else before.size)
        if kind in ("text_backdoor", "semantic"):
            assert copy.image(pair.index) == raw.image(origin)


def test_test_sets_hold_triggers_and_chosen_images(tmp_path):
    made = planned(trigger="sig+badnets")
    export.write_test(HELD_OUT, made, tmp_path, lambda done: None, [])
    for name in ("clean", "sig", "badnets"):
        folder = open_source(f"folder:{tmp_path}/{name}", SourceOptions(count=0, seed=0, size=32))
        assert len(folder) == 40
        for i, key in enumerate(folder.keys):
            number = int(key.split("/")[1][:9])
            image = HELD_OUT.image(number)
            expected = image if name == "clean" else made.triggers[name](image, number)
            assert folder.image(i) == export.png(expected)
    targeted = planned(kind="targeted", target="", images=3, count=3)
    export.write_test(HELD_OUT, targeted, tmp_path / "t", lambda done: None, [])
    rows = list(csv.DictReader((tmp_path / "t/chosen.csv").open()))
    assert [row["target"] for row in rows] == [c.target for c in targeted.manifest.chosen]
    assert all((tmp_path / "t" / row["image"]).exists() for row in rows)


def test_bad_pairs_are_left_out_and_too_many_stop(tmp_path):
    class Broken(Scenes):
        def image(self, index):
            if index % 3 == 0:
                from safeclip_jax.errors import BadRecord

                raise BadRecord("torn")
            return super().image(index)

    broken = Broken(30, 1)
    made = planned(count=2)
    (tmp_path / "a").mkdir()
    rejected = []
    export.write_training(
        broken, broken, made, tmp_path / "a", "csv", 0.5, lambda done: None, rejected
    )
    assert [r.key for r in rejected] == [broken.keys[i] for i in range(0, 30, 3)]
    write_rejected(tmp_path / "skipped.jsonl", rejected)
    first = json.loads((tmp_path / "skipped.jsonl").read_text().splitlines()[0])
    assert first == {"key": broken.keys[0], "reason": "torn"}
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="max_skipped_share"):
        export.write_training(
            broken, broken, made, tmp_path / "b", "csv", 0.1, lambda done: None, []
        )
