"""Previews: images and PSNR from scenes that a run does not train on."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from objnerf.dataset.files import BACKGROUND_COLOUR, OBJECT_COLOURS
from objnerf.models import SceneModel
from objnerf.rendering.rays import camera_directions, uniform_depths, world_rays
from objnerf.training.recipe import Recipe
from objnerf.training.scenes import Scenes

#: Tiles are enlarged by whole factors to about this width, pixels.
_TILE_WIDTH = 128
_GAP = 4


@dataclass(frozen=True)
class Look:
    """What a preview shows."""

    psnr: float | None
    """Mean over the scenes, of the first novel view, dB; None where no scene has a second view."""
    image: UInt8[np.ndarray, "height width 3"]
    """A row per scene: input view, its reconstruction, its segments; novel view, rendering, segments."""


@torch.no_grad()
def look(model: SceneModel, scenes: Scenes, recipe: Recipe, *, locality: bool) -> Look:
    """Encode the first view of each scene, render it and the next one.

    Args:
        model: left in evaluation mode.
        scenes: with images at the recipe's input and evaluation size.
        recipe: sizes and samples.
        locality: whether foreground slots are confined to the box.
    """
    model.eval()
    width, height = recipe.evaluation.size
    device = scenes.device
    shared = camera_directions(recipe.scale.focal_ratio, width, height, device).flatten(0, 1)
    depths = uniform_depths(recipe.scale.near, recipe.scale.far, recipe.evaluation.samples, device)
    rows, errors = [], []
    for first, count in zip(scenes.first, scenes.count, strict=True):
        # The same random start each time, so that previews of different steps can be compared.
        generator = torch.Generator(device).manual_seed(0)
        index = torch.tensor([first], device=device)
        code = model.encode(
            scenes.images(recipe.input_size, index),
            scenes.world_from_camera[index],
            pinholes=None if scenes.pinholes is None else scenes.pinholes[index],
            generator=generator,
        )
        tiles = []
        for view in range(min(2, count)):
            index = torch.tensor([first + view], device=device)
            directions = shared
            if scenes.pinholes is not None:
                directions = camera_directions(scenes.pinholes[index], width, height).flatten(1, 2)
            origins, rays = world_rays(directions, scenes.world_from_camera[index])
            rendering = model.render(
                code,
                origins,
                rays,
                depths.expand(1, len(shared), -1),
                locality=locality,
                chunk_rays=recipe.sampling.chunk,
                pixel=1 / (recipe.scale.focal_ratio[0] * width),
            )
            truth = scenes.images(recipe.evaluation.size, index)[0].permute(1, 2, 0) / 2 + 0.5
            drawn = rendering.rgb[0].unflatten(0, (height, width)).clamp(0, 1)
            slots = rendering.slot_opacity[0].argmax(dim=-1).unflatten(0, (height, width))
            tiles += [_bytes(truth), _bytes(drawn), slot_colours(slots.cpu().numpy())]
            if view == 1:
                errors.append(float((drawn - truth).square().mean().clamp(min=1e-10)))
        rows.append(tiles)
    psnr = float(np.mean([-10 * np.log10(error) for error in errors])) if errors else None
    return Look(psnr, _mosaic(rows))


def slot_colours(slots: Integer[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Slots as flat colours: the background's and the objects' of the dataset's masks."""
    objects = np.array(OBJECT_COLOURS, np.uint8)
    colours = objects[(slots - 1) % len(objects)]
    return np.where((slots == 0)[..., None], np.array(BACKGROUND_COLOUR, np.uint8), colours)


def _bytes(image: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (image * 255).round().byte().cpu().numpy()


def _mosaic(rows: list[list[np.ndarray]]) -> UInt8[np.ndarray, "height width 3"]:
    """Tiles in rows on white, enlarged without smoothing, so that single pixels can be seen."""
    height, width = rows[0][0].shape[:2]
    factor = max(1, round(_TILE_WIDTH / width))
    height, width = height * factor, width * factor
    columns = max(len(row) for row in rows)
    canvas = np.full(
        (len(rows) * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8
    )
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = i * (height + _GAP), j * (width + _GAP)
            canvas[top : top + height, left : left + width] = tile.repeat(factor, 0).repeat(factor, 1)
    return canvas
