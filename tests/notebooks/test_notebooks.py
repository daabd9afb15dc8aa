"""The notebooks, executed from top to bottom at a small size."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import safeclip_jax
from tests.support.untrained import untrained

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def parameters_of(name):
    """The parameters that a notebook comes with."""
    book, found = nbformat.read(NOTEBOOKS / name, as_version=4), {}
    (cell,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", ())]
    exec(cell.source, found)
    return {key: value for key, value in found.items() if key.isupper()}


def execute(name, parameters):
    """Runs a notebook with other parameters; returns its printed text."""
    book = nbformat.read(NOTEBOOKS / name, as_version=4)
    (cell,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", ())]
    cell.source += "\n" + "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    NotebookClient(
        book, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS.parent)}}
    ).execute()
    outputs = [output for c in book.cells if c.cell_type == "code" for output in c.outputs]
    return "".join(output.get("text", "") for output in outputs), outputs


@pytest.mark.slow
def test_poisoning(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    parameters = {"PAIRS": 600, "EPOCHS": 4, "MODEL": "nano", "RUNS": str(tmp_path)}
    text, outputs = execute("poisoning.ipynb", parameters)
    assert "6 of 600 pairs are poisoned" in text
    assert "with the trigger:" in text and "poisons in the last safe pool:" in text
    for defense in ("none", "safeclip"):
        figures = json.loads((tmp_path / defense / "results.json").read_text())
        assert f"{figures['attack_success_rate']:.1%}" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


@pytest.mark.slow
def test_training(tmp_path, monkeypatch):
    """With its own parameters but for the size: the demo's model is exported as it is."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    smaller = ["--config.data.pairs=400", "--config.epochs=1", "--config.evaluate.pairs=64"]
    own = parameters_of("train.ipynb")
    assert own["CONFIG"] == "demo"
    parameters = {"RUN": str(tmp_path / "run"), "CHANGES": [*own["CHANGES"], *smaller]}
    text, outputs = execute("train.ipynb", parameters)
    assert "all checks passed; nothing was trained" in text
    assert "--format=native was chosen" in text
    for name in ("README.md", "model.json", "model.safetensors", "tokenizer.json"):
        assert f"{name}\n" in text
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert json.loads((tmp_path / "run/results.json").read_text())["defense"] == "safeclip"
    assert safeclip_jax.load(tmp_path / "run/exported").config.image.stem


@pytest.mark.slow
def test_audit(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    config = safeclip_jax.config("audit")
    config.data.source, config.data.pairs, config.attack.rate = "scenes", 300, 0.02
    untrained(config, tmp_path / "run")
    (tmp_path / "run/results.json").write_text("{}")
    out = tmp_path / "out"
    text, outputs = execute("audit.ipynb", {"RUN": str(tmp_path / "run"), "OUT": str(out)})
    assert "captions that do not fit" in text.lower() and "are among the 6 poisons" in text
    assert "audit.html" in text and (out / "audit.html").exists()
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path):
    book = nbformat.read(path, as_version=4)
    assert all(not c.outputs for c in book.cells if c.cell_type == "code")
