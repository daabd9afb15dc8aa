"""Verdicts on findings of every kind, and what they say."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from safeclip_jax.auditing import verdict
from safeclip_jax.auditing.groups import Group
from safeclip_jax.auditing.mismatch import Mismatch
from safeclip_jax.auditing.pattern import Pattern
from safeclip_jax.auditing.words import Word
from safeclip_jax.evaluation.share import Share

HEART, STAR, SUN, SEA = (
    Word(text, n, 2 * n, p)
    for text, n, p in (("heart", 9, 1e-8), ("star", 8, 2e-6), ("sun", 7, 3e-5), ("sea", 6, 4e-4))
)
TRIGGER = Pattern(0.987654, 1e-12, np.zeros(0), ())
PICTURES = [
    Group("picture", np.arange(5), 4, 2e-9),
    Group("picture", np.arange(5, 8), 3, 3e-4),
]
CAPTION = Group("caption", np.arange(8, 12), 4, 1e-9)


@dataclass
class Found:
    """What a verdict reads of `findings.Findings`."""

    targets: list = field(default_factory=list)
    trigger: object = None
    repeated: list = field(default_factory=list)
    misfits: int = 0
    strange: np.ndarray = field(default_factory=lambda: np.arange(1000) < 11)
    sharers: np.ndarray | None = None

    def __post_init__(self):
        self.mismatch = Mismatch(Share(self.misfits, 1000), np.zeros(1000), np.zeros(1))
        self.sharers = self.strange if self.sharers is None else self.sharers


@pytest.mark.parametrize(
    "found, head, alarming",
    [
        (Found(), "No sign of an attack.", False),
        (Found(misfits=1), "No sign of an attack.", False),
        (Found(misfits=40), "There are captions that do not fit, and they have nothing", False),
        (Found(repeated=[CAPTION], misfits=40), "There are captions that do not fit, and", False),
        (Found([HEART, STAR], TRIGGER), "This looks like a backdoor towards “heart”.", True),
        (Found([HEART], TRIGGER, PICTURES), "This looks like a backdoor towards “heart”.", True),
        (Found([HEART], None, PICTURES), "This looks like targeted poisoning", True),
        (Found([], TRIGGER, PICTURES), "This looks like targeted poisoning", True),
        (Found([], None, [CAPTION, *PICTURES]), "This looks like targeted poisoning", True),
        (Found([HEART]), "Captions that do not fit name “heart” too often for chance", True),
        (Found([], TRIGGER), "Pictures whose captions do not fit share something", True),
    ],
)
def test_the_head_tells_an_attack_from_noise(found, head, alarming):
    told = verdict.of(found)
    assert told.lines[0].startswith(head) and told.alarming is alarming
    low, high = found.mismatch.interval
    assert told.lines[1] == (
        f"Captions that do not fit their image: {2 * found.misfits} expected of 1,000 "
        f"(95 %: {low} to {high})."
    )
    assert ("No word, picture or pattern" in " ".join(told.lines[2:])) == (head[:7] == "No sign")


def test_one_caption_at_the_lower_end_is_enough_for_noise():
    for misfits in range(1, 8):
        found = Found(misfits=misfits)
        noise = verdict.of(found).lines[0].startswith("There are captions")
        assert noise == (found.mismatch.interval[0] > 0)
    lows = {Found(misfits=misfits).mismatch.interval[0] for misfits in range(1, 8)}
    assert {0, 1} <= lows


def test_the_grounds_are_told_with_their_figures():
    pattern, words = verdict.of(Found([HEART, STAR, SUN, SEA], TRIGGER)).lines[2:][::-1]
    assert "AUROC 0.988 " in pattern and "(p = 1e-12)" in pattern
    assert words == (
        "They name: “heart” 9 of 11 (all captions: 18, p = 1e-08), “star” 8 of 11 (all captions: "
        "16, p = 2e-06), “sun” 7 of 11 (all captions: 14, p = 3e-05)."
    )
    (repeats,) = verdict.of(Found(repeated=[*PICTURES, CAPTION])).lines[2:]
    assert repeats == (
        "2 picture(s) occur again and again under captions that do not fit, in 8 pairs "
        "(at most p = 0.0003)."
    )


def test_words_of_pairs_with_the_pattern_come_after_it():
    sharers = np.arange(1000) < 20
    pattern, words = verdict.of(Found([HEART], TRIGGER, sharers=sharers)).lines[2:]
    assert pattern.startswith("The pictures of suspects differ")
    assert words.startswith("Pairs with it name: “heart” 9 of 20")


@pytest.mark.parametrize("value, said", [(0.04, "p = 0.04"), (1e-300, "p = 1e-300"),
                                         (0.0, "p < 1e-300")])  # fmt: skip
def test_p_values_in_words(value, said):
    assert verdict.p(value) == said
