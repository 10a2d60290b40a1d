"""The training loop.

``train`` opens the dataset and the run folder, and lets a ``TrainingRun`` take one step after another. A
step (``steps``) is: draw scenes and rays, encode, render, compare, update the weights. What changes over a
run (stage, losses, learning rate) comes from ``schedule``; everything random from ``seeds``.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from objnerf.console import FOR_USER, Progress, no_bar
from objnerf.dataset.index import Dataset, open_dataset
from objnerf.errors import WorkError
from objnerf.training import schedule
from objnerf.training.checkpoints import RunState, Which, checkpoint_path, load_checkpoint, save_checkpoint
from objnerf.training.collapse import Finding, monitor_of
from objnerf.training.held_out import Split, split_dataset
from objnerf.training.numerics import memory_explained, repeatable, set_precision
from objnerf.training.previews import look
from objnerf.training.processes import Processes, join_processes
from objnerf.training.recipe import Recipe
from objnerf.training.runs import RunFolder, open_run
from objnerf.training.scenes import Scenes, load_scenes, require_views
from objnerf.training.schedule import ScheduleState
from objnerf.training.steps import discriminator_step, mean_metrics, model_step, set_up

_log = logging.getLogger(__name__)


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a call of ``train`` runs; nothing here changes what is computed, but for ``max_minutes``."""

    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``; under torchrun one GPU for each process."""
    resume: bool = False
    """Continue from the run's last checkpoint; start where there is none yet."""
    max_steps: int | None = None
    """Stop after this many steps of the run, earlier calls included."""
    max_minutes: float | None = None
    """Stop this many minutes after the call, whatever the step."""
    command: Sequence[str] = ()
    """What the user typed, written to the run's ``environment.json``."""
    bar: Callable[[str, str], AbstractContextManager[Progress]] = no_bar
    """Given what is being done and its unit, opens a ``Progress``; such as ``console.progress_bar``."""
    stop: Callable[[], bool] = _never
    """Asked after each step; true ends the call as a limit does."""


_DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True)
class Outcome:
    """How a call of ``train`` ended."""

    step: int
    """Steps done, over all calls."""
    seconds: float
    """Time spent in training, over all calls."""
    psnr: float | None
    """Of novel views of held-out scenes, dB; None where nothing is held out."""
    reason: str
    """Why it ended: ``finished``, or which limit was reached."""
    nothing_held_out: str | None = None
    """Why no PSNR on novel views can be measured; None where views or scenes are held out."""


def train(dataset_root: Path, out: Path, recipe: Recipe, options: RunOptions = _DEFAULT_OPTIONS) -> Outcome:
    """Train a scene model and leave everything about it in a run folder.

    Args:
        dataset_root: folder of the dataset.
        out: the run folder; made when it is not there.
        recipe: what to train and how; with ``options.resume`` that of the run.
        options: device, limits and what is shown.
    Raises:
        InputError: dataset, folder or checkpoint cannot be used.
        WorkError: the loss is no longer finite, or the device has too little memory.

    Example:
        ``train(Path("dataset"), Path("runs/a"), load_recipe("tiny"), RunOptions(max_minutes=10))``
    """
    called = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(memory_explained())
        processes = stack.enter_context(join_processes(options.device))
        if not processes.main:
            options = replace(options, bar=no_bar)
        stack.enter_context(repeatable(processes.device))
        set_precision(recipe)
        dataset = open_dataset(dataset_root)
        split = split_dataset(dataset, recipe.held_out, recipe.batch.views)
        folder = stack.enter_context(
            open_run(out, recipe, dataset, split, options.resume, options.command, processes)
        )
        nothing_held_out = _log_split(dataset, recipe, split)
        scenes, shown = _load(dataset, recipe, split, processes, options)
        run = TrainingRun(folder, recipe, scenes, shown, processes, options, called)
        run.restore()
        progress = stack.enter_context(options.bar("training", "steps"))
        reason = run.train(progress)
        _log.info("%s: %d steps done in %.0f s", reason, run.state.step, run.state.seconds)
        processes.wait()
        return Outcome(run.state.step, run.state.seconds, run.state.psnr, reason, nothing_held_out)


def _log_split(dataset: Dataset, recipe: Recipe, split: Split) -> str | None:
    """Log what is held out; the reason where nothing is."""
    _log.info("%d scenes to train on, %d held out", len(split.train), len(split.held_out))
    if split.held_out_views:
        _log.info(
            "the dataset has one scene, so its last %d views are held out instead of scenes",
            split.held_out_views,
        )
    if not split.is_empty:
        return None
    reason = _why_nothing_is_held_out(dataset, recipe)
    _log.info("nothing is held out: %s", reason)
    return reason


def _why_nothing_is_held_out(dataset: Dataset, recipe: Recipe) -> str:
    """In words, for a run that has no novel views to measure PSNR on."""
    if recipe.held_out.scenes is not None or recipe.held_out.share == 0:
        return "the recipe says so (held_out)"
    return (
        f"the only scene has {dataset.n_views} views, and a step uses {recipe.batch.views} of them "
        "(batch.views)"
    )


def _load(
    dataset: Dataset, recipe: Recipe, split: Split, processes: Processes, options: RunOptions
) -> tuple[Scenes, Scenes]:
    """The scenes to train on, and those that previews show."""
    lens = recipe.scale.focal_ratio if recipe.scale.own_intrinsics else None
    stage_sizes = [stage.size for stage in recipe.stages]
    learned = split.train_views(dataset)
    require_views(learned, split.train, recipe.batch.views)
    with options.bar("reading images", "views") as reading:
        scenes = load_scenes(
            learned,
            split.train,
            [recipe.input_size, *stage_sizes],
            processes.device,
            depth_sizes=stage_sizes if recipe.losses.depth > 0 else [],
            focal_ratio=lens,
            progress=reading,
        )
    shown = load_scenes(
        split.held_out_dataset(dataset),
        split.evaluated[: recipe.evaluation.scenes],
        [recipe.input_size, recipe.evaluation.size],
        processes.device,
        focal_ratio=lens,
    )
    return scenes, shown


class TrainingRun:
    """A run in progress: how far it has come, and what happens at, between and after its steps.

    Args:
        folder: where everything is written.
        recipe: what to train and how.
        scenes: to train on.
        shown: scenes of the previews; held-out ones where there are any.
        processes: this one and those beside it.
        options: limits, and what is shown.
        called: ``time.monotonic()`` at the beginning of the call.
    Attributes:
        state: steps done, attempt, learning-rate ticks, seconds, PSNR.
        end: the step at which this call ends.
        last_step: the step at which the run ends.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        scenes: Scenes,
        shown: Scenes,
        processes: Processes,
        options: RunOptions,
        called: float,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.scenes = scenes
        self.shown = shown
        self.processes = processes
        self.options = options
        self.called = called
        self.epoch_steps = schedule.steps_per_epoch(recipe, len(scenes.ids), processes.count)
        self.last_step = schedule.total_steps(recipe, self.epoch_steps)
        limit = options.max_steps
        self.end = self.last_step if limit is None else min(self.last_step, limit)
        self.state = RunState()
        self.context = set_up(recipe, self.state.attempt, scenes, processes)
        self.monitor = monitor_of(recipe)
        self._interval: list[dict[str, Tensor]] = []
        self._note = ""
        self._earlier = 0.0
        self._begun = self._logged = called

    def restore(self) -> None:
        """Load the last checkpoint, if the run is resumed and has one, and what the monitor has seen."""
        folder, context = self.folder, self.context
        if context.perceptual is not None:
            folder.record_perceptual(context.perceptual.name)
        if folder.checkpoint is not None:
            self.state = load_checkpoint(folder.checkpoint, context.networks)
            self.context = replace(context, attempt=self.state.attempt)
            _log.info("resuming %s at step %d of %d", folder.path, self.state.step, self.end, extra=FOR_USER)
        elif self.options.resume:
            _log.info("%s holds no checkpoint yet: starting at step 0", folder.path, extra=FOR_USER)
        state = self.state
        folder.forget_after(state.step, state.attempt)
        for step, metrics in folder.history(state.step, state.attempt) if state.step else ():
            if "slots/used" in metrics:
                self.monitor.update(step, metrics)
        _log.info(
            "recipe %s: steps %d to %d, %d scenes each, on %s",
            *(self.recipe.name, state.step, self.end),
            *(schedule.scenes_per_step(self.recipe, self.processes.count), self.processes.description),
        )

    def train(self, progress: Progress) -> str:
        """Take steps until the run or the call ends.

        Args:
            progress: called after each step with (steps done, expected last step, note).
        Returns:
            Why it ended: ``finished``, or which limit was reached.
        """
        self._earlier = self.state.seconds
        self._begun = self._logged = time.monotonic()
        saving, every = self.recipe.saving, self.recipe.evaluation.every
        while self.state.step < self.end:
            scheduled = schedule.state_at(self.recipe, self.state.step, self.epoch_steps)
            self._step(scheduled)
            over, stops = self._asked_to_stop()
            ends = stops or self.state.step == self.end
            looks = ends or (every > 0 and self.state.step % every == 0)
            saves = ends or self.state.step % saving.checkpoint_every == 0
            # Nothing is saved before the metrics up to here are known to be finite.
            if self._interval and (looks or saves or self.state.step % saving.log_every == 0):
                finding = self._log_metrics(scheduled)
                if finding is not None and self._restarts(finding):
                    continue
            if looks and self.processes.main:
                self._evaluate(scheduled.locality)
            if saves and self.processes.main:
                self._save("last")
            progress(self.state.step, self._expected_end(), self._note)
            if stops:
                return f"--max-minutes {self.options.max_minutes:g}" if over else "stopped"
        return "finished" if self.end == self.last_step else f"--max-steps {self.options.max_steps}"

    def _step(self, scheduled: ScheduleState) -> None:
        """Update the networks whose turn it is, and count the step."""
        context, state = self.context, self.state
        if scheduled.generator:
            # Of the recipe's steps, not of --max-steps: a run in two calls is the same as one in one.
            done = run_progress(state.step, self.last_step, self._seconds_of_call(), self.options.max_minutes)
            self._interval.append(model_step(context, scheduled, state, done))
        if scheduled.discriminator:
            self._interval.append(discriminator_step(context, scheduled, state))
        settings = self.recipe.schedule
        self.state = replace(
            state,
            step=state.step + 1,
            ticks=schedule.ticks_after(settings, state.ticks, scheduled, state.step, self.epoch_steps),
            discriminator_ticks=state.discriminator_ticks + int(scheduled.discriminator),
            seconds=self._earlier + time.monotonic() - self._begun,
        )

    def _asked_to_stop(self) -> tuple[bool, bool]:
        """Whether the time is over here, and whether all processes stop after this step."""
        minutes = self.options.max_minutes
        over = minutes is not None and self._seconds_of_call() > 60 * minutes
        # Several processes can only stop together, and to agree costs a message.
        asks = self.processes.count == 1 or self.state.step % self.recipe.saving.log_every == 0
        return over, asks and self.processes.agree(over or self.options.stop())

    def _log_metrics(self, scheduled: ScheduleState) -> Finding | None:
        """Write the mean metrics of the steps since the last time; a collapse that they show."""
        now, state = time.monotonic(), self.state
        metrics = mean_metrics(self._interval, self.processes)
        check_finite(metrics, state, self.folder.path)
        metrics["step_seconds"] = (now - self._logged) / len(self._interval)
        self.folder.write_metrics(
            state.step,
            {
                **metrics,
                "time": scheduled.time,
                "stage": scheduled.stage.name,
                "attempt": state.attempt,
                "seconds": round(state.seconds, 3),
            },
        )
        self._interval, self._logged = [], now
        if "psnr/train" in metrics:
            self._note = f"{scheduled.stage.name}, PSNR {metrics['psnr/train']:.1f}"
        finding = self.monitor.update(state.step, metrics)
        if finding is not None:
            _log.warning("%s", finding)
        return finding

    def _restarts(self, finding: Finding) -> bool:
        """Start the run again after a collapse, if the recipe allows it, with other weights and batches."""
        settings, state = self.recipe.monitor, self.state
        if state.attempt >= settings.restarts or state.step > settings.restart_until:
            return False
        self.state = RunState(attempt=state.attempt + 1, seconds=state.seconds)
        _log.warning(
            "starting again from another seed: restart %d of at most %d",
            *(self.state.attempt, settings.restarts),
        )
        self.folder.write_metrics(0, {"restart": self.state.attempt, "collapse": finding.kind.value})
        self.context = set_up(self.recipe, self.state.attempt, self.scenes, self.processes)
        self.monitor = monitor_of(self.recipe)
        self._logged = time.monotonic()
        return True

    def _evaluate(self, locality: bool) -> None:
        """Write a preview; measure PSNR on held-out views, and keep the best checkpoint."""
        seen = look(self.context.model, self.shown, self.recipe, locality=locality)
        state = self.state
        self.folder.write_preview(state.step, seen.image)
        if self.folder.holds_out and seen.psnr is not None:
            self.folder.write_metrics(state.step, {"psnr/held_out": seen.psnr, "attempt": state.attempt})
            best = state.best_psnr is None or seen.psnr > state.best_psnr
            self.state = replace(state, psnr=seen.psnr, best_psnr=seen.psnr if best else state.best_psnr)
            if best:
                self._save("best")
        self._logged = time.monotonic()

    def _save(self, which: Which) -> None:
        save_checkpoint(checkpoint_path(self.folder.path, which), self.state, self.context.networks)

    def _seconds_of_call(self) -> float:
        return time.monotonic() - self.called

    def _expected_end(self) -> int:
        """The step at which this call will stop, as an estimate for the time left on the screen."""
        step, minutes = self.state.step, self.options.max_minutes
        if minutes is None or step == 0:
            return self.end
        now = time.monotonic()
        left = self.called + 60 * minutes - now
        return max(step, min(self.end, step + int(left * step / max(now - self._begun, 1e-6))))


def check_finite(metrics: Mapping[str, float], state: RunState, run: Path) -> None:
    """Stop a run whose metrics are nan or infinite.

    Raises:
        WorkError: names them.
    """
    wrong = [f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise WorkError(
            f"training broke down at or shortly before step {state.step}: {', '.join(wrong)}. "
            f"The last checkpoint in {run} is from before. Try a lower --lr, more --warmup-steps, a limit on "
            "the gradient (--set optimiser.clip=0.5), or --set precision=float32"
        )


def run_progress(step: int, end: int, seconds: float, max_minutes: float | None) -> float:
    """Share of a run that is done, in steps or in the minutes that it may take, whichever is more."""
    timed = seconds / (60 * max_minutes) if max_minutes else 0.0
    return min(1.0, max(step / end, timed))
