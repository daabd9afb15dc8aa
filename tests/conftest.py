"""Eight CPU devices, so that every sharding is exercised; a small run that tests share."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests wait for compilers, not for programs. The variable reaches the commands that tests start.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

from safeclip_jax.system import cpu

jax.config.update("jax_num_cpu_devices", 8)
cpu.allow_many_devices(8)

import pytest

import safeclip_jax


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
