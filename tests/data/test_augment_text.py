"""Caption augmentation: which captions each operation can make, and how often it makes them."""

import itertools
from collections import Counter
from random import Random

import pytest
from scipy.stats import chisquare

from safeclip_jax.data import augment_text

WORDS = ["red", "star", "on", "white", "snow"]


class Thesaurus:
    """As `wordnet.Synonyms`."""

    def __init__(self, **words):
        self.words = words

    def of(self, word):
        return self.words.get(word, ())


def drawn(operation, *args, count=4000):
    """How often an operation makes each list of words."""
    return Counter(tuple(operation(list(WORDS), Random(i), *args)) for i in range(count))


def assert_as_likely(found, outcomes):
    """Outcomes are listed as often as they are likely, and no others occur."""
    weights = Counter(map(tuple, outcomes))
    assert found.keys() == weights.keys()
    total, each = sum(weights.values()), sum(found.values())
    expected = [each * weights[outcome] / total for outcome in found]
    assert chisquare(list(found.values()), expected).pvalue > 1e-4


def test_insertion_repeats_any_word_at_any_place():
    made = [[*WORDS[:at], w, *WORDS[at:]] for w in WORDS for at in range(6)]
    assert_as_likely(drawn(augment_text._insert), made)


def test_a_swap_exchanges_any_two_words_and_never_one_with_itself():
    made = []
    for i, j in itertools.permutations(range(5), 2):
        words = list(WORDS)
        words[i], words[j] = words[j], words[i]
        made.append(words)
    assert_as_likely(drawn(augment_text._swap), made)


def test_deletion_takes_any_one_word():
    assert_as_likely(drawn(augment_text._delete), [WORDS[:i] + WORDS[i + 1 :] for i in range(5)])


def test_replacement_puts_any_synonym_of_any_word_that_has_some():
    synonyms = Thesaurus(red=("ruby",), snow=("ice", "frost"))
    made = [["ruby", *WORDS[1:]]] * 2 + [[*WORDS[:4], "ice"], [*WORDS[:4], "frost"]]
    assert_as_likely(drawn(augment_text._replace, synonyms), made)
    assert augment_text._replace(list(WORDS), Random(0), Thesaurus()) == WORDS


def test_insertion_with_a_thesaurus_puts_a_synonym_at_any_place():
    synonyms = Thesaurus(red=("ruby",), snow=("ice", "frost"))
    weighted = ["ruby", "ruby", "ice", "frost"]
    made = [[*WORDS[:at], w, *WORDS[at:]] for w in weighted for at in range(6)]
    assert_as_likely(drawn(augment_text._insert_synonym, synonyms), made)
    assert augment_text._insert_synonym(list(WORDS), Random(0), Thesaurus()) == WORDS


@pytest.mark.parametrize("count, changed", [(2, 1), (14, 1), (16, 2), (25, 2), (26, 3), (40, 4)])
def test_a_tenth_of_the_words_is_changed_but_at_least_one(count, changed):
    caption = " ".join(f"w{i}" for i in range(count))
    lengths = Counter(
        len(augment_text.augment(caption, Random(i)).split()) - count for i in range(300)
    )
    assert set(lengths) == {-changed, 0, changed}
    assert all(70 < times < 130 for times in lengths.values())  # the three are as likely
    synonyms = Thesaurus(**{f"w{i}": (f"v{i}",) for i in range(count)})
    found = Counter()
    for i in range(400):
        words = augment_text.augment(caption, Random(i), synonyms).split()
        others = sum(word.startswith("v") for word in words)
        found[len(words) - count, bool(others)] += 1
        assert others <= changed and (others == changed) == (len(words) > count or others > 0)
    assert set(found) == {(-changed, False), (0, False), (0, True), (changed, True)}
    assert all(60 < times < 140 for times in found.values())


def test_a_single_word_stays_but_for_synonyms():
    assert {augment_text.augment("snow", Random(i)) for i in range(50)} == {"snow"}
    assert augment_text.augment("", Random(0)) == ""
    synonyms = Thesaurus(snow=("ice",))
    made = {augment_text.augment("snow", Random(i), synonyms) for i in range(60)}
    assert made == {"snow", "ice", "ice snow", "snow ice"}


def test_every_place_has_choices_of_its_own():
    places = [(s, e, v, i) for s in range(3) for e in range(3) for v in range(2) for i in range(5)]
    numbers = [augment_text.random_of(*place).random() for place in places]
    assert len(set(numbers)) == len(places)
    assert numbers == [augment_text.random_of(*place).random() for place in places]
    assert augment_text.random_of(1, 2, 2**31).random() != augment_text.random_of(1, 2).random()
