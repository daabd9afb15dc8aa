"""The loop: epochs → stages → steps → checkpoints → evaluation.

It knows stages and nothing of defences. Everything it does is a function of the settings
and of `Position`, so a run that is killed goes on to the same result.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from safeclip_jax.data.pipeline import steps_in_stage
from safeclip_jax.data.skipped import write_rejected
from safeclip_jax.defenses.defense import Place, Stage
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.watchdog import Heartbeat, no_heartbeat
from safeclip_jax.errors import Outage, UserError
from safeclip_jax.evaluation.task import Metrics, summary
from safeclip_jax.system.signals import CHECKPOINT, Interrupted, Signals
from safeclip_jax.system.terminal import ProgressLine
from safeclip_jax.training import evaluator, feed, preflight, results, run_report, scoring
from safeclip_jax.training.checkpoint import Checkpoints, Position
from safeclip_jax.training.compiled_steps import CompiledSteps
from safeclip_jax.training.epoch_pools import EpochPools
from safeclip_jax.training.evaluator import (
    NO_POOLS,
    NOTHING,
    Evaluator,
    pool_quality,
    score_quality,
)
from safeclip_jax.training.experiment import Experiment
from safeclip_jax.training.feed import Placed
from safeclip_jax.training.in_flight import Step, StepsInFlight
from safeclip_jax.training.metrics import Clock, MetricsLog
from safeclip_jax.training.schedule import Schedule
from safeclip_jax.training.state import TrainState

STEPS_IN_FLIGHT = 2
PROFILED_STEPS = 5


class Diverged(Exception):
    """Steps were not finite, so many in a row as the config allows."""


class Trainer:
    """A run between two of its steps.

    Args:
      experiment: what is trained.
      folder: of the run; it goes on from the newest checkpoint there.
      heartbeat: hears of each piece of progress.
      changed: differences of the config that were accepted, to be noted.
      rollback: whether it goes back because of non-finite steps: to the newest checkpoint before
        them.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        heartbeat: Heartbeat = no_heartbeat,
        changed: Sequence[str] = (),
        rollback: bool = False,
    ):
        config = experiment.config
        self.x, self.folder, self._beat = experiment, folder, heartbeat
        lead = jax.process_index() == 0
        self.checkpoints = Checkpoints(folder, config.keep_checkpoints, config.keep_every_epochs)
        initial = experiment.initial_state()
        restored = self.checkpoints.restore(initial, _is_good if rollback else None)
        self.state, self.position = restored or (initial, Position())
        self.pools = EpochPools(folder, config.plan)
        if rollback:
            self.position = replace(self.position, rollbacks=self.position.rollbacks + 1)
            self.pools.forget_after(self.position, config.epochs)
        self.pools.read_before(self.position)
        self.clock = Clock(self.position.seconds)
        self.metrics = MetricsLog(folder, self.position.total_steps) if lead else None
        for difference in changed:
            self._record(kind="config", note=difference)
        if rollback:
            self._record(kind="rollback", note="non-finite steps")
        total = config.epochs * len(experiment.source)
        self.progress = ProgressLine(total, self._pairs(0, 1), lead)
        self.schedule = Schedule.of(config, len(experiment.source))
        self.evaluate = Evaluator(experiment)
        self._figures: tuple[int, Metrics] | None = None
        self._compiled, self._flight = CompiledSteps(experiment), StepsInFlight(self._log)
        self._latest, self._tracing = "", False
        self.signals, self._answered = Signals(), 0
        self._saved_at = time.monotonic()
        if restored:
            self.progress.say(
                f"resumed in epoch {self.position.epoch + 1} of {config.epochs}, "
                f"after {self.position.total_steps} steps"
            )

    def heartbeat(self, word: str) -> None:
        """Tells the watchdog, and whoever waits, what goes on."""
        self._beat(word)
        self.progress.doing(word)

    def train(self) -> None:
        """Runs every epoch that is left."""
        epochs = range(self.position.epoch, self.x.config.epochs)
        kinds = self.x.kinds(epochs)
        self.progress.doing("compiles the train steps")
        with self.clock("compile"):
            for kind in kinds:
                self._compiled.begin(kind, self._compiled.usual_length(), self.state)
        for line in preflight.remarks(self.x):
            self.progress.say(line)
        with self.signals.heard():
            for epoch in epochs:
                self._epoch(epoch)
        self._stop_tracing()

    def finish(self) -> dict:
        """Evaluates, writes `results.json` and `report.html`, and returns the figures."""
        x, poisons = self.x, self.x.attack.manifest.indices
        figures = self._evaluated()
        with self.clock("evaluation"):
            if self.pools.latest is not None:
                quality = pool_quality(self.pools.latest, poisons)
                self.pools.latest = None  # the report reads those of all epochs, one by one
            else:
                quality = dict(NO_POOLS)
                if len(poisons):
                    quality |= score_quality(self.scores(x.config.epochs), poisons)
        found = results.collect(
            x,
            NOTHING | summary(figures),
            quality,
            self.clock.totals(),
            self.position.total_steps,
            int(self.state.skipped),
        )
        unusable = self.evaluate.unusable()
        found["skipped_held_out"] = len(unusable)
        if jax.process_index() == 0:
            if unusable:
                write_rejected(self.folder / "skipped_held_out.jsonl", unusable)
            run_report.write(self.folder, x, found, figures)
            results.write(self.folder / "results.json", found)
        return found

    def close(self) -> None:
        self.progress.close()
        self._compiled.close()
        with contextlib.closing(self.checkpoints):
            if self.metrics is not None:
                self.metrics.close()

    def scores(self, epoch: int) -> np.ndarray:
        """Scores every pair with the current weights, see `scoring.scores`.

        With `score.reuse`, pairs that trained since the last time keep their score of then, if
        the defence takes it for recent enough.
        """
        remembered = self.state.remembered
        reuse = remembered is not None and self.x.config.plan.before(epoch).reuse
        found = scoring.scores(self.x, self.state, epoch, reuse, self.heartbeat)
        if remembered is not None:
            self.state = self.state.replace(remembered=remembered * np.nan)
        return found

    def _evaluated(self) -> Metrics:
        """The figures after so many steps, computed once."""
        step = self.position.total_steps
        if self._figures is None or self._figures[0] != step:
            self.heartbeat("evaluation")
            with self.clock("evaluation"):
                self._figures = step, self.evaluate(self.state.variables)
        return self._figures[1]

    def _epoch(self, epoch: int) -> None:
        config = self.x.config
        before = config.plan.before(epoch)
        if before.pools and not self.pools.made_before(self.position):
            self._make_pools(epoch)
        if before.restart and self.position.begins_epoch:
            self.state = self.x.initial_state().replace(skipped=self.state.skipped)
        stages = self.x.stages(epoch)
        pairs = [stage.part.indices(len(self.x.source), self.pools.latest) for stage in stages]
        lengths = [self._steps(len(indices)) for indices in pairs]
        for number in range(self.position.stage, len(stages)):
            before_it, in_epoch = sum(lengths[:number]), sum(lengths)
            self._stage(stages[number], pairs[number], number, before_it, in_epoch)
            self._advance(stage=number + 1, step=0)
        if config.evaluate.every and (epoch + 1) % config.evaluate.every == 0:
            figures = self._evaluated()
            self._record(kind="evaluation", epoch=epoch, **(NOTHING | summary(figures)))
            self.progress.say(f"epoch {epoch + 1}: {evaluator.line(figures)}")
        self.x.skipped.share()
        self._advance(epoch=epoch + 1, stage=0)
        self._save()

    def _make_pools(self, epoch: int) -> None:
        with self.clock("scoring"):
            made = self.pools.make(
                epoch,
                lambda: self.scores(epoch),
                lambda: scoring.distances(self.x, self.state, epoch, self.heartbeat),
            )
        quality = pool_quality(made, self.x.attack.manifest.indices)
        self._record(kind="pools", epoch=epoch, **quality)

    def _stage(
        self, stage: Stage, pairs: np.ndarray, number: int, before: int, in_epoch: int
    ) -> None:
        """Runs what is left of a stage; `before` steps of the epoch's are in earlier stages."""
        place = self.position.epoch, number
        batches = self._batches(stage, pairs, place)
        plan, steps = self.x.config.plan, self._steps(len(pairs))
        for step in range(self.position.step, steps):
            self._beat(f"epoch {place[0] + 1}, {stage.name} step {step + 1}")
            with self.clock("input"):
                batch = self._next(batches)
            length, request = batch.largest()
            with self.clock("compile"):
                if not self._compiled.is_there(stage.kind, length):
                    self.progress.doing(f"compiles the {stage.name} step")
                train_step = self._compiled.begin(stage.kind, length, self.state).result()
            with self.clock("train"):
                self._flight.wait(STEPS_IN_FLIGHT - 1)
                own = plan.rate(stage, self._place(step, steps))
                rate = self.schedule.rate(own, self._pairs(before + step, in_epoch))
                self.state, metrics = train_step(
                    self.state, batch.arrays, rate, np.array(place, np.int32)
                )
            self._advance(step=step + 1, total_steps=self.position.total_steps + 1)
            self._flight.add(Step(self.position, stage.name, rate, metrics))
            self._show_progress(before + step + 1, in_epoch)
            self._profile()
            self._answer(request)
        with self.clock("train"):
            self._flight.wait()

    def _batches(self, stage: Stage, pairs: np.ndarray, place: tuple[int, int]) -> Iterator[Placed]:
        """What is left of a stage's batches, with their length and what a host requests."""
        objective, augmented = stage.kind
        text = self.x.steps.model.config.text
        batches = self.x.loader.training_batches(
            pairs,
            self.x.config.batch_size,
            place,
            objective.caption_views(augmented),
            self.position.step,
        )
        return feed.ahead(
            batches, self.x.mesh, lambda batch: (text.length(batch["tokens"]), self._request())
        )

    def _next(self, batches: Iterator[Placed]) -> Placed:
        """The next batch; if the data fails, what was done so far is saved first."""
        try:
            return next(batches)
        except Outage:
            if jax.process_count() == 1:
                self._flight.wait()
                self._save()
            raise

    def _profile(self) -> None:
        """Traces some steps in the middle of training, where nothing compiles any more."""
        first = self.x.config.profile_at
        if first and self.position.total_steps == first:
            self._flight.wait()
            jax.profiler.start_trace(self.folder / "profile")
            self._tracing = True
        elif self._tracing and self.position.total_steps == first + PROFILED_STEPS:
            self._stop_tracing()

    def _stop_tracing(self) -> None:
        if self._tracing:
            self._flight.wait()
            jax.profiler.stop_trace()
            self._tracing = False

    def _log(self, step: Step) -> None:
        """Notes the metrics of a step that is done, where they are due."""
        if step.position.total_steps % self.x.config.log_every:
            return
        values = {name: float(value) for name, value in step.metrics.items()}
        self._guard(int(values.pop("skipped_in_a_row")))
        if self.metrics is not None:
            where = {"kind": "train", "epoch": step.position.epoch, "stage": step.stage}
            rate = float(step.rate)
            self.metrics.write(step.position.total_steps, **where, learning_rate=rate, **values)
        seconds = self.clock.seconds
        busy = max(seconds["train"] + seconds["input"], 1e-9)
        speed = step.position.total_steps * self.x.config.batch_size / busy
        self._latest = (
            f"{step.stage} loss {values['loss']:.3f} {speed:.0f} pairs/s "
            f"scale {values['logit_scale']:.1f} lr {step.rate:.1e} "
            f"input {seconds['input'] / busy:.0%}"
        )

    def _show_progress(self, step: int, in_epoch: int) -> None:
        epoch = f"epoch {self.position.epoch + 1}/{self.x.config.epochs}"
        self.progress.advance_to(self._pairs(step, in_epoch), f"{epoch} {self._latest}")

    def _steps(self, pairs: int) -> int:
        config = self.x.config
        steps = steps_in_stage(pairs, config.batch_size)
        return min(steps, config.max_steps) if config.max_steps else steps

    def _pairs(self, step: int, in_epoch: int) -> float:
        """Pairs seen before a step of the epoch; an epoch counts all pairs, whatever it drops."""
        return (self.position.epoch + step / max(in_epoch, 1)) * len(self.x.source)

    def _place(self, step: int, steps: int) -> Place:
        """Where a step of the stage is, that has so many."""
        return Place(
            self.position.epoch,
            self.x.config.epochs,
            step,
            steps,
            self._steps(len(self.x.source)),
            self.schedule.peak,
            self.schedule.warmup / self.x.config.batch_size,
            self.pools.first_share,
        )

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

    def _record(self, **values: object) -> None:
        if self.metrics is not None:
            self.metrics.write(self.position.total_steps, **values)

    def _advance(self, **changes: Any) -> None:
        self.position = replace(self.position, **changes)

    def _save(self) -> None:
        with self.clock("checkpoint"):
            seconds, pools = self.clock.totals(), self.pools.digest
            self.checkpoints.save(self.state, replace(self.position, seconds=seconds, pools=pools))
        self._saved_at = time.monotonic()

    def _request(self) -> int:
        """What this host wants: 0, a checkpoint, or to stop with a status above 128."""
        minutes = (time.monotonic() - self._saved_at) / 60
        due = minutes >= self.x.config.checkpoint_minutes
        return max(self.signals.request, CHECKPOINT if due else 0)

    def _answer(self, request: int) -> None:
        """Checkpoints if a host requests it, and stops if one does.

        Several hosts learn of it with the same batch, so all of them act after the same step.
        """
        if jax.process_count() == 1:
            request = self._request()
        elif request == CHECKPOINT and self.position.total_steps <= self._answered:
            return  # noted before the checkpoint that an earlier batch led to
        if not request:
            return
        self._answered = self.position.total_steps + feed.AHEAD
        with self.clock("train"):
            self._flight.wait()
        self.signals.checkpoint_begins()
        self._save()
        if request > CHECKPOINT:
            self.checkpoints.close()
            raise Interrupted(request)


def _is_good(state: TrainState) -> bool:
    """Whether the last step before a checkpoint was finite, and so are its parameters."""
    norm = sharding.to_host(optax.tree.norm(state.params))
    return int(state.skipped_in_a_row) == 0 and bool(np.isfinite(norm))
