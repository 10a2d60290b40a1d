"""Drawing what a step uses: scenes, their input views, and rays with the colours that belong to them.

It depends on nothing but the seed, the step and the scene's position in the batch; see ``seeds``.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.scene import NovelRays
from objnerf.rendering.rays import (
    camera_directions,
    pixel_directions,
    raster_coordinates,
    uniform_depths,
    world_rays,
)
from objnerf.training.recipe import Recipe, Stage
from objnerf.training.scenes import Scenes
from objnerf.training.seeds import ORDER, RAYS, derive_seed


@dataclass(frozen=True)
class Batch:
    """What one step sees of some scenes: the input views, and rays with the colours that belong to them."""

    images: Float[Tensor, "scenes 3 height width"]
    """Input views in [-1, 1]."""
    world_from_camera: Float[Tensor, "scenes 4 4"]
    """The input views' poses."""
    origins: Float[Tensor, "scenes rays 3"]
    """World units."""
    directions: Float[Tensor, "scenes rays 3"]
    """Camera z-depth 1."""
    depths: Float[Tensor, "scenes rays samples"]
    """Planar depths of the samples, world units, ascending."""
    colours: Float[Tensor, "scenes rays 3"]
    """In [0, 1]."""
    grid: tuple[int, int, int] | None
    """(views, height, width) where the rays are whole images or crops; None for loose rays."""
    pinholes: Float[Tensor, "scenes 4"] | None = None
    """The input views' lenses, where cameras differ."""
    novel: NovelRays | None = None
    """Which view each ray belongs to, where every view of a scene is an input."""
    pixel: float = 0.0
    """Side of a pixel in the plane of depth 1 before the camera."""
    surfaces: Float[Tensor, "scenes rays"] | None = None
    """Planar depth of what each ray sees, world units, if the recipe asks for it."""


def scenes_of_step(scenes: int, start: int, count: int, seed: int, attempt: int) -> list[int]:
    """Positions of the scenes that come after ``start`` others in the shuffled epochs of a run.

    Every epoch shows each of ``scenes`` scenes once, in an order of its own.
    """
    chosen = []
    for place in range(start, start + count):
        epoch, rank = divmod(place, scenes)
        chosen.append(int(_epoch_order(scenes, epoch, seed, attempt)[rank]))
    return chosen


@lru_cache(maxsize=4)
def _epoch_order(scenes: int, epoch: int, seed: int, attempt: int) -> np.ndarray:
    generator = np.random.default_rng(np.random.SeedSequence([seed, attempt, ORDER, epoch]))
    return generator.permutation(scenes)


def draw_batch(
    scenes: Scenes,
    recipe: Recipe,
    stage: Stage,
    start: int,
    *,
    attempt: int = 0,
) -> Batch:
    """Draw ``recipe.batch.scenes`` scenes, their views, and the rays that the stage asks for.

    Args:
        scenes: what to draw from.
        recipe: its batch, sampling, scale, input size and seed count.
        stage: image size and kind of supervision.
        start: how many scenes the run has shown before these, over all processes.
        attempt: counts the restarts of a collapsed run.
    Returns:
        The batch, on the training device.
    """
    width, height = stage.size
    drawn = _draw_indices(scenes, recipe, stage, start, attempt)
    device = scenes.device
    inputs, view, pixel = (index.to(device) for index in (drawn.inputs, drawn.view, drawn.pixel))
    if scenes.pinholes is None:
        directions = camera_directions(recipe.scale.focal_ratio, width, height, device).flatten(0, 1)[pixel]
    else:
        directions = pixel_directions(scenes.pinholes[view], pixel, width, height)
    origins, directions = world_rays(directions[..., None, :], scenes.world_from_camera[view])
    novel = None
    if stage.supervision == "novel":
        novel = _novel_rays(recipe, drawn.which.to(device), pixel, stage.size)
    return Batch(
        images=scenes.images(recipe.input_size, inputs),
        world_from_camera=scenes.world_from_camera[inputs],
        pinholes=None if scenes.pinholes is None else scenes.pinholes[inputs],
        origins=origins[..., 0, :],
        directions=directions[..., 0, :],
        depths=_sample_depths(recipe, drawn, device),
        colours=scenes.colours(stage.size, view, pixel),
        grid=_grid(recipe, stage),
        novel=novel,
        pixel=1 / (recipe.scale.focal_ratio[0] * width),
        surfaces=scenes.surfaces(stage.size, view, pixel) if recipe.losses.depth > 0 else None,
    )


@dataclass(frozen=True)
class _Drawn:
    """What the random numbers of a step chose, on the CPU."""

    inputs: Int[Tensor, " inputs"]
    """The input views, as positions among all views."""
    view: Int[Tensor, "inputs rays"]
    """The view that each ray belongs to, likewise."""
    pixel: Int[Tensor, "inputs rays"]
    """The row-major pixel of it that the ray passes through."""
    which: Int[Tensor, "inputs rays"]
    """The same view as a position among those drawn of its scene."""
    jitter: Float[Tensor, "inputs rays samples"] | None
    """Where each sample lies in its interval, in [0, 1); None for samples on a fixed grid."""


def _draw_indices(scenes: Scenes, recipe: Recipe, stage: Stage, start: int, attempt: int) -> _Drawn:
    """Draw scenes, views, pixels and jitter; a generator of its own for each scene."""
    chosen = scenes_of_step(len(scenes.ids), start, recipe.batch.scenes, recipe.seed, attempt)
    inputs, view, pixel, which, jitter = [], [], [], [], []
    for offset, scene in enumerate(chosen):
        generator = torch.Generator().manual_seed(derive_seed(recipe.seed, attempt, RAYS, start + offset))
        order = torch.randperm(scenes.count[scene], generator=generator)[: recipe.batch.views]
        own = scenes.first[scene] + order
        for position in range(len(own) if stage.supervision == "novel" else 1):
            of_view, of_pixel = _draw_pixels(recipe, stage, len(own), position, generator)
            inputs.append(own[position])
            view.append(own[of_view])
            pixel.append(of_pixel)
            which.append(of_view)
            if recipe.sampling.jitter:
                jitter.append(torch.rand((len(of_pixel), recipe.sampling.samples), generator=generator))
    return _Drawn(
        inputs=torch.stack(inputs),
        view=torch.stack(view),
        pixel=torch.stack(pixel),
        which=torch.stack(which),
        jitter=torch.stack(jitter) if jitter else None,
    )


def _sample_depths(
    recipe: Recipe, drawn: _Drawn, device: torch.device
) -> Float[Tensor, "inputs rays samples"]:
    """Planar depths of the samples, world units, ascending."""
    near, far, samples = recipe.scale.near, recipe.scale.far, recipe.sampling.samples
    if drawn.jitter is None:
        return uniform_depths(near, far, samples, device).expand(*drawn.pixel.shape, samples)
    steps = torch.arange(samples, device=device) + drawn.jitter.to(device)
    return near + (far - near) * steps / samples


def _novel_rays(
    recipe: Recipe, view: Int[Tensor, "inputs rays"], pixel: Int[Tensor, "inputs rays"], size: tuple[int, int]
) -> NovelRays:
    return NovelRays(len(view) // recipe.batch.scenes, view, raster_coordinates(pixel, *size))


def _grid(recipe: Recipe, stage: Stage) -> tuple[int, int, int] | None:
    if stage.supervision in {"rays", "novel"}:
        return None
    if stage.supervision == "patches":
        return recipe.batch.views, stage.patch, stage.patch
    return recipe.batch.views, stage.size[1], stage.size[0]


def _draw_pixels(
    recipe: Recipe, stage: Stage, views: int, position: int, generator: torch.Generator
) -> tuple[Int[Tensor, " rays"], Int[Tensor, " rays"]]:
    """Which of the drawn views, and which row-major pixel of it, each ray looks through.

    ``position`` is that of the input view among the drawn ones.
    """
    width, height = stage.size
    if stage.supervision == "novel":
        # As many rays of one other view as of the next.
        which = (position + 1 + torch.arange(stage.rays) % (views - 1)) % views
        return which, torch.randint(width * height, (stage.rays,), generator=generator)
    if stage.supervision == "rays":
        which = torch.randint(views, (stage.rays,), generator=generator)
        return which, torch.randint(width * height, (stage.rays,), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    if stage.supervision == "patches":
        # The same window in all views, as in uORF.
        rows = torch.randint(height - stage.patch + 1, (1,), generator=generator) + torch.arange(stage.patch)
        columns = torch.randint(width - stage.patch + 1, (1,), generator=generator) + torch.arange(
            stage.patch
        )
    pixel = (rows[:, None] * width + columns).flatten()
    return torch.arange(views).repeat_interleave(len(pixel)), pixel.repeat(views)
