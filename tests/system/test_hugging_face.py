"""transformers gives no advice about PyTorch."""

import os
import subprocess
import sys

import pytest

WITHOUT_TORCH = """
import importlib.util as util
found = util.find_spec
util.find_spec = lambda name, *rest: None if name == "torch" else found(name, *rest)
"""


@pytest.mark.parametrize(
    "code, said",
    [
        ("import transformers", "PyTorch was not found"),
        ("from safeclip_jax.system import hugging_face; hugging_face.transformers()", ""),
    ],
)
def test_that_pytorch_is_missing_is_no_news(code, said):
    command = [sys.executable, "-c", WITHOUT_TORCH + code]
    variable = "TRANSFORMERS_NO_ADVISORY_WARNINGS"  # another test in this process may have set it
    environment = {name: value for name, value in os.environ.items() if name != variable}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert said in done.stderr and bool(said) == bool(done.stderr)
