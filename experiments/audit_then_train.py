"""Plain CLIP on what the auditor keeps: does the attack still succeed, and what does it cost?

    python -m experiments.audit_then_train RUN…

Each RUN is a finished one of SafeCLIP. It is audited; then a model is trained on the pairs that are
left with the same config, without a defence. Prints JSON lines, then a Markdown table.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from experiments import finished_runs
from safeclip_jax import auditing
from safeclip_jax.runs import run_folder
from safeclip_jax.training import loop, results


def measure(folder: Path) -> dict:
    """Audits a run and trains without its flagged pairs."""
    out = folder / "audit"
    found = auditing.audit(auditing.of_run(folder), out)
    auditing.write(found, out)
    run = run_folder.read(folder)
    assert run is not None
    data = replace(run.data, leave_out=str(out / "scores.csv"))
    again = folder / "audited-clip"
    again.mkdir(exist_ok=True)
    before, after = (
        results.read(folder / "results.json"),
        loop.run(replace(run, defense="none", data=data), again),
    )
    flagged, poisons = found.findings.flagged, found.subject.poisons
    targeted = run.attack.kind == "targeted"
    success, base = (
        ("poison_success_rate", "poison_base_rate")
        if targeted
        else ("attack_success_rate", "target_base_rate")
    )
    row = {
        "run": "/".join(folder.parts[-3:]),
        "poisons": 0 if poisons is None else len(poisons),
        "flagged": int(flagged.sum()),
        "of them poisons": 0 if poisons is None else int(flagged[poisons].sum()),
    }
    for name, figures in (("SafeCLIP", before), ("CLIP on the rest", after)):
        row[f"success, {name}"] = f"{100 * figures[success]:.1f} ({100 * figures[base]:.1f})"
        row[f"accuracy, {name}"] = f"{100 * figures['zero_shot_accuracy']:.1f}"
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    finished_runs.print_table(__doc__, lambda folder: [measure(folder)])
