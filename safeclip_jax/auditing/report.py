"""An audit from end to end, and the files that come of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from safeclip_jax.auditing import findings, page, reasons, tables, vectors, verdict
from safeclip_jax.auditing.findings import Findings, Say
from safeclip_jax.auditing.subject import Subject
from safeclip_jax.auditing.verdict import Verdict
from safeclip_jax.data.skipped import write_rejected
from safeclip_jax.data.sources.base import Rejected
from safeclip_jax.distributed.sharding import nearest_batch
from safeclip_jax.evaluation.embedding import Reading


@dataclass(frozen=True)
class Audit:
    """What is known of the pairs in the end.

    Attributes:
      subject: the pairs and the model.
      findings: all that was found.
      skipped: why pairs cannot be used, by index.
      verdict: the findings in sentences.
    """

    subject: Subject
    findings: Findings
    skipped: dict[int, str]
    verdict: Verdict


def audit(
    subject: Subject,
    out: Path,
    reading: Reading | None = None,
    seed: int = 0,
    say: Say = lambda what, done, total: None,
) -> Audit:
    """Audits pairs; see `findings.find`.

    Args:
      subject: the pairs and the model.
      out: folder that keeps vectors, so that a stopped audit goes on.
      reading: how images are read; None for some hundred at a time.
      seed: of every draw.
      say: hears what is done, how far, of how much.
    """
    model = subject.model
    reading = reading or Reading(
        nearest_batch(256, model.embedder.mesh), model.config.image.image_size
    )
    made, skipped = vectors.compute(
        model, subject.pairs, out / "vectors", reading, lambda d, n: say("embedding", d, n)
    )
    scale, mesh = model.logit_scale, model.embedder.mesh
    found = findings.find(made, scale, mesh, subject.pairs, subject.history, seed, say)
    return Audit(subject, found, skipped, verdict.of(found))


def write(audit: Audit, out: Path, suspects: int = 1000, form: str = "csv") -> Path:
    """Writes the page and the tables.

    Args:
      audit: what was found.
      out: folder to write to.
      suspects: pairs to show, the most suspicious first.
      form: of the tables of scores, in `tables.FORMATS`.

    Returns:
      The file of pairs to keep.
    """
    found, pairs = audit.findings, audit.subject.pairs
    order = found.order[:suspects]
    why = reasons.of(found, order.tolist(), pairs.captions)
    tables.write_scores(out / f"scores.{form}", found, pairs.keys)
    tables.write_suspects(out / f"suspects.{form}", found, pairs, order, why)
    keep = found.vectors.usable & ~found.flagged
    bad = (Rejected(pairs.keys[i], reason) for i, reason in audit.skipped.items())
    write_rejected(out / "skipped.jsonl", itertools.chain(pairs.rejected, bad))
    clean = tables.write_clean(out, audit.subject, keep)
    title, poisons = audit.subject.name, audit.subject.poisons
    page.write(out / "audit.html", title, found, pairs, audit.skipped, order, why, poisons)
    return clean
