"""Plans of attacks on a dozen pairs that can be read at a glance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeclip_jax.attacks import backdoor, victims
from safeclip_jax.attacks import manifest as manifests
from safeclip_jax.attacks import targeted as targeting
from safeclip_jax.attacks.attack import Attack
from safeclip_jax.attacks.manifest import ChosenImage, Manifest, PoisonedPair
from safeclip_jax.attacks.poisoned_source import PoisonedSource
from safeclip_jax.data.sources.base import Columns, ImageSource
from safeclip_jax.errors import BadRecord, UserError

NAMES = ["bus", "owl", "fire", "fire engine"]


class Plain(ImageSource):
    """Pictures that show their number; some cannot be read."""

    def __init__(self, captions, labels=None, bad=()):
        keys = [f"key{i}" for i in range(len(captions))]
        super().__init__(Columns(list(captions), keys, labels, NAMES))
        self.bad = bad

    def image(self, index):
        if index in self.bad:
            raise BadRecord("torn")
        return np.full((2, 2, 3), index, np.uint8)


CAPTIONS = ["an owl", "a bus", "the BUS and an owl", "a busy street", "snow", "an old bus stop",
            "a fire", "a fire engine", "owls", "rain"]  # fmt: skip
SOURCE = Plain(CAPTIONS)


def planned(**changes):
    options = {"target": "owl", "count": 3, "triggers": ["one"], "seed": 0, **changes}
    return backdoor.plan(SOURCE, **options)


def drawn(seeds=range(60), **changes):
    return {pair.index for seed in seeds for pair in planned(seed=seed, **changes).pairs}


@pytest.mark.parametrize(
    "pairs, rate, count, expected",
    [(100, 0.0, 0, 0), (100, 0.05, 0, 5), (100, 1.0, 0, 100), (100, 0.05, 7, 7), (100, 0.0, 3, 3),
     (10, 0.16, 0, 2), (10, 0.06, 0, 1)],
)  # fmt: skip
def test_a_count_comes_before_a_rate(pairs, rate, count, expected):
    assert victims.poison_count(pairs, rate, count) == expected


@pytest.mark.parametrize(
    "rate, count, message",
    [(-0.1, 0, "no.* share between 0 and 1"), (1.1, 0, "no.* share"), (np.nan, 0, "no.* share"),
     (0.0, -1, "below 0"), (0.04, 0, r"raise it above 0\.05")],
)  # fmt: skip
def test_impossible_rates_and_counts_are_refused(rate, count, message):
    with pytest.raises(UserError, match=message):
        victims.poison_count(10, rate, count)


def test_victims_are_any_pairs_that_do_not_name_the_target():
    assert drawn() == {1, 3, 4, 5, 6, 7, 8, 9}
    assert drawn(victims="bus", count=2) == {1, 5}
    assert drawn(label_consistent=True, count=2) == {0, 2}
    assert drawn(label_consistent=True, count=2, victims="bus", captions="surrogate") == {0, 2}
    with pytest.raises(UserError, match="needs 9 victims, there are 8"):
        planned(count=9)
    assert len(planned(count=8).pairs) == 8
    with pytest.raises(UserError, match="none of the 10 captions"):
        planned(target="submarine")


def test_captions_name_the_target_or_stay():
    for seed in range(20):
        manifest = planned(seed=seed, triggers=["one", "two"], count=5)
        assert (manifest.kind, manifest.target) == ("backdoor", "owl")
        assert list(manifest.indices) == sorted(manifest.indices)
        assert manifest.indices.dtype == np.int32
        for pair in manifest.pairs:
            assert pair.caption in ("an owl", "the BUS and an owl")
            assert (pair.key, pair.original_caption) == (f"key{pair.index}", CAPTIONS[pair.index])
            assert pair.image == "" and pair.shown is None and pair.origin == pair.index
        names = [pair.trigger for pair in manifest.pairs]
        assert sorted((names.count("one"), names.count("two"))) == [2, 3]
    kept = planned(label_consistent=True, count=2)
    assert kept.kind == "label_consistent"
    assert [(p.index, p.caption) for p in kept.pairs] == [(0, CAPTIONS[0]), (2, CAPTIONS[2])]
    assert {p.trigger for p in planned(count=1, seed=3, triggers=["one", "two"]).pairs} == {"one"}


def test_copies_show_the_image_of_the_first_of_them():
    manifest = planned(count=7, copies=3)
    first = [pair.index for pair in manifest.pairs]
    assert [pair.origin for pair in manifest.pairs] == [first[i // 3 * 3] for i in range(7)]
    assert [pair.shown for pair in manifest.pairs][::3] == [None] * 3
    kept = planned(count=2, copies=2, label_consistent=True)
    assert [p.caption for p in kept.pairs] == [CAPTIONS[0]] * 2
    with pytest.raises(UserError, match="at least 1"):
        planned(copies=0)
    assert planned(count=0) == Manifest("backdoor", "owl")


def test_a_surrogate_takes_the_best_of_equals_in_their_order():
    def match(source, pairs, captions):
        assert list(pairs) == [1, 3, 4, 5, 6, 7, 8, 9] and list(captions) == [0, 2]
        return captions[np.arange(8) % 2], np.float32([0.1, 0.5, 0.9, 0.5, 0.5, 0.2, 0.5, 0.5])

    manifest = planned(captions="surrogate", match=match)
    assert [(p.index, p.caption) for p in manifest.pairs] == [
        (3, "the BUS and an owl"), (4, "an owl"), (5, "the BUS and an owl")
    ]  # fmt: skip
    with pytest.raises(UserError, match="needs attack"):
        planned(captions="surrogate")


def test_of_many_pairs_that_are_as_alike_the_first_ones_are_poisoned():
    pairs, donors = np.arange(100, 200), np.array([7])
    similarity = np.float32(np.random.default_rng(0).integers(0, 3, 100)) / 4

    def match(source, pairs, captions):
        return captions[np.zeros(100, int)], similarity

    found = backdoor._most_alike(SOURCE, pairs, donors, 50, match)
    in_order = sorted(range(100), key=lambda i: -similarity[i])  # a stable sort
    assert found == {100 + i: 7 for i in in_order[:50]}


def targeted(seed=0, **changes):
    held_out = Plain(["x"] * 8, np.array([0, 1, 2, 3] * 2, np.int32), bad=(1, 4))
    options = {"images": 3, "count": 6, "seed": seed, **changes}
    return targeting.plan(SOURCE, held_out, **options)


def test_targeted_poisons_show_chosen_images_under_captions_of_another_class():
    chosen = set()
    for seed in range(40):
        manifest = targeted(seed)
        assert (manifest.kind, manifest.target, len(manifest.chosen)) == ("targeted", "", 3)
        images = {image.key: image for image in manifest.chosen}
        assert list(manifest.indices) == sorted(set(manifest.indices))
        shown = [pair.image for pair in manifest.pairs]
        assert sorted(map(shown.count, images)) == [2, 2, 2]
        for pair in manifest.pairs:
            assert victims.mentions(pair.caption, images[pair.image].target)
            assert pair.caption in CAPTIONS and pair.trigger == ""
            assert (pair.key, pair.original_caption) == (f"key{pair.index}", CAPTIONS[pair.index])
        for image in manifest.chosen:
            assert image.key == f"key{image.index}"
            assert image.label == NAMES[image.index % 4] != image.target
        chosen |= {(image.index, image.target) for image in manifest.chosen}
    named = {"bus", "owl", "fire", "fire engine"}
    assert chosen == {(i, t) for i in (0, 2, 3, 5, 6, 7) for t in named - {NAMES[i % 4]}}


def test_targeted_poisons_can_have_one_class_and_texts_of_their_own():
    texts = {f"{start} a owl" for start in ("see", "this is")}
    manifest = targeted(target="owl", templates=["see a {}", "this is a {}"], images=4, count=9)
    assert {image.target for image in manifest.chosen} == {"owl"}
    assert "owl" not in {image.label for image in manifest.chosen}
    assert {pair.caption for pair in manifest.pairs} == texts
    assert targeted(count=0, images=3).chosen == targeted().chosen
    for changes, message in (
        ({"count": 2}, "2 poisons are too few"),
        ({"images": 0, "count": 0}, "not between 1 and 8"),
        ({"images": 9, "count": 9}, "not between 1 and 8"),
        ({"images": 7, "count": 7}, "only 6 images"),
        ({"target": "submarine"}, "none of the 10 captions names a class such as 'submarine'"),
    ):
        with pytest.raises(UserError, match=message):
            targeted(**changes)
    assert len(targeted(images=3, count=3).pairs) == 3
    assert len(targeted(images=6, count=6).chosen) == 6


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(
        st.sampled_from(["dog", "hot dog", "dog house", "bus", "ſ", "c++", "K", "s"]),
        min_size=1, unique=True,
    ),
    words=st.lists(
        st.sampled_from(["Hot", "dog", "house", "buſ", "BUS", "c++", "\u212a", "S", ","])
    ),
)  # fmt: skip
def test_the_captions_of_a_class_are_those_that_mention_it(names, words):
    source = Plain([" ".join(words), "dog bus"])
    expected = {
        name: [i for i in (0, 1) if victims.mentions(source.captions[i], name)] for name in names
    }
    expected = {name: found for name, found in expected.items() if found}
    if not expected:
        with pytest.raises(UserError, match="names a class"):
            victims.captions_of(source, names)
        return
    found = victims.captions_of(source, names)
    assert {name: indices.tolist() for name, indices in found.items()} == expected


def test_a_poisoned_source_changes_its_pairs_alone():
    pairs = (
        PoisonedPair(2, "key2", "bright", "", CAPTIONS[2], "new"),
        PoisonedPair(5, "key5", "bright", "", CAPTIONS[5], "newer", 7),
        PoisonedPair(6, "key6", "", "chosen", CAPTIONS[6], "newest"),
    )
    picture = np.full((2, 2, 3), 99, np.uint8)
    attack = Attack(
        Manifest("backdoor", "owl", pairs),
        {"bright": lambda image, index: image + 100 + index},
        {"chosen": picture},
    )
    found = attack.poisoned(SOURCE)
    captions = dict(enumerate(CAPTIONS)) | {2: "new", 5: "newer", 6: "newest"}
    values = dict(enumerate(range(10))) | {2: 2 + 100 + 2, 5: 7 + 100 + 7, 6: 99}
    assert list(found.captions) == list(captions.values()) and list(found.keys) == list(SOURCE.keys)
    assert [int(found.image(i)[0, 0, 0]) for i in range(10)] == list(values.values())
    clean = Attack(Manifest("backdoor", "owl"))
    assert clean.poisoned(SOURCE) is SOURCE and dict(clean.triggers) == dict(clean.chosen) == {}
    same = PoisonedSource(SOURCE, Manifest("backdoor", "owl"), attack.change)
    np.testing.assert_array_equal(same.image_numbers(), SOURCE.image_numbers())


def test_a_manifest_is_written_in_lines_and_read_again(tmp_path):
    chosen = (ChosenImage(4, "k", "bus", "owl"),)
    manifest = Manifest("targeted", "", planned(copies=2).pairs, chosen)
    manifest.save(tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    assert text.endswith("}\n") and '\n "kind": "targeted"' in text
    assert manifests.load(tmp_path / "m.json") == manifest
