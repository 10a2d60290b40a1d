"""The schedule of a run: clock, stage, learning rate and which losses count, as pure functions."""

import math
from dataclasses import dataclass

from objnerf.training.recipe import Recipe, Schedule, Stage


@dataclass(frozen=True)
class ScheduleState:
    """What the schedule says for one step."""

    time: float
    """Steps or epochs done, in the recipe's clock."""
    stage: Stage
    locality: bool
    """Whether foreground slots are confined to the locality box."""
    perceptual: bool
    """Whether the perceptual loss counts."""
    generator: bool
    """Whether the scene model learns in this step."""
    discriminator: bool
    """Whether the discriminator learns in this step."""
    adversarial: bool
    """Whether the discriminator's verdict counts in the scene model's loss."""


def steps_per_epoch(recipe: Recipe, train_scenes: int, processes: int = 1) -> float:
    """Steps in which every training scene is shown once; not rounded, for a batch may span two epochs."""
    return train_scenes / scenes_per_step(recipe, processes)


def scenes_per_step(recipe: Recipe, processes: int = 1) -> int:
    """Scenes whose gradients are averaged in one step, over all processes."""
    return recipe.batch.scenes * recipe.batch.accumulate * processes


def total_steps(recipe: Recipe, epoch_steps: float) -> int:
    """Steps of the whole run: until the last stage ends."""
    return max(1, round(recipe.stages[-1].until * _clock_steps(recipe, epoch_steps)))


def state_at(recipe: Recipe, step: int, epoch_steps: float) -> ScheduleState:
    """The schedule's state at step ``step``, where the first step is 0.

    Time in epochs counts whole ones, as in uORF: what starts at epoch 100 starts with the first
    step of that epoch. Once the adversarial loss has begun, even steps are the scene model's and odd ones the
    discriminator's. While the discriminator trains by itself nothing happens in the even steps, as in
    uORF, so that it learns as often as there.
    """
    exact = step / _clock_steps(recipe, epoch_steps)
    time = float(_epochs(step, epoch_steps)) if recipe.clock == "epoch" else exact
    stage = next((stage for stage in recipe.stages if exact < stage.until), recipe.stages[-1])
    adversarial = recipe.adversarial
    begun = adversarial is not None and time >= adversarial.start
    joined = adversarial is not None and time >= adversarial.start + adversarial.generator_after
    odd = step % 2 == 1
    return ScheduleState(
        time=exact,
        stage=stage,
        locality=recipe.locality.until is None or time < recipe.locality.until,
        perceptual=recipe.perceptual is not None and time >= recipe.perceptual.start,
        generator=not begun or (joined and not odd),
        discriminator=begun and odd,
        adversarial=joined,
    )


def learning_rate_factor(schedule: Schedule, ticks: int) -> float:
    """Share of the full learning rate after ``ticks`` steps (or epochs): warm-up times decay.

    uORF starts at exactly zero, which wastes a step; here the first tick already counts.
    """
    warm = min(1.0, (ticks + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    return warm * 0.5 ** (ticks / schedule.attn_decay_steps)


def cooling_factor(schedule: Schedule, done: float) -> float:
    """Share of the learning rate that is left when a share ``done`` of the run, from 0 to 1, is done.

    Half a cosine, from 1 to ``schedule.cool_to``.
    """
    if schedule.cool_to is None:
        return 1.0
    return schedule.cool_to + (1 - schedule.cool_to) * (1 + math.cos(math.pi * done)) / 2


def ticks_after(
    schedule: Schedule, ticks: int, scheduled: ScheduleState, step: int, epoch_steps: float
) -> int:
    """The learning-rate schedule's count after step ``step``, the first being 0.

    It counts steps in which the scene model learned, or epochs, and stands still in stages that
    ``schedule.stages`` leaves out: uORF moves its learning rate in the coarse stage only.
    """
    if schedule.stages is not None and scheduled.stage.name not in schedule.stages:
        return ticks
    if schedule.by == "epoch":
        return ticks + _epochs(step + 1, epoch_steps) - _epochs(step, epoch_steps)
    return ticks + int(scheduled.generator)


def _epochs(steps: int, epoch_steps: float) -> int:
    """Whole epochs in some steps; 3 steps of a third of an epoch are one, in spite of rounding."""
    return int(steps / epoch_steps + 1e-9)


def _clock_steps(recipe: Recipe, epoch_steps: float) -> float:
    return epoch_steps if recipe.clock == "epoch" else 1.0
