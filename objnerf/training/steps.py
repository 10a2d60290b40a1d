"""One step of training: draw scenes and rays, encode, render, compare, update the weights."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.models import SceneCode
from objnerf.rendering.volume import Rendering
from objnerf.training import schedule
from objnerf.training.augment import augment
from objnerf.training.batches import Batch, draw_batch
from objnerf.training.checkpoints import RunState
from objnerf.training.collapse import foreground_gradient_share, measure
from objnerf.training.context import TrainContext, can_record, make_context
from objnerf.training.losses import as_images, densities_along, depth_loss, generator_loss
from objnerf.training.losses import discriminator_step as update_discriminator
from objnerf.training.processes import Processes
from objnerf.training.recipe import Recipe
from objnerf.training.recording import StepOutcome, StepRecorder, detached
from objnerf.training.scenes import Scenes
from objnerf.training.schedule import ScheduleState
from objnerf.training.seeds import NOISE, derive_seed

MEASURED_EVERY = 10
"""Steps from one measurement of the slots to the next, where steps are replayed on a GPU."""


def set_up(recipe: Recipe, attempt: int, scenes: Scenes, processes: Processes) -> TrainContext:
    """See ``make_context``; steps are recorded and replayed where that is possible."""
    context = make_context(recipe, attempt, scenes, processes)
    if not can_record(recipe, context.model, processes):
        return context

    def compute(scheduled: ScheduleState, batch: Batch, step: Tensor) -> StepOutcome:
        return part_of_step(context, scheduled, batch, None, step)

    return replace(context, recorder=StepRecorder(context.model, compute))


def draw(
    context: TrainContext, scheduled: ScheduleState, step: int, part: int
) -> tuple[Batch, torch.Generator]:
    """This process's scenes and rays in a part of a step, and the generator of the model's own noise.

    Args:
        context: what the step works with.
        scheduled: its stage decides which rays are drawn.
        step: steps done before this one.
        part: position among the recipe's ``batch.accumulate`` parts.
    """
    recipe, processes = context.recipe, context.processes
    # Scenes are assigned by step, part and process, so that the same ones are seen together however many
    # processes share the work.
    turn = (step * recipe.batch.accumulate + part) * processes.count + processes.rank
    batch = draw_batch(
        context.scenes, recipe, scheduled.stage, turn * recipe.batch.scenes, attempt=context.attempt
    )
    seed = derive_seed(recipe.seed, context.attempt, NOISE, turn)
    if recipe.batch.mirror or recipe.batch.permute_colours:
        batch = augment(batch, recipe.batch, seed)
    return batch, torch.Generator(processes.device).manual_seed(seed)


def model_step(
    context: TrainContext, scheduled: ScheduleState, state: RunState, done: float
) -> dict[str, Tensor]:
    """Update the scene model once.

    Args:
        context: what the step works with.
        scheduled: stage and losses of the step.
        state: steps and learning-rate ticks done.
        done: share of the run that is done, from 0 to 1, for the cooling of the learning rate.
    Returns:
        Metrics of the step, detached: the weighted ``loss/…`` terms, ``error/colour``, ``slots/…`` (see
        ``collapse.measure``), ``gradient`` (its norm before clipping) and ``learning_rate``.
    """
    recipe = context.recipe
    parts = recipe.batch.accumulate
    optimiser = context.networks["model"].optimiser
    metrics: dict[str, Tensor] = {}
    context.model.train()
    if context.recorder is None:
        optimiser.zero_grad(set_to_none=True)
    for part in range(parts):
        batch, noise = draw(context, scheduled, state.step, part)
        if context.recorder is not None:
            outcome = context.recorder(scheduled, batch, state.step)
        else:
            last = part == parts - 1
            with nullcontext() if last else context.processes.without_sync(context.forward):
                outcome = part_of_step(context, scheduled, batch, noise, state.step)
        found = outcome.metrics
        # Beside a replay they would take a good part of the time.
        if context.recorder is None or state.step % min(MEASURED_EVERY, recipe.saving.log_every) == 0:
            found = found | measure(outcome.code, outcome.rendering)
        for name, value in found.items():
            metrics[name] = metrics.get(name, 0) + value / parts
    metrics["gradient/foreground_share"] = foreground_gradient_share(context.model)
    metrics["gradient"] = nn.utils.clip_grad_norm_(
        context.model.parameters(), recipe.optimiser.clip or math.inf
    )
    rate = recipe.optimiser.lr * schedule.learning_rate_factor(recipe.schedule, state.ticks)
    rate *= schedule.cooling_factor(recipe.schedule, done)
    set_rate(optimiser, rate)
    optimiser.step()
    return {**metrics, "learning_rate": torch.tensor(rate, device=context.processes.device)}


def part_of_step(
    context: TrainContext,
    scheduled: ScheduleState,
    batch: Batch,
    noise: torch.Generator | None,
    step: int | Tensor,
) -> StepOutcome:
    """Forward and backward pass of some scenes; the gradients are added to those of the parameters.

    Args:
        context: what the step works with.
        scheduled: stage and losses of the step.
        batch: the scenes.
        noise: generator of the model's own noise; None while the step is recorded.
        step: steps done before this one; a scalar tensor while it is recorded.
    """
    code, rendering = context.forward(batch, scheduled.locality, noise, step)
    error = (rendering.rgb - batch.colours).square().mean()
    losses, watched = losses_of_step(context, scheduled, batch, code, rendering, error, noise, step)
    total = torch.stack(list(losses.values())).sum() + context.processes.nothing_of(context.model)
    (total / context.recipe.batch.accumulate).backward()
    metrics = {f"loss/{name}": value.detach() for name, value in losses.items()} | watched
    # Detached, so that the graph of the backward pass can be freed.
    return StepOutcome({**metrics, "error/colour": error.detach()}, detached(code), detached(rendering))


def losses_of_step(
    context: TrainContext,
    scheduled: ScheduleState,
    batch: Batch,
    code: SceneCode,
    rendering: Rendering,
    error: Float[Tensor, ""],
    noise: torch.Generator | None,
    step: int | Tensor,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weighted terms of the scene model's loss, by name, and metrics that were computed on the way.

    ``error`` is the squared colour error.
    """
    recipe = context.recipe
    # uORF compares images in [-1, 1], whose squared differences are four times as large.
    losses = {"colour": 4 * recipe.losses.colour * error}
    metrics: dict[str, Tensor] = {}
    if batch.surfaces is not None:
        assert noise is not None
        density = densities_along(context.model, batch, code, scheduled.locality, noise)
        likely = depth_loss(density, batch.surfaces, recipe.scale.near, recipe.scale.far)
        losses["depth"] = recipe.losses.depth * likely
    if batch.novel is not None:
        auxiliary = context.model.auxiliary_losses(code, rendering, batch.novel, step)
        losses |= auxiliary.weighted
        metrics = auxiliary.metrics
    if batch.grid is None:
        return losses, metrics
    _, height, width = batch.grid
    if scheduled.perceptual and recipe.perceptual is not None and context.perceptual is not None:
        rendered = as_images(rendering.rgb, height, width)
        distance = context.perceptual(rendered, as_images(batch.colours, height, width))
        losses["perceptual"] = recipe.perceptual.weight * distance
    if scheduled.adversarial and recipe.adversarial is not None:
        network = context.networks["discriminator"].network.requires_grad_(False)
        scores = network(as_images(rendering.rgb, height, width) * 2 - 1)
        losses["adversarial"] = recipe.adversarial.weight * generator_loss(scores)
    return losses, metrics


def discriminator_step(context: TrainContext, scheduled: ScheduleState, state: RunState) -> dict[str, Tensor]:
    """Update the discriminator once; the scene model only renders."""
    recipe = context.recipe
    batch, noise = draw(context, scheduled, state.step, part=0)
    if batch.grid is None or recipe.adversarial is None:
        raise ValueError("the discriminator needs whole images, but the stage draws single rays")
    with torch.no_grad():
        _, rendering = context.forward(batch, scheduled.locality, noise, state.step)
    _, height, width = batch.grid
    network, optimiser = (
        context.networks["discriminator"].network,
        context.networks["discriminator"].optimiser,
    )
    network.requires_grad_(True)
    # Its learning rate has a schedule of its own, over its own steps.
    rate = recipe.adversarial.lr * schedule.learning_rate_factor(recipe.schedule, state.discriminator_ticks)
    set_rate(optimiser, rate)
    metrics = update_discriminator(
        network,
        optimiser,
        as_images(batch.colours, height, width) * 2 - 1,
        as_images(rendering.rgb, height, width) * 2 - 1,
        recipe.adversarial,
        state.step,
    )
    return {f"discriminator/{name}": value for name, value in metrics.items()}


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def mean_metrics(interval: Sequence[Mapping[str, Tensor]], processes: Processes) -> dict[str, float]:
    """Means over steps and processes, with one transfer from the device; adds ``psnr/train``, dB."""
    names = sorted({name for metrics in interval for name in metrics})
    means = [
        torch.stack([metrics[name].float() for metrics in interval if name in metrics]).mean()
        for name in names
    ]
    values = processes.mean(torch.stack(means)).tolist()
    metrics = dict(zip(names, values, strict=True))
    if "error/colour" in metrics:
        metrics["psnr/train"] = -10 * math.log10(max(metrics["error/colour"], 1e-10))
    return metrics
