"""Train steps that are compiled while those before them run."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from safeclip_jax.training.experiment import Experiment
from safeclip_jax.training.state import TrainState
from safeclip_jax.training.steps import Kind


class CompiledSteps:
    """The steps of a run by kind and by the tokens of its captions."""

    def __init__(self, experiment: Experiment):
        self._x = experiment
        self._found: dict[tuple[Kind, int], Future[jax.stages.Compiled]] = {}
        self._compiler = ThreadPoolExecutor(1)

    def begin(self, kind: Kind, length: int, state: TrainState) -> Future[jax.stages.Compiled]:
        """Compiles the step for captions of so many tokens, if nothing did before."""
        if (kind, length) not in self._found:
            step = self._x.steps.lower_train(kind, state, self._x.config.batch_size, length)
            self._found[kind, length] = self._compiler.submit(step.compile)
        return self._found[kind, length]

    def is_there(self, kind: Kind, length: int) -> bool:
        """Whether such a step is compiled."""
        found = self._found.get((kind, length))
        return found is not None and found.done()

    def usual_length(self) -> int:
        """Tokens of the longest caption in a batch, by a sample of that size."""
        x, rng = self._x, np.random.default_rng(0)
        sample = rng.integers(len(x.source), size=x.config.batch_size)
        tokens = x.tokenizer.encode([x.source.captions[int(i)] for i in sample])
        return x.steps.model.config.text.length(tokens)

    def close(self) -> None:
        self._compiler.shutdown(cancel_futures=True)
