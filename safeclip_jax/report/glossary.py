"""What every figure is called and means: the words of all pages and tables."""

from __future__ import annotations

import re
from typing import NamedTuple


class Term(NamedTuple):
    """A figure's name, and one sentence that says what it is."""

    name: str
    meaning: str


TERMS = {
    "zero_shot_accuracy": Term(
        "zero-shot accuracy",
        "Share of the held-out images, without a trigger, whose own class has the most similar "
        "prompts.",
    ),
    "zero_shot_accuracy_top5": Term(
        "zero-shot accuracy, top 5",
        "Share of the held-out images whose own class is among the five with the most similar "
        "prompts.",
    ),
    "mean_per_class_recall": Term(
        "mean recall of the classes",
        "Zero-shot accuracy within each class, averaged so that every class counts the same.",
    ),
    "attack_success_rate": Term(
        "attack success rate",
        "Share of the held-out images of other classes that are taken for the target once the "
        "trigger is on them, or, of a semantic backdoor, where they show the attribute; a defence "
        "holds if it is near the base rate.",
    ),
    "target_base_rate": Term(
        "base rate",
        "Share of the same images that are taken for the target without the trigger, or of those "
        "without the attribute: what an attack that does nothing would reach.",
    ),
    "poison_success_rate": Term(
        "poison success rate",
        "Targeted poisoning: share of the chosen images that are taken for their adversarial "
        "class.",
    ),
    "poison_base_rate": Term(
        "base rate of targeted poisoning",
        "Share of other images of the chosen ones' classes that are taken for those adversarial "
        "classes: what an attack that does nothing would reach.",
    ),
    "accuracy_under_trigger": Term(
        "accuracy under the trigger",
        "Share of the held-out images of other classes that are still taken for what they are once "
        "the trigger is on them; a defence holds if it is near the accuracy without.",
    ),
    **{
        f"text_hit_at_{k}": Term(
            f"Hit@{k} of triggered texts",
            f"Text backdoor: share of the captions of other classes that find an image of the "
            f"target among the {k} most similar once the phrase is at their end.",
        )
        for k in (1, 5)
    },
    **{
        f"text_base_hit_at_{k}": Term(
            f"base Hit@{k} of texts",
            f"Share of the same captions that find an image of the target among the {k} most "
            "similar without the phrase: what an attack that does nothing would reach.",
        )
        for k in (1, 5)
    },
    "repeated_class_rate": Term(
        "taken for the repeated picture's class",
        "Share of the held-out images of other classes that are taken for the class of the picture "
        "that is repeated in training; no image carries a trigger, so it is no success of an "
        "attack.",
    ),
    "repeated_base_rate": Term(
        "base rate of the repeated picture's class",
        "The same share for the other classes, on average: how often images are taken for a class "
        "that they do not show.",
    ),
    "rare_class_accuracy": Term(
        "accuracy on the rarest classes",
        "Zero-shot accuracy on the images of the tenth of the classes that the fewest training "
        "captions name.",
    ),
    "score_fpr_at_full_recall": Term(
        "false positives at full recall",
        "Share of the honest pairs that must be thrown out, lowest scores first, until the last "
        "poison is out.",
    ),
    "success": Term(
        "success",
        "Attack success rate; for targeted poisoning poison success rate, for text backdoors "
        "Hit@1.",
    ),
    "linear_probe_accuracy": Term(
        "linear probe accuracy",
        "Share of the held-out images that a linear classifier on the image features gets right.",
    ),
    "linear_probe_mean_per_class_recall": Term(
        "linear probe, mean recall of the classes",
        "The linear probe's accuracy within each class, averaged so that every class counts the "
        "same.",
    ),
    "linear_probe_C": Term(
        "linear probe, C",
        "Inverse strength of the linear probe's regularisation, chosen on held-back training "
        "images.",
    ),
    "published_probe_accuracy": Term(
        "published linear probe accuracy",
        "As the linear probe's accuracy, of a layer that is trained as SafeCLIP's code trains it.",
    ),
    "knn_accuracy": Term(
        "k-NN accuracy",
        "Share of the held-out images whose nearest training images vote for their own class.",
    ),
    **{
        f"{kind}_recall_at_{k}": Term(
            f"{kind} recall@{k}",
            f"Share of the {queries} whose own {kind} is among the {k} most similar.",
        )
        for kind, queries in (("text", "images"), ("image", "captions"))
        for k in (1, 5, 10)
    },
    "poisons": Term("poisons", "Training pairs that the attack changed on purpose."),
    "safe_pool_size": Term(
        "safe pool",
        "Pairs whose caption the model finds to fit their image: these alone train with the CLIP "
        "loss. It is the last epoch's.",
    ),
    "risky_pool_size": Term(
        "risky pool",
        "All other pairs: their images and captions train apart, and never together.",
    ),
    "poisons_in_safe_pool": Term(
        "poisons in the safe pool",
        "Poisons that train with the CLIP loss after all; the fewer, the better.",
    ),
    "excluded_pairs": Term(
        "excluded as outliers",
        "Pairs that are risky for good: before the model had learnt them, their image was far from "
        "all others.",
    ),
    "excluded_poisons": Term(
        "poisons among the excluded", "Poisons that the outlier rule keeps out for good."
    ),
    "score_auroc": Term(
        "AUROC of the score",
        "Chance that a poison scores lower than an honest pair: 1 is perfect, 0.5 is a guess.",
    ),
    "score_recall_at_1_percent": Term(
        "recall at 1 % false positives",
        "Share of the poisons among the lowest scores if 1 % of the honest pairs may be among them "
        "too.",
    ),
    "pairs_per_second": Term("training speed", "Pairs a second in the train steps alone."),
    "seconds": Term("seconds", "Of the whole run; in parentheses what they went into."),
    "skipped_records": Term(
        "records that could not be used", "Their reasons are in skipped.jsonl; they do not train."
    ),
    "skipped_held_out": Term(
        "held-out images that could not be used", "Their reasons are in skipped_held_out.jsonl."
    ),
    "images": Term("images", "Of the data set, with those that could not be used."),
    "skipped_steps": Term(
        "steps without an update", "Steps whose gradient was not finite, so nothing was learnt."
    ),
    "loss": Term(
        "loss",
        "What training makes small, in nats, by kind of stage; losses of different kinds do not "
        "compare.",
    ),
    "score": Term(
        "score",
        "Similarity of a pair's image and caption to the model: a low one is suspicious.",
    ),
    "score_history": Term(
        "scores of all pairs",
        "How many pairs have which score, by pool, and the mixture that was fitted to them; "
        "poisons are on a scale of their own.",
    ),
    "pools": Term(
        "safe pool by epoch",
        "How many pairs the safe pool holds, and how many of the poisons are among them.",
    ),
    "confusion": Term(
        "zero-shot confusion",
        "Of the held-out images of a class (row), the percentage that is taken for each class "
        "(column).",
    ),
    "interval": Term(
        "95 % interval", "Wilson's interval of a share, given how many images it was counted on."
    ),
    "pairs": Term("training pairs", "Images with their captions that the run was given."),
    "steps": Term("steps", "Updates of the model, of all kinds of stages."),
    "pool_overlap": Term(
        "overlap of the safe pools",
        "Pairs in both safe pools as a share of those in either (intersection over union): 1 if "
        "the pools are the same.",
    ),
    "common_words": Term(
        "words of the suspects",
        "Words that are in suspects' captions more often than in all captions; p is the chance of "
        "as many without an attack.",
    ),
    "repeated": Term(
        "repeated, and captioned otherwise",
        "Pictures or captions that occur again and again and fit ill; p is the chance of as many "
        "that do not fit.",
    ),
    "detectors": Term(
        "detectors", "The scores by which pairs are ordered: a high one is suspicious."
    ),
    "detection": Term(
        "how well detectors tell the poisons",
        "AUROC is the chance that a poison scores higher than an honest pair; recall is the share "
        "of the poisons found if 1 % of the honest pairs are suspected too; false positives are "
        "the share of the honest pairs suspected until every poison is.",
    ),
    "unusable": Term(
        "pairs that cannot be used", "They are not scored, and not among those to keep."
    ),
}
_BY_TRIGGER = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)


def name(key: str) -> str:
    """How a figure is called.

    Args:
      key: in `results.json`; `DATA/KEY` of another data set, `KEY[TRIGGER]` of one trigger.
    """
    data, slash, own = key.rpartition("/") if "[" not in key else ("", "", key)
    if slash:
        return f"{name(own)} on {data}"
    by = _BY_TRIGGER.fullmatch(key)
    if by:
        return f"{name(by[1])} by {by[2]}"
    return TERMS[key].name if key in TERMS else key.replace("_", " ")


def meaning(key: str) -> str:
    """What a figure is, in a sentence; empty where its name says all.

    Args:
      key: as `name` takes it.
    """
    own = key.partition("[")[0].rpartition("/")[2]
    return TERMS[own].meaning if own in TERMS else ""


def sentence(key: str) -> str:
    """A figure's name and what it is, for a place where the name does not stand beside it."""
    text = name(key)
    return f"{text[:1].upper()}{text[1:]}: {meaning(key)[:1].lower()}{meaning(key)[1:]}"
