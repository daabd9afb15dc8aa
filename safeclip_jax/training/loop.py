"""The loop: epochs → stages → steps → checkpoints → evaluation.

It knows stages and nothing of defences. Everything it does is a function of the config
and of `Position`, so a run that is killed goes on to the same result.
"""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from safeclip_jax.checkpoints.checkpoint import Checkpoints, Position
from safeclip_jax.data.pipeline import steps_in_stage
from safeclip_jax.defenses import plan, pools
from safeclip_jax.defenses.plan import Stage
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.watchdog import Beat, nobody
from safeclip_jax.errors import Outage, UserError
from safeclip_jax.evaluation.task import Metrics, summary
from safeclip_jax.runs import run_folder
from safeclip_jax.runs.experiment import Experiment, build
from safeclip_jax.system import cpu
from safeclip_jax.system.signals import CHECKPOINT, Interrupted, Signals
from safeclip_jax.system.terminal import Clock, MetricsLog, ProgressLine
from safeclip_jax.training import evaluator, feed, results, run_report, scoring
from safeclip_jax.training.evaluator import (
    NO_POOLS,
    NOTHING,
    Evaluator,
    pool_quality,
    score_quality,
)
from safeclip_jax.training.feed import Placed
from safeclip_jax.training.steps import Kind, TrainState, caption_views

STEPS_IN_FLIGHT = 2
PROFILED_STEPS = 5


class Diverged(Exception):
    """Steps were not finite, so many in a row as the config allows."""


def run(
    config: ConfigDict, folder: Path, beat: Beat = nobody, accept: Collection[str] = ()
) -> dict:
    """Trains, or goes on training, in a work directory, and returns the final figures.

    Args:
      config: as in `configs/common.py`.
      folder: made if it is not there; a finished run's figures are only read.
      beat: hears of each piece of progress.
      accept: keys of the config that may differ from those of the run in the folder.

    Raises:
      UserError: if the config, the data or the folder cannot be used.
      Interrupted: after a checkpoint, on SIGTERM or SIGINT.
    """
    try:
        run_folder.check_writable(folder)
        with run_folder.held(folder):
            return _run(config, folder, beat, accept)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}; all up to the last checkpoint "
            "is kept, and once this is mended the same command goes on"
        ) from None


def _run(config: ConfigDict, folder: Path, beat: Beat, accept: Collection[str]) -> dict:
    changed = run_folder.check_config(folder, config, accept)
    if run_folder.exists(folder / "results.json"):
        return results.read(folder / "results.json")
    experiment = build(config, folder, beat)
    run_folder.claim(folder, config)
    if jax.process_index() == 0:
        experiment.tokenizer.save(folder / "tokenizer.json")
        experiment.attack.manifest.claim(folder / "poison_manifest.json")
        experiment.skipped.list_in(folder / "skipped.jsonl")
    rollback = False
    while True:
        trainer = Trainer(experiment, folder, beat, changed, rollback)
        try:
            trainer.train()
            return trainer.finish()
        except Diverged:
            rollback = True
        finally:
            trainer.close()


class Trainer:
    """A run between two of its steps.

    Args:
      experiment: what is trained.
      folder: of the run; it goes on from the newest checkpoint there.
      beat: hears of each piece of progress.
      changed: differences of the config that were accepted, to be noted.
      rollback: whether it goes back because of non-finite steps: to the newest checkpoint before
        them.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        beat: Beat = nobody,
        changed: Sequence[str] = (),
        rollback: bool = False,
    ):
        config = experiment.config
        self.x, self.folder, self.beat = experiment, folder, beat
        lead = jax.process_index() == 0
        keep = config.keep_checkpoints, config.keep_every_epochs
        self.checkpoints = Checkpoints(folder, *keep)
        initial = self._initial_state()
        restored = self.checkpoints.restore(initial, _is_good if rollback else None)
        self.state, self.position = restored or (initial, Position())
        if rollback:
            self.position = replace(self.position, rollbacks=self.position.rollbacks + 1)
            self._forget_pools()
        self.clock = Clock(self.position.seconds)
        self.metrics = MetricsLog(folder, self.position.total_steps) if lead else None
        for difference in changed:
            self._record(kind="config", note=difference)
        if rollback:
            self._record(kind="rollback", note="non-finite steps")
        total = config.epochs * len(experiment.source)
        self.progress = ProgressLine(total, self._pairs(0, 1), lead)
        self.pools = self._pools_before(self.position.epoch)
        self.evaluate = Evaluator(experiment)
        self._figures: tuple[int, Metrics] | None = None
        self._train_steps: dict[tuple[Kind, int], Future[jax.stages.Compiled]] = {}
        self._compiler = ThreadPoolExecutor(1)  # compiles a step while those before it train
        self._flight: collections.deque = collections.deque()
        self._latest, self._tracing = "", False
        self.signals, self._answered = Signals(), 0
        self._saved_at = time.monotonic()
        if restored:
            self.progress.say(
                f"resumed in epoch {self.position.epoch + 1} of {config.epochs}, "
                f"after {self.position.total_steps} steps"
            )

    def _initial_state(self) -> TrainState:
        """Random weights, or those of `init_from`."""
        x, config = self.x, self.x.config
        state = x.steps.init(config.unimodal.bank_size, config.batch_size, len(x.source))
        return state if x.initial is None else state.starting_from(x.initial)

    def train(self) -> None:
        """Runs every epoch that is left."""
        x, epochs = self.x, range(self.position.epoch, self.x.config.epochs)
        kinds = plan.kinds(x.defense, epochs)
        for kind in kinds:
            self._train_step(kind, self._usual_length())
        for line in self._remarks(kinds):
            self.progress.say(line)
        with self.signals.heard():
            for epoch in epochs:
                self._epoch(epoch)
        self._stop_tracing()

    def _remarks(self, kinds: Sequence[Kind]) -> Iterator[str]:
        """What a user may want to know before training begins."""
        slow = self.x.config.model.dtype == "bfloat16" and jax.default_backend() == "cpu"
        if slow and not cpu.has_bfloat16_units():
            yield "model.dtype=bfloat16: this processor has no units for it, float32 is faster"
        if any(augmented for _, augmented in kinds):
            yield f"captions are augmented by {self.x.loader.caption_operations()}"

    def _usual_length(self) -> int:
        """Tokens of the longest caption in a batch, by a sample of that size."""
        x, rng = self.x, np.random.default_rng(0)
        sample = rng.integers(len(x.source), size=x.config.batch_size)
        tokens = x.tokenizer.encode([x.source.captions[int(i)] for i in sample])
        return x.steps.model.config.text.length(tokens)

    def _train_step(self, kind: Kind, length: int) -> Future[jax.stages.Compiled]:
        """The step for captions of so many tokens, which compiles from when it is asked for."""
        if (kind, length) not in self._train_steps:
            with self.clock("compile"):
                step = self.x.steps.lower_train(kind, self.state, self.x.config.batch_size, length)
                self._train_steps[kind, length] = self._compiler.submit(step.compile)
        return self._train_steps[kind, length]

    def finish(self) -> dict:
        """Evaluates, writes `results.json` and `report.html`, and returns the figures."""
        x, poisons = self.x, self.x.attack.manifest.indices
        figures = self._evaluated()
        with self.clock("evaluation"):
            if self.pools is not None:
                quality = pool_quality(self.pools, poisons)
                self.pools = None  # the report reads those of all epochs, one after the other
            else:
                quality = dict(NO_POOLS)
                if len(poisons):
                    quality |= score_quality(self.score(x.config.epochs), poisons)
        found = results.collect(
            x,
            NOTHING | summary(figures),
            quality,
            self.clock.totals(),
            self.position.total_steps,
            int(self.state.skipped),
        )
        if jax.process_index() == 0:
            run_report.write(self.folder, x, found, figures)
            results.write(self.folder / "results.json", found)
        return found

    def close(self) -> None:
        self.progress.close()
        self._compiler.shutdown(cancel_futures=True)
        with contextlib.closing(self.checkpoints):
            if self.metrics is not None:
                self.metrics.close()

    def score(self, epoch: int) -> np.ndarray:
        """Scores every pair with the current weights, see `scoring.score`.

        With `score.reuse`, pairs that trained since the last time keep their score of then, if
        the defence takes it for recent enough.
        """
        remembered = self.state.remembered
        reuse = remembered is not None and self.x.defense.before(epoch).reuse
        scores = scoring.score(self.x, self.state, epoch, reuse, self.beat)
        if remembered is not None:
            self.state = self.state.replace(remembered=remembered * np.nan)
        return scores

    def _evaluated(self) -> Metrics:
        """The figures after so many steps, computed once."""
        step = self.position.total_steps
        if self._figures is None or self._figures[0] != step:
            self.beat("evaluation")
            with self.clock("evaluation"):
                self._figures = step, self.evaluate(self.state.variables)
        return self._figures[1]

    def learning_rate(self, stage: Stage, pairs: float) -> np.float32:
        """The stage's constant rate, or the schedule's after this many pairs."""
        config, size = self.x.config, len(self.x.source)
        if stage.learning_rate is not None:
            return np.float32(stage.learning_rate)
        warmup = max(config.optimizer.warmup_pairs, self.x.defense.rising_epochs * size)
        peak = config.optimizer.learning_rate
        return np.float32(schedule(pairs, size * config.epochs, peak, warmup))

    def _epoch(self, epoch: int) -> None:
        config = self.x.config
        before = self.x.defense.before(epoch)
        if before.pools:
            self.pools = self._assign_pools(epoch)
        if before.anew and self.position.begins_epoch:
            self.state = self._initial_state().replace(skipped=self.state.skipped)
        stages = self.x.defense.stages(epoch, self.x.pairs, self.pools)
        lengths = [self._steps(stage) for stage in stages]
        for number in range(self.position.stage, len(stages)):
            self._stage(stages[number], number, sum(lengths[:number]), sum(lengths))
            self._advance(stage=number + 1, step=0)
        if config.evaluate.every and (epoch + 1) % config.evaluate.every == 0:
            figures = self._evaluated()
            self._record(kind="evaluation", epoch=epoch, **(NOTHING | summary(figures)))
            self.progress.say(f"epoch {epoch + 1}: {evaluator.line(figures)}")
        self.x.skipped.share()
        self._advance(epoch=epoch + 1, stage=0)
        self._save()

    def _stage(self, stage: Stage, number: int, before: int, in_epoch: int) -> None:
        """Runs what is left of a stage; `before` steps of the epoch's are in earlier stages."""
        place = self.position.epoch, number
        batches = self._batches(stage, place)
        for step in range(self.position.step, self._steps(stage)):
            self.beat(f"epoch {place[0] + 1}, {stage.name} step {step + 1}")
            with self.clock("input"):
                batch = self._next(batches)
            length, asked = batch.largest()
            with self.clock("compile"):
                train_step = self._train_step(stage.kind, length).result()
            with self.clock("train"):
                self._land(STEPS_IN_FLIGHT - 1)
                rate = self.learning_rate(stage, self._pairs(before + step, in_epoch))
                self.state, metrics = train_step(
                    self.state, batch.arrays, rate, np.array(place, np.int32)
                )
            self._advance(step=step + 1, total_steps=self.position.total_steps + 1)
            self._flight.append((self.position, stage.name, rate, metrics))
            self._show_progress(before + step + 1, in_epoch)
            self._profile()
            self._heed(asked)
        with self.clock("train"):
            self._land(0)

    def _batches(self, stage: Stage, place: tuple[int, int]) -> Iterator[Placed]:
        """What is left of a stage's batches, with their length and what a host asks for."""
        size, views = self.x.config.batch_size, caption_views(stage.kind)
        text = self.x.steps.model.config.text
        batches = self.x.loader.training_batches(
            stage.pairs, size, place, views, self.position.step
        )
        return feed.ahead(
            batches, self.x.mesh, lambda batch: (text.length(batch["tokens"]), self._asks())
        )

    def _next(self, batches: Iterator[Placed]) -> Placed:
        """The next batch; if the data fails, what was done so far is saved first."""
        try:
            return next(batches)
        except Outage:
            if jax.process_count() == 1:
                self._land(0)
                self._save()
            raise

    def _profile(self) -> None:
        """Traces some steps in the middle of training, where nothing compiles any more."""
        first = self.x.config.profile_at
        if first and self.position.total_steps == first:
            self._land(0)
            jax.profiler.start_trace(self.folder / "profile")
            self._tracing = True
        elif self._tracing and self.position.total_steps == first + PROFILED_STEPS:
            self._stop_tracing()

    def _stop_tracing(self) -> None:
        if self._tracing:
            self._land(0)
            jax.profiler.stop_trace()
            self._tracing = False

    def _land(self, left: int) -> None:
        """Waits for the oldest steps until so many are left in flight, and logs their metrics."""
        while len(self._flight) > left:
            position, stage, rate, metrics = self._flight.popleft()
            jax.block_until_ready(metrics)
            if position.total_steps % self.x.config.log_every == 0:
                self._log(position, stage, rate, metrics)

    def _log(
        self, position: Position, stage: str, rate: np.float32, metrics: dict[str, jax.Array]
    ) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        self._guard(int(values.pop("skipped_in_a_row")))
        if self.metrics is not None:
            lr = float(rate)
            where = {"kind": "train", "epoch": position.epoch, "stage": stage}
            self.metrics.write(position.total_steps, **where, learning_rate=lr, **values)
        seconds = self.clock.seconds
        busy = seconds["train"] + seconds["input"]
        speed = position.total_steps * self.x.config.batch_size / max(busy, 1e-9)
        self._latest = (
            f"{stage} loss {values['loss']:.3f} scale {values['logit_scale']:.1f} lr {rate:.1e} "
            f"{speed:.0f} pairs/s, input {seconds['input'] / max(busy, 1e-9):.0%}"
        )

    def _show_progress(self, step: int, in_epoch: int) -> None:
        epoch = f"epoch {self.position.epoch + 1}/{self.x.config.epochs}"
        self.progress.advance_to(self._pairs(step, in_epoch), f"{epoch} {self._latest}")

    def _steps(self, stage: Stage) -> int:
        config = self.x.config
        steps = steps_in_stage(len(stage.pairs), config.batch_size)
        return min(steps, config.max_steps) if config.max_steps else steps

    def _pairs(self, step: int, in_epoch: int) -> float:
        """Pairs seen before a step of the epoch; an epoch counts all pairs, whatever it drops."""
        return (self.position.epoch + step / max(in_epoch, 1)) * len(self.x.source)

    def _guard(self, skipped_in_a_row: int) -> None:
        """Lets the run go back, or stop, after too many steps without an update."""
        optimizer = self.x.config.optimizer
        if skipped_in_a_row < optimizer.max_skipped_steps:
            return
        what = f"loss or gradient was not finite for {skipped_in_a_row} steps in a row"
        if self.position.rollbacks >= optimizer.rollbacks:
            raise UserError(
                f"{what}, after {self.position.rollbacks} return(s) to an earlier checkpoint: "
                "lower optimizer.learning_rate; all up to the last checkpoint is kept"
            )
        self.progress.say(f"{what}: going back to the last checkpoint before them")
        raise Diverged

    def _assign_pools(self, epoch: int) -> Pools:
        """This epoch's pools: from the file, if the run was here before, or by new scores."""
        path = pools.path(self.folder, epoch)
        found = pools.load(path) if run_folder.exists(path) else None
        if not self.position.begins_epoch:
            digest = found.digest() if found is not None else "nothing"
            if digest != self.position.pools:
                raise UserError(
                    f"{path} is not what this epoch began with, and pools are never computed "
                    "twice: restore the file, or move the newest checkpoint away to begin the "
                    "epoch anew"
                )
        if found is not None:
            return found
        with self.clock("scoring"):
            distances = None
            if self.x.defense.before(epoch).distances:
                distances = scoring.distances(self.x, self.state, epoch, self.beat)
            scores = self.score(epoch)
            assigned = self.x.defense.pools(epoch, scores, self.pools, distances)
        sharding.check_same_everywhere(f"pools of epoch {epoch}", assigned.digest())
        if jax.process_index() == 0:
            pools.save(assigned, path)
        quality = pool_quality(assigned, self.x.attack.manifest.indices)
        self._record(kind="pools", epoch=epoch, **quality)
        return assigned

    def _pools_before(self, epoch: int) -> Pools | None:
        """The last ones that were assigned before this epoch."""
        for earlier in reversed(range(epoch)):
            path = pools.path(self.folder, earlier)
            if run_folder.exists(path):
                return pools.load(path)
        return None

    def _forget_pools(self) -> None:
        """Deletes the pools that were assigned after the position."""
        if jax.process_index() == 0:
            first = self.position.epoch + (not self.position.begins_epoch)
            for epoch in range(first, self.x.config.epochs):
                pools.path(self.folder, epoch).unlink(missing_ok=True)
        sharding.from_lead(0)

    def _record(self, **values: object) -> None:
        if self.metrics is not None:
            self.metrics.write(self.position.total_steps, **values)

    def _advance(self, **changes: Any) -> None:
        self.position = replace(self.position, **changes)

    def _save(self) -> None:
        with self.clock("checkpoint"):
            digest = self.pools.digest() if self.pools is not None else ""
            position = replace(self.position, seconds=self.clock.totals(), pools=digest)
            self.checkpoints.save(self.state, position)
        self._saved_at = time.monotonic()

    def _asks(self) -> int:
        """What this host wants: 0, a checkpoint, or to stop with a status above 128."""
        minutes = (time.monotonic() - self._saved_at) / 60
        due = minutes >= self.x.config.checkpoint_minutes
        return max(self.signals.wish, CHECKPOINT if due else 0)

    def _heed(self, asked: int) -> None:
        """Checkpoints if a host asked for it, and stops if one did.

        Several hosts learn of it with the same batch, so all of them act after the same step.
        """
        if jax.process_count() == 1:
            asked = self._asks()
        elif asked == CHECKPOINT and self.position.total_steps <= self._answered:
            return  # noted before the checkpoint that an earlier batch led to
        if not asked:
            return
        self._answered = self.position.total_steps + feed.AHEAD
        with self.clock("train"):
            self._land(0)
        self.signals.checkpoint_begins()
        self._save()
        if asked > CHECKPOINT:
            self.checkpoints.close()
            raise Interrupted(asked)


def _is_good(state: TrainState) -> bool:
    """Whether the last step before a checkpoint was finite, and so are its parameters."""
    norm = sharding.to_host(optax.global_norm(state.params))
    return int(state.skipped_in_a_row) == 0 and bool(np.isfinite(norm))


def schedule(pairs: float, total: int, peak: float, warmup: float) -> float:
    """Linear warm-up to the peak over `warmup` pairs, then a cosine to zero at `total` pairs.

    Args:
      pairs: seen so far.
      total: of the run.
      peak: the largest rate.
      warmup: pairs until then.
    """
    warmup = min(warmup, total)
    if pairs < warmup:
        return peak * pairs / warmup
    done = (pairs - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
