"""How well does the auditor find each attack of the kit, on scenes and on emoji pairs?

    python -m experiments.audit_runs
    python -m experiments.audit

Audits the runs of `experiments.audit_runs` that are there, and prints JSON lines, then two Markdown
tables: AUROC and recall in the top 1 % of every detector, and what the auditor concludes.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from benchmarks import markdown
from experiments import audit_runs
from safeclip_jax.auditing import quality, report, subject
from safeclip_jax.system import host

Name = tuple[str, str, float, int]


def measure(folder: Path, name: Name) -> dict:
    """Audits one run."""
    began = time.perf_counter()
    audited = subject.of_run(folder)
    found = report.audit(audited, folder / "audit")
    findings, poisons = found.findings, audited.poisons
    row = {
        "data": name[0],
        "attack": name[1],
        "rate": 0.0 if poisons is None else name[2],
        "seed": name[3],
        "verdict": found.verdict.lines[0],
        "misfits": findings.mismatch.count,
        "interval": findings.mismatch.interval,
        "flagged": int(findings.flagged.sum()),
        "poisons": 0 if poisons is None else len(poisons),
        "found": 0 if poisons is None else int(findings.flagged[poisons].sum()),
        "seconds": round(time.perf_counter() - began, 1),
    }
    if poisons is not None:
        qualities = {key: quality.of(values, poisons) for key, values in findings.scores.items()}
        row["detectors"] = {key: [q.auroc, q.in_top] for key, q in qualities.items()}
    print(json.dumps(row), flush=True)
    return row


def of_detectors(rows: list[dict]) -> str:
    """A row a detector, a column an attack: AUROC, and recall in the top 1 % in %."""
    poisoned = [row for row in rows if "detectors" in row]
    names = list(dict.fromkeys(name for row in poisoned for name in row["detectors"]))

    def cell(row: dict, name: str) -> str:
        found = row["detectors"].get(name)
        return "{:.4f}, {:.0%}".format(*found) if found else "–"

    return markdown.table(
        [
            {"score": name.replace("_", " ")}
            | {f"{row['attack']}, {row['rate']:.1%}": cell(row, name) for row in poisoned}
            for name in names
        ]
    )


def of_verdicts(rows: list[dict]) -> str:
    return markdown.table(
        [
            {
                "attack": f"{row['attack']}, {row['rate']:.1%}" if row["poisons"] else "none",
                "poisons": row["poisons"],
                "captions expected not to fit": f"{row['misfits']} ({row['interval'][0]} to "
                f"{row['interval'][1]})",
                "flagged": row["flagged"],
                "of them poisons": row["found"],
                "verdict": row["verdict"],
            }
            for row in rows
        ]
    )


def main() -> None:
    arguments = audit_runs.arguments(__doc__)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    host.set_up_jax()
    for data in arguments.data:
        rows = []
        for name in audit_runs.names(data, arguments.seeds):
            place = audit_runs.folder(arguments.folder, name)
            if (place / "results.json").exists():
                rows.append(measure(place, name))
        print(f"\n{data}\n\n{of_detectors(rows)}\n\n{of_verdicts(rows)}\n")


if __name__ == "__main__":
    main()
