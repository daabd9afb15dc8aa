"""A run does not import PyTorch, where it is installed, for its metrics."""

import subprocess
import sys

import pytest

from safeclip_jax.system import imports


def test_a_package_is_not_there_for_what_is_imported_meanwhile():
    assert "wave" not in sys.modules
    with imports.without("wave"), pytest.raises(ImportError):
        import wave
    import wave

    with imports.without("wave"):
        import wave as again
    assert again is wave


def test_the_train_loop_imports_no_pytorch():
    code = "import sys, safeclip_jax.training.loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
