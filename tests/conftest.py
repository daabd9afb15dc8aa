"""How tests run: on one CPU device, or as many as their module wants; a small run that they share.

Compiling is most of what tests do, so all processes of a session, also the commands that tests
start, share one folder of compiled programs. Programs for several devices do not go there, see
`host.set_up_jax`.
"""

import importlib.metadata
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests wait for compilers, not for programs: unoptimised code of the emitters that compile fastest.
# The variables reach the commands that tests start.
FAST_TO_COMPILE = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib") < "0.11":  # later ones have one kind of emitters
    FAST_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FAST_TO_COMPILE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
OWN_CACHE = "JAX_COMPILATION_CACHE_DIR" not in os.environ  # in pytest-xdist: of the controller
if OWN_CACHE:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="safeclip_jax-xla-")

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jax.extend import backend

import safeclip_jax
from safeclip_jax.distributed import sharding
from safeclip_jax.system import cpu

# Modules whose tests take longest come first: the others fill the gaps that they leave.
LONGEST_FIRST = (
    "test_processes",
    "test_runs",
    "test_notebooks",
    "test_grid",
    "test_weights",
    "test_step_reference",
    "test_accelerator",
    "test_steps",
    "test_models",
    "test_formats",
    "test_preflight",
)

_devices = [1]  # that there were so far; the last ones are there now


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_sessionfinish():
    if OWN_CACHE:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def cpu_devices(request):
    """As many CPU devices as the module's `DEVICES` says; one if it says nothing."""
    count = getattr(request.module, "DEVICES", 1)
    if count != _devices[-1]:
        _devices.append(count)
        backend.clear_backends()
        os.environ.pop("NPROC", None)
        cpu.allow_many_devices(count)
        jax.config.update("jax_num_cpu_devices", count)
        jax.config.update("jax_enable_compilation_cache", count == 1)
        compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def mesh(cpu_devices):
    return sharding.make_mesh()


@pytest.fixture
def config():
    """The demo at a size of seconds, with every stage in it."""
    c = safeclip_jax.config("demo")
    c.epochs = 5
    c.model.preset = "nano"
    c.batch_size = 64
    c.data.pairs = 400
    c.evaluate.pairs = 64
    c.evaluate.every = 0
    c.unimodal.bank_size = 128
    c.score.batch_size = 128
    c.safeclip.warmup_epochs = 1
    c.optimizer.learning_rate = 1e-3
    c.attack.rate = 0.02
    c.log_every = 1
    return c
