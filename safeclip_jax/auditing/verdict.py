"""What an audit comes to, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from safeclip_jax.auditing.findings import ALPHA, Findings


@dataclass(frozen=True)
class Verdict:
    """The end of an audit.

    Attributes:
      lines: the first one is the sum, the others are its grounds.
      alarming: whether the data looks as if somebody had poisoned it.
    """

    lines: list[str]
    alarming: bool


def of(findings: Findings) -> Verdict:
    """Tells an attack from noise: by what the captions that do not fit have in common."""
    low, high = findings.mismatch.interval
    total = findings.mismatch.above.of
    expected = (
        f"Captions that do not fit their image: {findings.mismatch.count:,} expected of {total:,} "
        f"(95 %: {low:,} to {high:,})."
    )
    pictures = [group for group in findings.repeated if group.kind == "picture"]
    lines = [*_pattern(findings), *_words(findings)]
    if findings.sharers is findings.strange:
        lines.reverse()
    if pictures:
        pairs = sum(len(group.members) for group in pictures)
        lines.append(
            f"{len(pictures):,} picture(s) occur again and again under captions that do not fit, "
            f"in {pairs:,} pairs (at most {p(max(g.p_value for g in pictures))})."
        )
    if findings.targets and findings.trigger:
        head = f"This looks like a backdoor towards “{findings.targets[0].text}”."
    elif pictures:
        head = "This looks like targeted poisoning: chosen pictures, captioned as another class."
    elif findings.targets:
        head = (
            f"Captions that do not fit name “{findings.targets[0].text}” too often for chance; "
            "nothing was found that their pictures share."
        )
    elif findings.trigger:
        head = "Pictures whose captions do not fit share something that others do not have."
    elif low > 0:
        head = "There are captions that do not fit, and they have nothing in common: noise."
    else:
        head = "No sign of an attack."
        lines.append(
            f"No word, picture or pattern stands out among the most suspicious (p > {ALPHA})."
        )
    return Verdict([head, expected, *lines], bool(findings.targets or pictures or findings.trigger))


def p(value: float) -> str:
    """A p-value in words."""
    return f"p = {value:.1g}" if value > 0 else "p < 1e-300"


def _words(findings: Findings) -> list[str]:
    if not findings.targets:
        return []
    total = int(findings.sharers.sum())
    named = ", ".join(
        f"“{w.text}” {w.suspects:,} of {total:,} (all captions: {w.captions:,}, {p(w.p_value)})"
        for w in findings.targets[:3]
    )
    who = "They" if findings.sharers is findings.strange else "Pairs with it"
    return [f"{who} name: {named}."]


def _pattern(findings: Findings) -> list[str]:
    trigger = findings.trigger
    if trigger is None:
        return []
    return [
        "The pictures of suspects differ from others of the same content in one way: it tells them "
        f"apart with AUROC {trigger.auroc:.3f} in those that it was not learned from "
        f"({p(trigger.p_value)})."
    ]
