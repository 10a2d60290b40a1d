"""What the steps of a run work with: scenes, networks, optimisers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from objnerf.models import UORF, SceneCode, SceneModel, build_model
from objnerf.rendering.volume import Rendering
from objnerf.training.batches import Batch
from objnerf.training.checkpoints import OptimisedNetwork, scene_geometry
from objnerf.training.losses import PerceptualDistance, make_discriminator, make_perceptual
from objnerf.training.muon import Muon
from objnerf.training.processes import Processes
from objnerf.training.recipe import Optimiser, Recipe
from objnerf.training.recording import StepRecorder
from objnerf.training.scenes import Scenes
from objnerf.training.seeds import INIT, derive_seed


class TrainingForward(nn.Module):
    """Encode and render in one call, so that ``DistributedDataParallel`` wraps a step as one network."""

    def __init__(self, model: SceneModel, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.bf16 = recipe.precision == "bf16"
        self.chunk_rays = recipe.sampling.training_chunk

    def forward(
        self, batch: Batch, locality: bool, noise: torch.Generator | None, step: int | Tensor
    ) -> tuple[SceneCode, Rendering]:
        """The scenes' code, from their input views, and the rendering of the batch's rays.

        Args:
            batch: input views and rays.
            locality: whether foreground slots are confined to the locality box.
            noise: source of what is random in the model.
            step: steps done before this one.
        """
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
    """What every step of an attempt works with."""

    recipe: Recipe
    attempt: int
    """Restarts after a collapse."""
    scenes: Scenes
    """Those to train on."""
    processes: Processes
    model: SceneModel
    forward: nn.Module
    """``TrainingForward`` of the model, shared between processes."""
    perceptual: PerceptualDistance | None
    """None where the recipe has no perceptual loss."""
    networks: dict[str, OptimisedNetwork]
    """``model`` and, with an adversarial loss, ``discriminator``, each with its optimiser: what a checkpoint
    holds."""
    recorder: StepRecorder | None = None
    """Replays steps on a GPU, where ``can_record``; None elsewhere."""


def make_context(recipe: Recipe, attempt: int, scenes: Scenes, processes: Processes) -> TrainContext:
    """Networks and optimisers, initialised from the recipe's seed and the attempt, alike in all processes.

    Args:
        recipe: what to train, and how.
        attempt: restarts after a collapse; each has another initialisation.
        scenes: to train on.
        processes: this one and those beside it.
    """
    torch.manual_seed(derive_seed(recipe.seed, attempt, INIT))
    model = build_model(recipe.model, scene_geometry(recipe)).to(processes.device)
    if recipe.compile:
        compile_networks(model)
    optimiser = make_optimiser(recipe.optimiser, model, processes.device)
    networks = {"model": OptimisedNetwork(model, optimiser)}
    if recipe.adversarial is not None:
        networks["discriminator"] = _discriminator(recipe, processes)
    perceptual = None
    if recipe.perceptual is not None:
        perceptual = make_perceptual(recipe.perceptual).to(processes.device)
    return TrainContext(
        recipe=recipe,
        attempt=attempt,
        scenes=scenes,
        processes=processes,
        model=model,
        forward=processes.wrap(TrainingForward(model, recipe)),
        perceptual=perceptual,
        networks=networks,
    )


def make_optimiser(settings: Optimiser, network: nn.Module, device: torch.device) -> torch.optim.Adam | Muon:
    """The optimiser of a scene model.

    Args:
        settings: the recipe's section.
        network: whose parameters are optimised.
        device: where they are.
    """
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


def _discriminator(recipe: Recipe, processes: Processes) -> OptimisedNetwork:
    assert recipe.adversarial is not None
    stage = recipe.stages[0]
    side = stage.patch if stage.supervision == "patches" else stage.size[0]
    network = make_discriminator(recipe.adversarial, side).to(processes.device)
    optimiser = torch.optim.Adam(
        network.parameters(), lr=recipe.adversarial.lr, betas=recipe.adversarial.betas
    )
    processes.average_before_steps(optimiser)
    return OptimisedNetwork(network, optimiser)


def can_record(recipe: Recipe, model: SceneModel, processes: Processes) -> bool:
    """Whether a step does the same work each time, so that a GPU can replay a recording of it."""
    return (
        recipe.record
        and model.recordable
        and processes.device.type == "cuda"
        and processes.count == 1
        and recipe.batch.accumulate == 1
        and recipe.precision != "bf16"  # autocast's copies of weights don't outlive a step
        and recipe.sampling.training_chunk is None
        and recipe.losses.depth == 0  # draws other points each time
        and not recipe.compile
    )


def compile_networks(model: SceneModel) -> None:
    """Compile the encoder and the fields; what lies between them changes its shapes too often."""
    for network in model.children():
        network.compile(dynamic=True)
    if isinstance(model, UORF):
        for field in ("background", "foreground"):
            setattr(model.decoder, field, torch.compile(getattr(model.decoder, field), dynamic=True))
