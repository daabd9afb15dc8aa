"""A data set from a stranger runs no code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data_files import encoded, picture, write_tfds

ROOT = Path(__file__).parents[2]
EVIL = "from pathlib import Path\nPath('ran').touch()\n"
OPEN = "import sys; sys.path.insert(0, '')\nfrom safeclip_jax.data.sources.tfds import Tfds\n"


def in_sequence(name):
    """The old form, which hides a feature in a text of JSON."""
    inner = {"feature": {"type": name, "content": {}}, "length": None}
    sequence = "tensorflow_datasets.core.features.sequence_feature.Sequence"
    return {"pythonClassName": sequence, "jsonFeature": {"json": json.dumps(inner)}}


@pytest.mark.parametrize(
    "feature",
    [
        {"pythonClassName": "evil.Text", "text": {}},
        in_sequence("evil.Text"),
    ],
)
def test_features_of_a_class_that_is_not_of_tfds_are_refused(tmp_path, feature):
    rows = [{"image": encoded(picture(), "JPEG"), "caption": "a dog"}] * 2
    write_tfds(tmp_path, "Small", {"train": rows}, caption="caption")
    (file,) = tmp_path.rglob("features.json")
    content = json.loads(file.read_text())
    content["featuresDict"]["features"]["caption"] = feature
    file.write_text(json.dumps(content))
    (tmp_path / "evil.py").write_text(EVIL)
    code = f"{OPEN}Tfds('small', data_dir={str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode and "the Python class 'evil.Text', which is not run" in done.stderr
    assert not (tmp_path / "ran").exists()
