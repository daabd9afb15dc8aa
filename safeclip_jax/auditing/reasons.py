"""Why a pair is suspected, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safeclip_jax.auditing import words
from safeclip_jax.auditing.findings import Findings


def of(findings: Findings, pairs: Sequence[int], captions: Sequence[str]) -> list[list[str]]:
    """For each of some pairs its reasons, the strongest first; empty where there are none."""
    groups: dict[int, list[str]] = {}
    for group in findings.repeated:
        text = (
            f"one of {len(group.members)} pairs with nearly the same {group.kind}, of which "
            f"{group.misfits} have captions that do not fit"
        )
        for member in group.members.tolist():
            groups.setdefault(member, []).append(text)
    targets = {word.text: word for word in findings.targets}
    common = findings.carriers
    return [
        [
            *_misfit(findings, i),
            *groups.get(i, []),
            *(_targets(targets, findings, captions[i]) if findings.sharers[i] else []),
            *(["its picture has what the misfits' pictures share"] if common[i] else []),
            *_history(findings, i),
        ]
        for i in map(int, pairs)
    ]


def _misfit(findings: Findings, pair: int) -> list[str]:
    probability = float(np.nan_to_num(findings.mismatch.probability[pair]))
    if probability < 0.05:
        return []
    return [f"its caption fits no better than a stranger's: probability {probability:.0%}"]


def _targets(targets: dict[str, words.Word], findings: Findings, caption: str) -> list[str]:
    total = int(findings.sharers.sum())
    who = "misfits" if findings.sharers is findings.strange else "pairs with what they share"
    named = sorted(words.of(caption) & targets.keys(), key=lambda w: targets[w].p_value)
    return [f"it names “{w}”, as {targets[w].suspects} of {total} {who} do" for w in named[:2]]


def _history(findings: Findings, pair: int) -> list[str]:
    past = findings.history
    if past is None or past.stayed[pair] == len(past.epochs):
        return []
    if not past.stayed[pair]:
        return ["it never was in the safe pool"]
    share = past.stayed[pair] / len(past.epochs)
    return [f"it was in the safe pool in {share:.0%} of the epochs"] if share < 0.5 else []
