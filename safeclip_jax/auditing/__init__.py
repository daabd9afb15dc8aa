"""Which pairs of a data set are poisoned? Scores, traces of attacks, tables and a page.

from safeclip_jax import auditing

found = auditing.audit(auditing.of_run(Path("runs/demo-safeclip-seed0")), Path("audit"))
print(found.verdict.lines)
auditing.write(found, Path("audit"))
"""

from safeclip_jax.auditing.report import Audit, audit, write
from safeclip_jax.auditing.subject import Subject, of_model, of_run

__all__ = ["Audit", "Subject", "audit", "of_model", "of_run", "write"]
