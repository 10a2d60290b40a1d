"""The teacher: volumes fused from all views of the scenes of a training step, and what they teach."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from objnerf.models.config import VolumesConfig
from objnerf.models.volumes import losses
from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.consistency import Explanation, explain_by_background, explained_by
from objnerf.models.volumes.foreground import voxel_opacity
from objnerf.models.volumes.fusion import Fusion
from objnerf.models.volumes.grid import in_view, look_up, look_up_channels, project
from objnerf.models.volumes.instances import seen_from_above, split
from objnerf.models.volumes.palette import Palette, foreignness, make_palette
from objnerf.models.volumes.renderer import VolumeRenderer
from objnerf.rendering.rays import camera_directions, raster_coordinates, world_rays

SAMPLES = 24
"""Samples of the rays that the teacher is trained with."""

GOLDEN = 0.6180339887
"""Fraction by which the pixels' raster shifts from step to step: it never repeats."""


@dataclass(frozen=True)
class FusedScenes:
    """What all views of some scenes say together."""

    views: int
    """Of each scene."""
    volume: Float[Tensor, "scenes 5 layers rows columns"]
    """Raw values, in the field frame of each scene's first view."""
    field_from_world: Float[Tensor, "scenes 3 3"]
    """Rotation into that frame."""
    explained: Float[Tensor, "inputs 1 half_height half_width"]
    """How surely other views explain each view's pixels by the background."""
    foreign: Float[Tensor, "inputs 1 half_height half_width"]
    """How surely their colours are not the background's."""
    palette: Palette
    """Colours of the scenes' backgrounds."""

    @property
    def opacity(self) -> Float[Tensor, "scenes layers rows columns"]:
        """Of the voxels."""
        return voxel_opacity(self.volume)

    def explained_pixels(self, found: Explanation) -> Float[Tensor, "inputs rays"]:
        """How surely pixels of the scenes' views show the background, by agreement and by colour."""
        each = found.colours.unflatten(0, (-1, self.views))
        likeness = self.palette.likeness(each.flatten(1, 2)).unflatten(1, each.shape[1:3]).flatten(0, 1)
        return explained_by(found.anyway, found.shown, likeness)


@dataclass(frozen=True)
class Teacher:
    """Fuses the views of training scenes, and compares single-view volumes with the result.

    Codes hold all views of some scenes: ``views`` entries after each other for each scene.
    """

    config: VolumesConfig
    renderer: VolumeRenderer
    columns: Float[Tensor, "rows columns 2"]
    """Centres of the cells seen from above, field frame, world units."""
    fusion: Fusion

    def fuse(self, code: VolumesCode, views: int) -> FusedScenes:
        """The scenes' volumes from all of their views."""
        explained, foreign, palette = self._background_evidence(code, views)
        evidence = torch.cat([explained, code.pixels[:, 3:].detach().sigmoid(), foreign], dim=1)
        frame = code.field_from_world[::views, :3, :3]
        volume = self.fusion(code.seen, evidence, code.world_from_camera, code.pinholes, frame)
        return FusedScenes(views, volume, frame, explained, foreign, palette)

    @torch.no_grad()
    def _background_evidence(
        self, code: VolumesCode, views: int
    ) -> tuple[
        Float[Tensor, "inputs 1 half_height half_width"],
        Float[Tensor, "inputs 1 half_height half_width"],
        Palette,
    ]:
        """Which pixels the background explains, which have colours that are not its, and its colours.

        Photo-consistency is found for every second row and column of the features.
        """
        height, width = (side // 2 for side in code.seen.shape[-2:])
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2)
        origins, directions = world_rays(directions, code.world_from_camera)
        surfaces, _ = self.renderer.surfaces(code, origins, directions, 0.0)
        index = torch.arange(height * width, device=directions.device)
        where = raster_coordinates(index, width, height).expand(len(directions), -1, -1)
        own = torch.arange(len(directions), device=directions.device) % views
        own = own[:, None].expand(-1, height * width)
        found = explain_by_background(code, views, own, where, surfaces.met)

        def of_scenes(values: Tensor) -> Tensor:
            return values.unflatten(0, (-1, views)).flatten(1, 2)

        near = self._on_grid(code, surfaces.met)
        palette = make_palette(of_scenes(found.colours), of_scenes(found.roughly), of_scenes(near))
        seen = of_scenes(code.pixels[:, :3].flatten(2).transpose(1, 2))
        likeness = palette.likeness(seen).unflatten(1, (views, 1, *code.pixels.shape[-2:])).flatten(0, 1)
        coarse = [x.unflatten(1, (height, width))[:, None] for x in (found.anyway, found.shown)]
        anyway, shown = (
            F.interpolate(x, size=likeness.shape[-2:], mode="bilinear", align_corners=False) for x in coarse
        )
        return explained_by(anyway, shown, likeness), foreignness(likeness), palette

    def _on_grid(
        self, code: VolumesCode, points: Float[Tensor, "inputs rays 3"]
    ) -> Float[Tensor, "inputs rays"]:
        """Which points of the background lie under the grid: 1 or 0."""
        local = points @ code.field_from_world[:, :3, :3].transpose(1, 2)
        return (local[..., :2].abs() <= self.renderer.grid.half).all(-1).to(points)

    def losses(self, code: VolumesCode, fused: FusedScenes, step: int | Tensor) -> dict[str, Tensor]:
        """What the teacher is trained by, and the outlines of the views by the teacher.

        Each view is rendered in front of a background that another view shows. As in the loss of the input
        view's own pixels, what that view does not show, and what views agree to be background, has no say.
        """
        config = self.config
        target, index = self._draw_pixels(code, fused, step)
        rendering = self._render(code, fused, target, index)
        pixels = code.pixels.flatten(2).index_select(0, target)
        pixels = pixels.gather(2, index[:, None].expand(-1, 4, -1)).transpose(1, 2)
        explained, foreign = (
            x.flatten(1).index_select(0, target).gather(1, index) for x in (fused.explained, fused.foreign)
        )
        error = (rendering.rgb - pixels[..., :3].detach()).square().mean(-1)
        shown = rendering.slot_opacity[..., 1:].sum(-1)
        outline = F.binary_cross_entropy_with_logits(pixels[..., 3], shown.detach().clamp(0, 1))
        near = self._on_grid(code, rendering.behind)
        opacity = fused.opacity
        share = losses.ramp(step, 0, config.ramp_steps)
        counted = _shown_background(code, rendering) * (1 - explained)
        return {
            "outline": config.outline_weight * outline,
            "fused/colour": config.fused_colour_weight * (counted * error).mean(),
            "fused/sparsity": config.sparsity_weight * shown.mean(),
            "fused/explained": config.explained_weight * (explained * shown).mean(),
            "fused/foreign": config.foreign_weight * (foreign * near * (1 - shown)).mean(),
            "fused/floor": config.floor_weight * (config.floor - shown.mean()).clamp(min=0),
            "fused/decided": config.decided_weight * share * losses.decided(shown),
            "fused/spread": config.spread_weight * share * rendering.spread.mean(),
            "fused/volume": config.volume_weight * share * opacity.mean(),
            "fused/support": config.support_weight * share * losses.unsupported(opacity),
        }

    def _draw_pixels(
        self, code: VolumesCode, fused: FusedScenes, step: int | Tensor
    ) -> tuple[Int[Tensor, " inputs"], Int[Tensor, "inputs rays"]]:
        """For each entry the view that is rendered in front of its background, and pixels of that view.

        Half of the pixels are spread evenly, the others where no other view explains them.
        """
        views = fused.views
        entry = torch.arange(len(code.slots), device=code.pixels.device)
        target = another_view(entry, views, step)
        weight = (1 - fused.explained.flatten(1) + 0.02).index_select(0, target)
        weight = weight / weight.mean(1, keepdim=True) + 1
        steps = weight.cumsum(1)
        count = self.config.fused_rays
        even = (torch.arange(count, device=weight.device) + step * GOLDEN % 1) / count
        index = torch.searchsorted(steps, even * steps[:, -1:]).clamp(max=weight.shape[1] - 1)
        return target, index

    def _render(
        self,
        code: VolumesCode,
        fused: FusedScenes,
        target: Int[Tensor, " inputs"],
        index: Int[Tensor, "inputs rays"],
    ) -> VolumesRendering:
        """Pixels of other views, with the background of the entries of ``code``."""
        geometry, views = self.renderer.geometry, fused.views
        height, width = code.pixels.shape[-2:]
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2).index_select(0, target)
        directions = directions.gather(1, index[..., None].expand(-1, -1, 3))
        origins, directions = world_rays(directions, code.world_from_camera.index_select(0, target))
        steps = (torch.arange(SAMPLES, device=directions.device) + 0.5) / SAMPLES
        depths = geometry.near + (geometry.far - geometry.near) * steps
        seen = replace(
            code,
            volume=fused.volume.repeat_interleave(views, 0),
            field_from_world=code.field_from_world[::views].repeat_interleave(views, 0),
            # The fused volume has all that the views know; an outline would only be that of the entry's view.
            pixels=torch.cat([code.pixels[:, :3], torch.zeros_like(code.pixels[:, 3:])], dim=1),
        )
        pixel = 1 / (geometry.focal_ratio[0] * width)
        return self.renderer.render(seen, origins, directions, depths.expand(*index.shape, -1), False, pixel)

    def distillation(self, code: VolumesCode, fused: FusedScenes) -> Float[Tensor, ""]:
        """Cross-entropy of the opacity of single-view voxels, as they are rendered, with the teacher's."""
        grid = self.renderer.grid
        centers = grid.centers(code.volume.device)
        points = centers @ self.rotations(code, fused).transpose(1, 2)
        inside = (points[..., :2].abs() <= grid.half).all(-1)
        opacity = fused.opacity.detach().repeat_interleave(fused.views, 0)
        target = grid.sample(opacity[:, None], points)[:, 0] * inside
        where, _ = project(centers @ code.field_from_world[:, :3, :3], code.world_from_camera, code.pinholes)
        outline = look_up_channels(code.pixels[:, 3:], where)[:, 0]
        # A voxel lets exp(-absorbed) pass.
        absorbed = F.softplus(code.volume[:, 0].flatten(1) + outline)
        opaque = (1 - torch.exp(-absorbed)).clamp(min=1e-6).log()
        return ((1 - target) * absorbed - target * opaque).mean()

    @staticmethod
    def rotations(code: VolumesCode, fused: FusedScenes) -> Float[Tensor, "inputs 3 3"]:
        """From each entry's field frame into that of the fused volume."""
        frame = fused.field_from_world.repeat_interleave(fused.views, 0)
        return frame @ code.field_from_world[:, :3, :3].transpose(1, 2)

    @torch.no_grad()
    def pseudo_labels(
        self, fused: FusedScenes
    ) -> tuple[
        Int[Tensor, "scenes rows columns"],
        Float[Tensor, "scenes objects 2"],
        Bool[Tensor, "scenes objects"],
    ]:
        """Objects of the fused volumes: see ``instances.split``."""
        config = self.config
        return split(
            seen_from_above(fused.opacity),
            self.columns,
            count=config.num_slots - 1,
            sigma=config.split_sigma,
            reach=config.split_reach,
            threshold=config.split_threshold,
        )


def another_view(entry: Int[Tensor, " inputs"], views: int, step: int | Tensor) -> Int[Tensor, " inputs"]:
    """For each view of a scene another one of it, each of them once; the others in turn from step to step.

    Args:
        entry: positions of the views, those of a scene after each other.
        views: of each scene.
        step: training steps done.
    """
    return entry // views * views + (entry + 1 + step % (views - 1)) % views


@torch.no_grad()
def _shown_background(code: VolumesCode, rendering: VolumesRendering) -> Float[Tensor, "inputs rays"]:
    """How surely the view that the background is looked up in shows it where the rays meet it."""
    where, depth = project(rendering.behind, code.ground_world_from_camera, code.ground_pinholes)
    return look_up(code.ground[:, 6:7], where)[..., 0] * in_view(where, depth)
