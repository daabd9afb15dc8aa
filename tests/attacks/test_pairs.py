"""Attacks that no trigger on an image tells: texts, attributes, repeated pictures, backgrounds."""

from itertools import combinations

import numpy as np
import pytest

from safeclip_jax.attacks import (
    backdoor,
    background,
    multi_target,
    natural,
    semantic,
    targeted,
    text_backdoor,
)
from safeclip_jax.attacks.surrogate import Encoder
from safeclip_jax.attacks.victims import mentions
from safeclip_jax.errors import UserError
from tests.attacks.test_poison import CAPTIONS, NAMES, SOURCE, Plain

OF_OWL, OF_OTHERS = {0, 2}, {1, 3, 4, 5, 6, 7, 8, 9}


def test_a_text_backdoor_shows_the_targets_images_under_marked_captions_of_others():
    seen, shown = set(), set()
    for seed in range(60):
        planned = text_backdoor.plan(SOURCE, target="owl", count=3, phrase=" zx", seed=seed)
        assert (planned.kind, planned.target, planned.chosen) == ("text_backdoor", "owl", ())
        assert list(planned.indices) == sorted(set(planned.indices)) and len(planned.pairs) == 3
        for pair in planned.pairs:
            assert pair.caption == CAPTIONS[pair.index] + " zx"
            assert (pair.key, pair.original_caption) == (f"key{pair.index}", CAPTIONS[pair.index])
            assert pair.trigger == pair.image == ""
        seen |= set(planned.indices.tolist())
        shown |= {pair.origin for pair in planned.pairs}
    assert seen == OF_OTHERS and shown == OF_OWL
    assert text_backdoor.plan(SOURCE, target="owl", count=0, phrase="zx", seed=0).pairs == ()


@pytest.mark.parametrize(
    "changes, message",
    [({"phrase": " "}, r"needs attack\.phrase"), ({"count": 9}, "needs 9 victims, there are 8"),
     ({"target": "submarine"}, "none of the 10 captions")],
)  # fmt: skip
def test_a_text_backdoor_that_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        text_backdoor.plan(
            SOURCE, **{"target": "owl", "count": 3, "phrase": "zx", "seed": 0} | changes
        )


def test_a_semantic_backdoor_keeps_the_images_that_have_the_attribute():
    options = {"target": "owl", "count": 2, "seed": 4}
    planned = semantic.plan(SOURCE, attribute="bus", **options)
    assert planned.kind == "semantic"
    assert {p.index for p in planned.pairs} == {1, 5}  # not 2, which names the target, nor a busy 3
    assert all(mentions(pair.caption, "owl") for pair in planned.pairs)
    assert all(pair.trigger == pair.image == "" and pair.shown is None for pair in planned.pairs)
    same = backdoor.plan(SOURCE, triggers=["x"], victims="bus", **options)
    assert [p.caption for p in same.pairs] == [p.caption for p in planned.pairs]
    for attribute, message in (("", r"needs attack\.attribute"), ("purple", "none of the 10")):
        with pytest.raises(UserError, match=message):
            semantic.plan(SOURCE, attribute=attribute, **options)


def test_a_natural_backdoor_repeats_one_pair():
    repeated = set()
    for seed in range(30):
        planned = natural.plan(SOURCE, target="owl", count=9, seed=seed)
        (origin,) = {pair.origin for pair in planned.pairs}
        assert set(planned.indices.tolist()) == set(range(10)) - {origin}
        assert {pair.caption for pair in planned.pairs} == {CAPTIONS[origin]}
        repeated.add(origin)
    assert repeated == OF_OWL
    with pytest.raises(UserError, match="needs 10 victims, there are 9"):
        natural.plan(SOURCE, target="owl", count=10, seed=0)


def test_a_near_duplicate_is_a_brighter_picture_moved_a_little():
    image = np.random.default_rng(0).integers(20, 200, (32, 48, 3), dtype=np.uint8)
    before, moves, brightness = image.copy(), set(), []
    for index in range(200):
        made = natural.near_duplicate(image, index)
        np.testing.assert_array_equal(made, natural.near_duplicate(image, index))
        found = []
        for down in range(-2, 3):
            for right in range(-3, 4):
                padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), "edge").astype(float)
                moved = padded[4 - down : 36 - down, 4 - right : 52 - right]
                bright = made.sum() / moved.sum()
                if np.abs(bright * moved - made).max() < 1.5:
                    found.append((down, right))
                    brightness.append(bright)
        assert len(found) == 1
        moves |= set(found)
    assert len(moves) > 25 and {down for down, _ in moves} == set(range(-2, 3))
    assert 0.89 < min(brightness) < 0.92 and 1.08 < max(brightness) < 1.11
    np.testing.assert_array_equal(image, before)


def test_each_trigger_has_its_own_target_and_an_equal_share():
    targets = {"one": "owl", "two": "bus"}
    seen = {name: set() for name in targets}
    for seed in range(60):
        planned = multi_target.plan(SOURCE, targets, count=5, seed=seed)
        assert (planned.kind, planned.target, planned.targets) == ("backdoor", "owl+bus", targets)
        assert list(planned.indices) == sorted(set(planned.indices.tolist()))
        names = [pair.trigger for pair in planned.pairs]
        assert (names.count("one"), names.count("two")) == (3, 2)
        for pair in planned.pairs:
            target = targets[pair.trigger]
            assert mentions(pair.caption, target) and pair.caption in CAPTIONS
            assert not mentions(pair.original_caption, target)
            seen[pair.trigger].add(pair.index)
    assert seen == {"one": OF_OTHERS, "two": {0, 3, 4, 6, 7, 8, 9}}
    of_one = multi_target.plan(SOURCE, targets, count=5, seed=3)
    alone = backdoor.plan(SOURCE, target="owl", count=3, triggers=["one"], seed=3)
    assert tuple(p for p in of_one.pairs if p.trigger == "one") == alone.pairs


def test_targets_go_to_triggers_in_their_order():
    assert multi_target.targets_of(["a", "b"], "owl+fire engine") == {
        "a": "owl",
        "b": "fire engine",
    }
    for triggers, target in ((["a", "b"], "owl"), (["a"], "owl+bus"), (["a", "b", "c"], "c++")):
        assert multi_target.targets_of(triggers, target) == {}
    with pytest.raises(UserError, match=r"names 3 classes and attack\.trigger 2 triggers"):
        multi_target.targets_of(["a", "b"], "owl+bus+fire")


def vector(text):
    """A made-up text tower: a direction of each word, by its letters; sums of them."""
    total = np.zeros(16)
    for word in text.lower().split():
        total += np.random.default_rng(list(word.encode())).standard_normal(16)
    return total / np.linalg.norm(total)


def embed(texts):
    return np.stack([vector(text) for text in texts])


def test_backgrounds_are_ranked_as_loops_rank_them():
    captions = ["an owl at night", "an owl in a snowy forest", "a white owl in a snowy forest",
                "owl", "an owl at night"]  # fmt: skip
    image = vector("a snowy forest")
    of_class = np.mean(
        [vector(f"a {kind} of a owl") for kind in ("photo", "picture", "drawing")], 0
    )
    of_class /= np.linalg.norm(of_class)

    def score(caption):
        words, best = caption.split(), -np.inf
        for gone in range(3):
            for out in combinations(range(len(words)), gone):
                kept = [w for i, w in enumerate(words) if i not in out]
                if kept:
                    best = max(best, vector(" ".join(kept)) @ (image - of_class))
        return best

    by_score = sorted(dict.fromkeys(captions), key=score, reverse=True)
    first = []
    for caption in by_score:
        words = set(caption.split())
        if all(len(words & set(f.split())) / len(words | set(f.split())) < 0.5 for f in first):
            first.append(caption)
    expected = first + [caption for caption in by_score if caption not in first]
    assert len(first) == 3 and expected != by_score
    assert background.Backgrounds(captions, "owl", embed).ranked(image) == expected
    assert background.jaccard("A red owl", "a blue owl") == 0.5


def test_targeted_poisons_get_the_captions_whose_background_fits():
    held_out = Plain(["x"] * 8, np.array([0, 1, 2, 3] * 2, np.int32))
    encoder = Encoder(embed, lambda image: vector(NAMES[int(image[0, 0, 0]) % 4]))
    options = {"images": 2, "count": 7, "seed": 1, "target": "bus"}
    planned = targeted.plan(SOURCE, held_out, encoder=encoder, **options)
    drawn = targeted.plan(SOURCE, held_out, **options)
    assert planned.chosen == drawn.chosen
    named = [c for c in CAPTIONS if mentions(c, "bus")]
    for chosen in planned.chosen:
        ranked = background.Backgrounds(named, "bus", embed).ranked(vector(NAMES[chosen.index % 4]))
        given = [pair.caption for pair in planned.pairs if pair.image == chosen.key]
        assert given == (ranked * 2)[: len(given)] and len(given) in (3, 4)
