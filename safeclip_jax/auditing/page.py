"""`audit.html`: one self-contained page, readable offline, to look through thousands of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safeclip_jax.auditing import pattern, plots, quality, verdict
from safeclip_jax.auditing.detectors import DETECTORS
from safeclip_jax.auditing.findings import Findings
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.report import pages, pair_browser

NEIGHBORS = 3  # honest pairs to show beside a suspect
_SKIPPED = 200
_OTHERS = {
    "misfit": "mean of similarity and both agreements, in units of shuffled pairs",
    "repeats": "misfit, averaged over pairs with nearly the same picture",
    "pattern": "how much the picture has of what suspects' pictures share",
    "history": "mean rank of the run's own scores over its epochs",
    "combined": "mean of the normal quantiles of repeats, history, and a pattern that is no chance",
}


def write(
    path: Path,
    title: str,
    findings: Findings,
    source: ImageSource,
    skipped: dict[int, str],
    order: np.ndarray,
    why: list[list[str]],
    poisons: np.ndarray | None,
) -> None:
    """Writes the page.

    Args:
      path: of the file.
      title: of the data.
      findings: of the audit.
      source: the pairs, for thumbnails and captions.
      skipped: why pairs cannot be used, by index.
      order: pairs to show, the most suspicious first.
      why: the reasons of each.
      poisons: the truth, where it is known.
    """
    found = verdict.of(findings)
    truth = None if poisons is None or not len(poisons) else poisons
    pages.write(
        path,
        "audit.html",
        title=title,
        verdict=found.lines,
        alarming=found.alarming,
        facts=facts(findings, poisons, len(source.rejected)),
        traces=_traces(findings),
        words=[
            {
                "text": w.text,
                "suspects": w.suspects,
                "captions": w.captions,
                "p": f"{w.p_value:.1g}",
            }
            for w in findings.targets[:8]
        ],
        groups=[
            {
                "kind": g.kind,
                "pairs": len(g.members),
                "misfits": g.misfits,
                "p": f"{g.p_value:.1g}",
                "caption": source.captions[int(g.members[0])][: pair_browser.CAPTION],
            }
            for g in findings.repeated[:50]
        ],
        plot=plots.misfits(findings.scores, findings.mismatch.shuffled, truth),
        detectors=_detectors(findings, truth),
        quality=truth is not None,
        skipped=_unusable(source, skipped)[:_SKIPPED],
        note="A pair's rank says nothing alone: what counts is how many captions are expected not "
        "to fit, and what those have in common. Made by python -m safeclip_jax.audit.",
        data=_data(findings, source, order, why, truth),
    )


def _unusable(source: ImageSource, skipped: dict[int, str]) -> list[tuple[str, str]]:
    found = [(source.keys[i], why) for i, why in skipped.items()]
    return found + [(record.key, record.reason) for record in source.rejected[:_SKIPPED]]


def facts(findings: Findings, poisons: np.ndarray | None, rejected: int) -> list[tuple[str, str]]:
    """The figures to show first, by name."""
    low, high = findings.mismatch.interval
    rows = [
        ("pairs", f"{len(findings.flagged):,}"),
        ("cannot be used", f"{int((~findings.vectors.usable).sum()) + rejected:,}"),
        (f"captions expected not to fit ({low:,} to {high:,})", f"{findings.mismatch.count:,}"),
        ("flagged, to leave out", f"{int(findings.flagged.sum()):,}"),
    ]
    if poisons is not None:
        caught = int(findings.flagged[poisons].sum())
        rows.append(("of the poisons are flagged", f"{caught:,} of {len(poisons):,}"))
    return rows


def _traces(findings: Findings) -> list[dict]:
    trigger = findings.trigger
    if trigger is None:
        return []
    shown = 128 + 127 * trigger.difference / max(np.abs(trigger.difference).max(), 1e-6)
    side = 8 * pattern.SIDE
    return [
        {
            "title": "What suspects' pictures share",
            "text": "Mean of their pictures minus that of honest ones of the same content, with "
            "contrast enhanced: grey is no difference. "
            f"AUROC {trigger.auroc:.3f}, {verdict.p(trigger.p_value)}.",
            "image": "data:image/webp;base64,"
            + pair_browser.thumbnail(shown.astype(np.uint8), pattern.SIDE),
            "width": side,
            "height": side,
        }
    ]


def _detectors(findings: Findings, poisons: np.ndarray | None) -> list[dict]:
    texts = {name: (d.__doc__ or "").splitlines()[0] for name, d in DETECTORS.items()} | _OTHERS
    rows = []
    for name, values in findings.scores.items():
        row = {"name": name.replace("_", " "), "text": texts[name]}
        if poisons is not None:
            found = quality.of(values, poisons)
            row |= {
                "auroc": f"{found.auroc:.4f}",
                "recall": f"{found.recall:.0%}",
                "fpr": f"{found.fpr:.1%}",
                "top": f"{found.in_top:.0%}",
            }
        rows.append(row)
    return rows


def _data(
    findings: Findings,
    source: ImageSource,
    order: np.ndarray,
    why: list[list[str]],
    poisons: np.ndarray | None,
) -> str:
    """The suspects, with honest pairs beside them, for the page's script."""
    by_image, by_text = _beside(findings, order)
    names = sorted(findings.scores, key=lambda name: name != "combined")
    shown = pair_browser.Shown(
        order,
        findings.flagged[order],
        "flagged",
        {name.replace("_", " "): findings.scores[name][order] for name in names},
        poisons,
        why,
        {
            "Honest pairs with pictures like it": by_image,
            "Honest pairs with captions like it": by_text,
        },
    )
    return pair_browser.data(shown, source, findings.history)


def _beside(findings: Findings, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest honest reference pairs by image and by caption, [n, ≤ NEIGHBORS] each."""
    around, found = findings.surroundings, []
    for references, vectors in (
        (around.images, findings.vectors.images),
        (around.texts, findings.vectors.texts),
    ):
        _, near = references.nearest(np.array(vectors[order]), order)
        numbers = references.numbers[near]
        honest_first = np.argsort(findings.flagged[numbers], axis=1, kind="stable")
        found.append(np.take_along_axis(numbers, honest_first, axis=1)[:, :NEIGHBORS])
    return found[0], found[1]
