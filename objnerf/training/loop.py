"""The training loop, to be read from top to bottom.

``train`` opens the dataset and the run folder, makes what learns, and takes one step after another. A step
is: draw scenes and rays, encode, render, compare, move the weights. Everything that changes over a run
(stage, losses, learning rate) comes from ``schedule``; everything random from ``data``.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from objnerf.console import Progress, no_progress
from objnerf.dataset.index import open_dataset
from objnerf.errors import WorkError
from objnerf.models import SceneCode, SceneModel, build_model
from objnerf.rendering.volume import Rendering
from objnerf.training import data, schedule
from objnerf.training.checkpoints import (
    Learner,
    RunState,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
    scene_geometry,
)
from objnerf.training.previews import look
from objnerf.training.processes import Processes, join_processes
from objnerf.training.recipe import Recipe
from objnerf.training.runs import open_run
from objnerf.training.schedule import Moment

_log = logging.getLogger(__name__)


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
    progress: Progress = no_progress,
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
        progress: told the step, the number of steps and a note.
        stop: asked after each step; true ends the call as a limit does.
    Raises:
        InputError: dataset, folder or checkpoint cannot be used.
        WorkError: the loss is no longer finite.
    """
    called = time.monotonic()
    with ExitStack() as stack:
        processes = stack.enter_context(join_processes(device))
        set_precision(recipe)
        dataset = open_dataset(dataset_root)
        train_ids, held_out_ids = data.split_scenes(tuple(dataset.scenes), recipe.held_out)
        run = stack.enter_context(
            open_run(out, recipe, dataset, train_ids, held_out_ids, resume, command, processes)
        )

        sizes = [recipe.input_size, *(stage.size for stage in recipe.stages)]
        scenes = data.load_scenes(
            dataset, train_ids, sizes, processes.device, min_views=recipe.batch.views, progress=progress
        )
        shown_ids = (held_out_ids or train_ids)[: recipe.evaluation.scenes]
        shown = data.load_scenes(
            dataset, shown_ids, [recipe.input_size, recipe.evaluation.size], processes.device
        )
        epoch_steps = schedule.steps_per_epoch(recipe, len(train_ids), processes.count)
        last_step = schedule.total_steps(recipe, epoch_steps)
        end = last_step if max_steps is None else min(last_step, max_steps)

        state = RunState()
        model = make_model(recipe, state.attempt, processes.device)
        learners = {"model": Learner(model, make_optimiser(recipe, model))}
        if run.checkpoint is not None:
            state = load_checkpoint(run.checkpoint, learners)
            run.forget_after(state.step)
        forward = make_forward(recipe, model, processes)
        _log.info(
            "recipe %s: %d scenes to train on, %d held out; steps %d to %d, %d scenes each, on %s",
            *(recipe.name, len(train_ids), len(held_out_ids), state.step, end),
            *(schedule.scenes_per_step(recipe, processes.count), processes.description),
        )

        every = recipe.evaluation.every
        earlier = state.seconds
        begun = logged = time.monotonic()
        interval: list[dict[str, Tensor]] = []
        reason = "finished" if end == last_step else f"--max-steps {max_steps}"
        note = ""
        while state.step < end:
            moment = schedule.moment_at(recipe, state.step, epoch_steps)
            rate = recipe.optimiser.lr * schedule.learning_rate_factor(recipe.schedule, state.ticks)
            if moment.generator:
                optimiser = learners["model"].optimiser
                step_figures = model_step(
                    recipe, moment, state, rate, scenes, model, optimiser, forward, processes
                )
                interval.append(step_figures)
            ticks = schedule.ticks_after(recipe.schedule, state.ticks, moment, state.step, epoch_steps)
            seconds = earlier + time.monotonic() - begun
            state = replace(state, step=state.step + 1, ticks=ticks, seconds=seconds)

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
                figures |= {"learning_rate": rate, "step_seconds": (now - logged) / len(interval)}
                run.figures(
                    state.step,
                    {
                        **figures,
                        "time": moment.time,
                        "stage": moment.stage.name,
                        "attempt": state.attempt,
                        "seconds": round(state.seconds, 3),
                    },
                )
                note = f"{moment.stage.name}, PSNR {figures['psnr/train']:.1f}"
                interval, logged = [], now
            if looks and processes.main:
                seen = look(model, shown, recipe, locality=moment.locality)
                run.picture(state.step, seen.picture)
                if held_out_ids and seen.psnr is not None:
                    run.figures(state.step, {"psnr/held_out": seen.psnr, "attempt": state.attempt})
                    best = state.best_psnr is None or seen.psnr > state.best_psnr
                    state = replace(state, psnr=seen.psnr, best_psnr=seen.psnr if best else state.best_psnr)
                    if best:
                        save_checkpoint(checkpoint_path(out, "best"), state, learners)
                logged = time.monotonic()
            if saves and processes.main:
                save_checkpoint(checkpoint_path(out, "last"), state, learners)
            progress(state.step, expected_end(state.step, end, begun, called, max_minutes), note)
            if stops:
                reason = f"--max-minutes {max_minutes:g}" if over else "stopped"
                break

        _log.info("%s: %d steps done in %.0f s", reason, state.step, state.seconds)
        processes.wait()
        return Outcome(state.step, state.seconds, state.psnr, reason)


class TrainingForward(nn.Module):
    """Encode and render in one call, so that processes and the compiler see a step as one network."""

    def __init__(self, model: SceneModel, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.bf16 = recipe.precision == "bf16"
        self.chunk_rays = recipe.sampling.training_chunk

    def forward(
        self, batch: data.Batch, locality: bool, noise: torch.Generator
    ) -> tuple[SceneCode, Rendering]:
        """What the model knows of the input views, and what the batch's rays see of it."""
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.bf16):
            code = self.model.encode(batch.images, batch.world_from_camera, generator=noise)
            rendering = self.model.render(
                code,
                batch.origins,
                batch.directions,
                batch.depths,
                locality=locality,
                chunk_rays=self.chunk_rays,
                recompute=self.chunk_rays is not None,
            )
        return code, rendering


@runtime_checkable
class SelfTaught(Protocol):
    """A model that also learns from its own rendering of the input view."""

    def token_pixels(self, width: int, height: int) -> Int[Tensor, "tokens"]:
        """Row-major pixel, in a picture of this size, that each token of the encoder looks at."""
        ...

    def own_losses(
        self, code: SceneCode, tokens: Int[Tensor, "scenes chosen"], rendering: Rendering
    ) -> dict[str, Tensor]:
        """Weighted losses by name; the first rays of ``rendering`` look through ``tokens``."""
        ...


def make_model(recipe: Recipe, attempt: int, device: torch.device) -> SceneModel:
    """The model, initialised from the recipe's seed and the attempt, alike on every device."""
    torch.manual_seed(data.derive_seed(recipe.seed, attempt, data.INIT))
    return build_model(recipe.model, scene_geometry(recipe)).to(device)


def make_optimiser(recipe: Recipe, model: SceneModel) -> torch.optim.Optimizer:
    """Adam as the recipe sets it; its learning rate is set in every step."""
    settings = recipe.optimiser
    parameters = list(model.parameters())
    return torch.optim.Adam(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type in {"cpu", "cuda"},
    )


def make_forward(recipe: Recipe, model: SceneModel, processes: Processes) -> nn.Module:
    """The step's forward pass, compiled and shared between processes as asked."""
    forward: nn.Module = TrainingForward(model, recipe)
    if recipe.compile:
        forward.compile()
    return processes.wrap(forward)


def set_precision(recipe: Recipe) -> None:
    """Let matrix products of float32 run in TF32 where the recipe says so (a setting of torch itself)."""
    torch.set_float32_matmul_precision("high" if recipe.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = recipe.precision == "tf32"


def model_step(
    recipe: Recipe,
    moment: Moment,
    state: RunState,
    rate: float,
    scenes: data.Scenes,
    model: SceneModel,
    optimiser: torch.optim.Optimizer,
    forward: nn.Module,
    processes: Processes,
) -> dict[str, Tensor]:
    """Move the scene model by one step.

    Returns:
        Figures of the step, detached: ``loss/…`` as they were added up, ``error/…`` and ``slots/…`` beside.
    """
    parts = recipe.batch.accumulate
    figures: dict[str, Tensor] = {}
    model.train()
    optimiser.zero_grad(set_to_none=True)
    for part in range(parts):
        # Dealt out by step, part and process, so that the same scenes are seen together however many
        # processes share the work.
        turn = (state.step * parts + part) * processes.count + processes.rank
        tokens = model.token_pixels(*moment.stage.size) if isinstance(model, SelfTaught) else None
        batch = data.draw_batch(
            scenes,
            recipe,
            moment.stage,
            turn * recipe.batch.scenes,
            attempt=state.attempt,
            token_pixels=tokens,
        )
        seed = data.derive_seed(recipe.seed, state.attempt, data.NOISE, turn)
        noise = torch.Generator(processes.device).manual_seed(seed)
        with nullcontext() if part == parts - 1 else processes.without_sync(forward):
            code, rendering = forward(batch, moment.locality, noise)
            losses = {"colour": recipe.losses.colour * 4 * (rendering.rgb - batch.colours).square().mean()}
            if batch.tokens is not None and isinstance(model, SelfTaught):
                losses |= model.own_losses(code, batch.tokens, rendering)
            total = torch.stack(list(losses.values())).sum()
            (total / parts).backward()
        with torch.no_grad():
            seen = {f"loss/{name}": value.detach() for name, value in losses.items()}
            seen["error/colour"] = (rendering.rgb - batch.colours).square().mean()
            seen["opacity/foreground"] = rendering.slot_opacity[..., 1:].sum(-1).mean()
            for name, value in seen.items():
                figures[name] = figures.get(name, 0) + value / parts
    figures["gradient"] = nn.utils.clip_grad_norm_(model.parameters(), recipe.optimiser.clip or math.inf)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return figures


def mean_figures(interval: Sequence[Mapping[str, Tensor]], processes: Processes) -> dict[str, float]:
    """Means over steps and processes; one transfer from the device for all of them."""
    names = sorted({name for figures in interval for name in figures})
    means = [
        torch.stack([figures[name].float() for figures in interval if name in figures]).mean()
        for name in names
    ]
    values = processes.mean(torch.stack(means)).tolist()
    figures = dict(zip(names, values, strict=True))
    error = figures.get("error/colour", math.nan)
    figures["psnr/train"] = -10 * math.log10(error) if error > 0 else 100.0 if error == 0 else math.nan
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


def expected_end(step: int, end: int, begun: float, called: float, max_minutes: float | None) -> int:
    """The step at which this call will stop, as far as can be told, for the time left on the screen."""
    if max_minutes is None or step == 0:
        return end
    now = time.monotonic()
    left = called + 60 * max_minutes - now
    return max(step, min(end, step + int(left * step / max(now - begun, 1e-6))))
