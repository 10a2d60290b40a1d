"""The training loop, to be read from top to bottom.

``train`` opens the dataset and the run folder, makes what learns, and takes one step after another. A step
is: draw scenes and rays, encode, render, compare, move the weights. Everything that changes over a run
(stage, losses, learning rate) comes from ``schedule``; everything random from ``data``.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from objnerf.console import Progress, no_bar
from objnerf.dataset.index import Dataset, open_dataset
from objnerf.errors import WorkError
from objnerf.models import UORF, SceneCode, SceneModel, build_model
from objnerf.rendering.volume import Rendering
from objnerf.training import data, schedule
from objnerf.training.augment import augment
from objnerf.training.checkpoints import (
    OptimisedNetwork,
    RunState,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
    scene_geometry,
)
from objnerf.training.collapse import CollapseMonitor, foreground_gradient_share, measure
from objnerf.training.losses import (
    PerceptualDistance,
    as_images,
    densities_along,
    depth_loss,
    generator_loss,
    make_discriminator,
    make_perceptual,
)
from objnerf.training.losses import discriminator_step as move_discriminator
from objnerf.training.muon import Muon
from objnerf.training.previews import look
from objnerf.training.processes import Processes, join_processes
from objnerf.training.recipe import Optimiser, Recipe
from objnerf.training.recording import StepOutcome, StepRecorder, detached
from objnerf.training.runs import open_run
from objnerf.training.schedule import ScheduleState

_log = logging.getLogger(__name__)

MEASURED_EVERY = 10
"""Steps from one look at the slots to the next, where steps are replayed on a GPU."""


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


def train(
    dataset_root: Path,
    out: Path,
    recipe: Recipe,
    *,
    device: str = "cpu",
    resume: bool = False,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    command: Sequence[str] = (),
    bar: Callable[[str, str], AbstractContextManager[Progress]] = no_bar,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a scene model and leave everything about it in a run folder.

    Args:
        dataset_root: folder of the dataset.
        out: the run folder; made when it is not there.
        recipe: what to do; with ``resume`` that of the run.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``; under torchrun a GPU a process.
        resume: go on from the run's last checkpoint; begin when there is none yet.
        max_steps: stop after this many steps of the run, earlier calls included.
        max_minutes: stop this many minutes after the call, whatever the step.
        command: what the user typed, to be written down.
        bar: given what is being done and its unit, opens something that is told (done, total, note); such
            as ``console.progress_bar``.
        stop: asked after each step; true ends the call as a limit does.
    Raises:
        InputError: dataset, folder or checkpoint cannot be used.
        WorkError: the loss is no longer finite, or the device has too little memory.
    """
    called = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(memory_explained())
        processes = stack.enter_context(join_processes(device))
        bar = bar if processes.main else no_bar
        stack.enter_context(repeatable(processes.device))
        set_precision(recipe)
        dataset = open_dataset(dataset_root)
        train_ids, held_out_ids = data.split_scenes(tuple(dataset.scenes), recipe.held_out)
        held_views = data.views_to_hold_out(dataset, recipe.held_out, recipe.batch.views)
        run = stack.enter_context(
            open_run(out, recipe, dataset, train_ids, held_out_ids, resume, command, processes, held_views)
        )
        # Of a single scene the last views are what the model is tried on.
        learned = dataset.with_views(lambda views: views[: len(views) - held_views])
        unseen = dataset.with_views(lambda views: (views[0], *views[len(views) - held_views :]))
        if held_views:
            _log.info("there is one scene, so its last %d views are held out instead of scenes", held_views)
        nothing_held_out = None if held_views or held_out_ids else _why_nothing_is_held_out(dataset, recipe)
        if nothing_held_out is not None:
            _log.warning("nothing is held out: %s", nothing_held_out)

        lens = recipe.scale.focal_ratio if recipe.scale.own_intrinsics else None
        sizes = [recipe.input_size, *(stage.size for stage in recipe.stages)]
        with bar("reading pictures", "views") as reading:
            scenes = data.load_scenes(
                learned,
                train_ids,
                sizes,
                processes.device,
                min_views=recipe.batch.views,
                depth_sizes=[stage.size for stage in recipe.stages] if recipe.losses.depth > 0 else [],
                focal_ratio=lens,
                progress=reading,
            )
        shown_ids = (held_out_ids or train_ids)[: recipe.evaluation.scenes]
        shown = data.load_scenes(
            unseen if held_views else dataset,
            shown_ids,
            [recipe.input_size, recipe.evaluation.size],
            processes.device,
            focal_ratio=lens,
        )
        epoch_steps = schedule.steps_per_epoch(recipe, len(train_ids), processes.count)
        last_step = schedule.total_steps(recipe, epoch_steps)
        end = last_step if max_steps is None else min(last_step, max_steps)

        state = RunState()
        context = set_up(recipe, state.attempt, scenes, processes)
        if context.perceptual is not None:
            run.record_perceptual(context.perceptual.name)
        if run.checkpoint is not None:
            state = load_checkpoint(run.checkpoint, context.networks)
            context = replace(context, attempt=state.attempt)
        run.forget_after(state.step, state.attempt)
        monitor = CollapseMonitor(recipe.monitor, recipe.model.num_slots)
        for step, figures in run.history(state.step, state.attempt) if state.step else ():
            if "slots/used" in figures:
                monitor.update(step, figures)  # a resumed run remembers what it has seen
        _log.info(
            "recipe %s: %d scenes to train on, %d held out; steps %d to %d, %d scenes each, on %s",
            *(recipe.name, len(train_ids), len(held_out_ids), state.step, end),
            *(schedule.scenes_per_step(recipe, processes.count), processes.description),
        )

        progress = stack.enter_context(bar("training", "steps"))
        every = recipe.evaluation.every
        earlier = state.seconds
        begun = logged = time.monotonic()
        interval: list[dict[str, Tensor]] = []
        reason = "finished" if end == last_step else f"--max-steps {max_steps}"
        note = ""
        while state.step < end:
            scheduled = schedule.state_at(recipe, state.step, epoch_steps)
            if scheduled.generator:
                # Of the recipe's steps, not of --max-steps: a run in two calls is the same as one in one.
                done = run_progress(state.step, last_step, time.monotonic() - called, max_minutes)
                interval.append(model_step(context, scheduled, state, done))
            if scheduled.discriminator:
                interval.append(discriminator_step(context, scheduled, state))
            state = replace(
                state,
                step=state.step + 1,
                ticks=schedule.ticks_after(recipe.schedule, state.ticks, scheduled, state.step, epoch_steps),
                discriminator_ticks=state.discriminator_ticks + int(scheduled.discriminator),
                seconds=earlier + time.monotonic() - begun,
            )

            # Several processes can only stop together, and to agree costs a message.
            over = max_minutes is not None and time.monotonic() - called > 60 * max_minutes
            asks = processes.count == 1 or state.step % recipe.saving.log_every == 0
            stops = asks and processes.agree(over or stop())
            ends = stops or state.step == end
            looks = ends or (every > 0 and state.step % every == 0)
            saves = ends or state.step % recipe.saving.checkpoint_every == 0
            # Nothing is saved before the figures up to here are known to be finite.
            if interval and (looks or saves or state.step % recipe.saving.log_every == 0):
                now = time.monotonic()
                figures = mean_figures(interval, processes)
                check_finite(figures, state, out)
                figures["step_seconds"] = (now - logged) / len(interval)
                run.figures(
                    state.step,
                    {
                        **figures,
                        "time": scheduled.time,
                        "stage": scheduled.stage.name,
                        "attempt": state.attempt,
                        "seconds": round(state.seconds, 3),
                    },
                )
                finding = monitor.update(state.step, figures)
                if finding is not None:
                    _log.warning("%s", finding)
                    settings = recipe.monitor
                    if state.attempt < settings.restarts and state.step <= settings.restart_until:
                        # Another attempt has other weights, other batches and other noise.
                        state = RunState(attempt=state.attempt + 1, seconds=state.seconds)
                        _log.warning(
                            "beginning again from another seed: restart %d of at most %d",
                            *(state.attempt, settings.restarts),
                        )
                        run.figures(0, {"restart": state.attempt, "collapse": finding.kind.value})
                        context = set_up(recipe, state.attempt, scenes, processes)
                        monitor = CollapseMonitor(settings, recipe.model.num_slots)
                        interval, logged = [], time.monotonic()
                        continue
                if "psnr/train" in figures:
                    note = f"{scheduled.stage.name}, PSNR {figures['psnr/train']:.1f}"
                interval, logged = [], now
            if looks and processes.main:
                seen = look(context.model, shown, recipe, locality=scheduled.locality)
                run.picture(state.step, seen.picture)
                if (held_out_ids or held_views) and seen.psnr is not None:
                    run.figures(state.step, {"psnr/held_out": seen.psnr, "attempt": state.attempt})
                    best = state.best_psnr is None or seen.psnr > state.best_psnr
                    state = replace(state, psnr=seen.psnr, best_psnr=seen.psnr if best else state.best_psnr)
                    if best:
                        save_checkpoint(checkpoint_path(out, "best"), state, context.networks)
                logged = time.monotonic()
            if saves and processes.main:
                save_checkpoint(checkpoint_path(out, "last"), state, context.networks)
            progress(state.step, expected_end(state.step, end, begun, called, max_minutes), note)
            if stops:
                reason = f"--max-minutes {max_minutes:g}" if over else "stopped"
                break

        _log.info("%s: %d steps done in %.0f s", reason, state.step, state.seconds)
        processes.wait()
        return Outcome(state.step, state.seconds, state.psnr, reason, nothing_held_out)


def _why_nothing_is_held_out(dataset: Dataset, recipe: Recipe) -> str:
    """In words, for a run that has no novel views to be measured on."""
    if recipe.held_out.scenes is not None or recipe.held_out.share == 0:
        return "the recipe says so (held_out)"
    return (
        f"the only scene has {dataset.n_views} views, and a step looks at {recipe.batch.views} of them "
        "(batch.views)"
    )


class TrainingForward(nn.Module):
    """Encode and render in one call, so that processes and the compiler see a step as one network."""

    def __init__(self, model: SceneModel, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.bf16 = recipe.precision == "bf16"
        self.chunk_rays = recipe.sampling.training_chunk

    def forward(
        self, batch: data.Batch, locality: bool, noise: torch.Generator | None, step: int | Tensor
    ) -> tuple[SceneCode, Rendering]:
        """What the model knows of the input views, and what the batch's rays see of it."""
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.bf16):
            code = self.model.encode(
                batch.images,
                batch.world_from_camera,
                pinholes=batch.pinholes,
                generator=noise,
                step=step,
            )
            rendering = self.model.render(
                code,
                batch.origins,
                batch.directions,
                batch.depths,
                locality=locality,
                chunk_rays=self.chunk_rays,
                pixel=batch.pixel,
            )
        return code, rendering


@dataclass(frozen=True)
class TrainContext:
    """What the steps of a run work with."""

    recipe: Recipe
    attempt: int
    scenes: data.Scenes
    processes: Processes
    model: SceneModel
    forward: nn.Module
    """``TrainingForward`` of the model, shared between processes."""
    perceptual: PerceptualDistance | None
    networks: dict[str, OptimisedNetwork]
    """``model`` and, with an adversarial loss, ``discriminator``: what a checkpoint holds."""
    recorder: StepRecorder | None = None
    """Replays steps, where that is possible."""


def set_up(recipe: Recipe, attempt: int, scenes: data.Scenes, processes: Processes) -> TrainContext:
    """Networks and optimisers, initialised from the recipe's seed and the attempt, alike in all processes."""
    torch.manual_seed(data.derive_seed(recipe.seed, attempt, data.INIT))
    model = build_model(recipe.model, scene_geometry(recipe)).to(processes.device)
    if recipe.compile:
        compile_networks(model)
    networks = {
        "model": OptimisedNetwork(model, make_optimiser(recipe.optimiser, model, processes.device))
    }
    if recipe.adversarial is not None:
        stage = recipe.stages[0]
        side = stage.patch if stage.supervision == "patches" else stage.size[0]
        network = make_discriminator(recipe.adversarial, side).to(processes.device)
        verdicts = torch.optim.Adam(
            network.parameters(), lr=recipe.adversarial.lr, betas=recipe.adversarial.betas
        )
        processes.average_before_steps(verdicts)
        networks["discriminator"] = OptimisedNetwork(network, verdicts)
    perceptual = None
    if recipe.perceptual is not None:
        perceptual = make_perceptual(recipe.perceptual).to(processes.device)
    context = TrainContext(
        recipe=recipe,
        attempt=attempt,
        scenes=scenes,
        processes=processes,
        model=model,
        forward=processes.wrap(TrainingForward(model, recipe)),
        perceptual=perceptual,
        networks=networks,
    )
    if not can_record(recipe, model, processes):
        return context

    def compute(scheduled: ScheduleState, batch: data.Batch, step: Tensor) -> StepOutcome:
        return part_of_step(context, scheduled, batch, None, step)

    return replace(context, recorder=StepRecorder(model, compute))


def make_optimiser(settings: Optimiser, network: nn.Module, device: torch.device) -> torch.optim.Adam | Muon:
    """What moves a scene model's weights, as its recipe says."""
    fused = device.type in {"cpu", "cuda"}
    if settings.kind == "muon":
        return Muon(
            network,
            settings.lr,
            momentum=settings.momentum,
            betas=settings.betas,
            eps=settings.eps,
            fused=fused,
        )
    return torch.optim.Adam(
        network.parameters(),
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def can_record(recipe: Recipe, model: SceneModel, processes: Processes) -> bool:
    """Whether a step's work is the same each time, so that a GPU can replay it."""
    return (
        recipe.record
        and model.recordable
        and processes.device.type == "cuda"
        and processes.count == 1
        and recipe.batch.accumulate == 1
        and recipe.precision != "bf16"  # autocast's copies of weights don't outlive a step
        and recipe.sampling.training_chunk is None
        and recipe.losses.depth == 0  # draws its points anew each time
        and not recipe.compile
    )


def compile_networks(model: SceneModel) -> None:
    """Have torch compile the encoder and the fields; the gathering between them changes shape too often."""
    for network in model.children():
        network.compile(dynamic=True)
    if isinstance(model, UORF):
        for field in ("background", "foreground"):
            setattr(model.decoder, field, torch.compile(getattr(model.decoder, field), dynamic=True))


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On the CPU, keep threads from adding up gradients in changing order while it is open.

    That costs nothing there, and a run comes out the same each time. On GPUs some of our sums have no such
    form.
    """
    if device.type != "cpu":
        yield
        return
    settings: Any = torch.utils.deterministic
    enabled, fills = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # it helps to find errors, and takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled)
        settings.fill_uninitialized_memory = fills


def set_precision(recipe: Recipe) -> None:
    """Let matrix products of float32 run in TF32 where the recipe says so (a setting of torch itself)."""
    torch.set_float32_matmul_precision("high" if recipe.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"


def draw(
    context: TrainContext, scheduled: ScheduleState, step: int, part: int
) -> tuple[data.Batch, torch.Generator]:
    """This process's scenes and rays in a part of a step, and the source of the model's own noise."""
    recipe, processes = context.recipe, context.processes
    # Scenes are dealt out by step, part and process, so that the same ones are seen together however many
    # processes share the work.
    turn = (step * recipe.batch.accumulate + part) * processes.count + processes.rank
    batch = data.draw_batch(
        context.scenes, recipe, scheduled.stage, turn * recipe.batch.scenes, attempt=context.attempt
    )
    seed = data.derive_seed(recipe.seed, context.attempt, data.NOISE, turn)
    if recipe.batch.mirror or recipe.batch.permute_colours:
        batch = augment(batch, recipe.batch, seed)
    return batch, torch.Generator(processes.device).manual_seed(seed)


def model_step(
    context: TrainContext, scheduled: ScheduleState, state: RunState, done: float
) -> dict[str, Tensor]:
    """Move the scene model by one step; ``done`` is the share of the run that lies behind.

    Returns:
        Figures of the step, detached: ``loss/…`` as they were added up, and what is watched beside them.
    """
    recipe = context.recipe
    parts = recipe.batch.accumulate
    optimiser = context.networks["model"].optimiser
    figures: dict[str, Tensor] = {}
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
        seen = outcome.figures
        # Beside a replay the figures would take a good part of the time.
        if context.recorder is None or state.step % min(MEASURED_EVERY, recipe.saving.log_every) == 0:
            seen = seen | measure(outcome.code, outcome.rendering)
        for name, value in seen.items():
            figures[name] = figures.get(name, 0) + value / parts
    figures["gradient/foreground_share"] = foreground_gradient_share(context.model)
    figures["gradient"] = nn.utils.clip_grad_norm_(
        context.model.parameters(), recipe.optimiser.clip or math.inf
    )
    rate = recipe.optimiser.lr * schedule.learning_rate_factor(recipe.schedule, state.ticks)
    rate *= schedule.cooling_factor(recipe.schedule, done)
    set_rate(optimiser, rate)
    optimiser.step()
    return {**figures, "learning_rate": torch.tensor(rate, device=context.processes.device)}


def part_of_step(
    context: TrainContext,
    scheduled: ScheduleState,
    batch: data.Batch,
    noise: torch.Generator | None,
    step: int | Tensor,
) -> StepOutcome:
    """Forward and backward pass of some scenes; the gradients are added up in the model."""
    code, rendering = context.forward(batch, scheduled.locality, noise, step)
    error = (rendering.rgb - batch.colours).square().mean()
    losses = losses_of_step(context, scheduled, batch, code, rendering, error, noise, step)
    total = torch.stack(list(losses.values())).sum() + context.processes.nothing_of(context.model)
    (total / context.recipe.batch.accumulate).backward()
    figures = {f"loss/{name}": value.detach() for name, value in losses.items()}
    # Without the graph of the backward pass, which nobody needs any more.
    return StepOutcome({**figures, "error/colour": error.detach()}, detached(code), detached(rendering))


def losses_of_step(
    context: TrainContext,
    scheduled: ScheduleState,
    batch: data.Batch,
    code: SceneCode,
    rendering: Rendering,
    error: Float[Tensor, ""],
    noise: torch.Generator | None,
    step: int | Tensor,
) -> dict[str, Tensor]:
    """Weighted parts of the scene model's loss, by name; ``error`` is that of colours in [0, 1]."""
    recipe = context.recipe
    # Images in [-1, 1], as in the reference, are four times as far apart.
    losses = {"colour": 4 * recipe.losses.colour * error}
    if batch.surfaces is not None:
        assert noise is not None
        density = densities_along(context.model, batch, code, scheduled.locality, noise)
        likely = depth_loss(density, batch.surfaces, recipe.scale.near, recipe.scale.far)
        losses["depth"] = recipe.losses.depth * likely
    if batch.novel is not None:
        losses |= context.model.auxiliary_losses(code, rendering, batch.novel, step)
    if batch.grid is None:
        return losses
    _, height, width = batch.grid
    if scheduled.perceptual and recipe.perceptual is not None and context.perceptual is not None:
        rendered = as_images(rendering.rgb, height, width)
        distance = context.perceptual(rendered, as_images(batch.colours, height, width))
        losses["perceptual"] = recipe.perceptual.weight * distance
    if scheduled.adversarial and recipe.adversarial is not None:
        network = context.networks["discriminator"].network.requires_grad_(False)
        scores = network(as_images(rendering.rgb, height, width) * 2 - 1)
        losses["adversarial"] = recipe.adversarial.weight * generator_loss(scores)
    return losses


def discriminator_step(context: TrainContext, scheduled: ScheduleState, state: RunState) -> dict[str, Tensor]:
    """Move the discriminator by one step; the scene model only renders."""
    recipe = context.recipe
    batch, noise = draw(context, scheduled, state.step, part=0)
    if batch.grid is None or recipe.adversarial is None:
        raise ValueError("a discriminator judges whole pictures, but the stage draws single rays")
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
    figures = move_discriminator(
        network,
        optimiser,
        as_images(batch.colours, height, width) * 2 - 1,
        as_images(rendering.rgb, height, width) * 2 - 1,
        recipe.adversarial,
        state.step,
    )
    return {f"discriminator/{name}": value for name, value in figures.items()}


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def mean_figures(interval: Sequence[Mapping[str, Tensor]], processes: Processes) -> dict[str, float]:
    """Means over steps and processes; one transfer from the device for all of them."""
    names = sorted({name for figures in interval for name in figures})
    means = [
        torch.stack([figures[name].float() for figures in interval if name in figures]).mean()
        for name in names
    ]
    values = processes.mean(torch.stack(means)).tolist()
    figures = dict(zip(names, values, strict=True))
    if "error/colour" in figures:
        figures["psnr/train"] = -10 * math.log10(max(figures["error/colour"], 1e-10))
    return figures


def check_finite(figures: Mapping[str, float], state: RunState, run: Path) -> None:
    """Stop a run whose figures are nan or infinite.

    Raises:
        WorkError: names them.
    """
    wrong = [f"{name} = {value}" for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        raise WorkError(
            f"training broke down at or shortly before step {state.step}: {', '.join(wrong)}. "
            f"The last checkpoint in {run} is from before. Try a lower --lr, more --warmup-steps, a limit on "
            "the gradient (--set optimiser.clip=0.5), or --set precision=float32"
        )


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn an exhausted memory into a message that says what takes less."""
    try:
        yield
    except RuntimeError as error:  # OutOfMemoryError on GPUs is one, too
        text = str(error)
        if "out of memory" not in text and "can't allocate memory" not in text:
            raise
        raise WorkError(
            "the memory of the device does not suffice for a step. What takes less: "
            "--set sampling.training_chunk=1024 (rays at a time, computed twice), fewer batch.scenes with "
            "batch.accumulate in their place, fewer stages.0.rays, --set precision=bf16. "
            f"({text.splitlines()[0]})"
        ) from error


def run_progress(step: int, end: int, seconds: float, max_minutes: float | None) -> float:
    """Share of a run that lies behind, in steps or in the minutes that it may take, whichever is more."""
    timed = seconds / (60 * max_minutes) if max_minutes else 0.0
    return min(1.0, max(step / end, timed))


def expected_end(step: int, end: int, begun: float, called: float, max_minutes: float | None) -> int:
    """The step at which this call will stop, as far as can be told, for the time left on the screen."""
    if max_minutes is None or step == 0:
        return end
    now = time.monotonic()
    left = called + 60 * max_minutes - now
    return max(step, min(end, step + int(left * step / max(now - begun, 1e-6))))
