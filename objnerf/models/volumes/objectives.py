"""What object volumes are trained by beside the colour error, where every view of a scene is an input."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from objnerf.models.scene import AuxiliaryLosses, NovelRays
from objnerf.models.volumes import losses
from objnerf.models.volumes.code import VolumesCode, VolumesRendering
from objnerf.models.volumes.consistency import explain_by_background
from objnerf.models.volumes.foreground import voxel_opacity
from objnerf.models.volumes.grid import in_view, look_up, project
from objnerf.models.volumes.teacher import FusedScenes, Teacher, another_view
from objnerf.rendering.rays import camera_directions, raster_coordinates, world_rays

OWN_VIEW_SAMPLES = 24
"""Samples of the rays through the input view's own pixels."""

VOLUME_STEPS = 300
"""Steps over which the weight of the voxels' opacity grows."""


@dataclass(frozen=True)
class Objectives:
    """The auxiliary losses of object volumes.

    Codes hold all views of some scenes: ``views`` entries after each other for each scene.
    """

    teacher: Teacher

    def auxiliary_losses(
        self, code: VolumesCode, rendering: VolumesRendering, novel: NovelRays, step: int | Tensor
    ) -> AuxiliaryLosses:
        """See ``SceneModel.auxiliary_losses``."""
        config, views = self.teacher.config, novel.views
        share = losses.ramp(step, 0, config.ramp_steps)
        shown = rendering.slot_opacity[..., 1:].sum(-1)
        opacity = voxel_opacity(code.volume)
        result = {
            "sparsity": config.sparsity_weight * shown.mean(),
            # A foreground that is gone would have nothing to learn from.
            "floor": config.floor_weight * (config.floor - shown.mean()).clamp(min=0),
            "decided": config.decided_weight * share * losses.decided(shown),
            "spread": config.spread_weight * share * rendering.spread.mean(),
            "volume": config.volume_weight * losses.ramp(step, 0, VOLUME_STEPS) * opacity.mean(),
        }
        fused = self.teacher.fuse(code, views)
        result |= self.teacher.losses(code, fused, step)
        taught = losses.ramp(step, *config.distill_steps)
        result["distill"] = config.distill_weight * taught * self.teacher.distillation(code, fused)
        found = explain_by_background(code, views, novel.view, novel.where, rendering.behind)
        explained = fused.explained_pixels(found)
        result["explained"] = config.explained_weight * (explained * shown).mean()
        if config.own_view_weight > 0:
            result["own_view"] = config.own_view_weight * self.own_view_error(code, fused, step)
        # A step that is recorded has to hold all that any step needs.
        if config.instance_weight > 0 and (isinstance(step, Tensor) or step >= config.instance_from):
            taught_places = self.instances(code, fused)
            result |= {name: value * (step >= config.instance_from) for name, value in taught_places.items()}
        # Opacity where the background explains the pixel: near 1 when the foreground has become a fog, which
        # would hide the background from every view.
        fog = (found.anyway * shown.detach()).sum() / found.anyway.sum().clamp(min=1e-6)
        return AuxiliaryLosses(result, {"slots/explained_opacity": fog})

    def own_view_error(self, code: VolumesCode, fused: FusedScenes, step: int | Tensor) -> Float[Tensor, ""]:
        """Squared error of the input views themselves, before a background that is taken from another view.

        The foreground has the input view's own colours, so it can only lower this error by being opaque where
        the other view shows the ground in another colour. Counted where that view sees the ground, and not
        where views agree that it is ground: there the errors are those of resampling.
        """
        geometry, views = self.teacher.renderer.geometry, fused.views
        entries = len(code.slots)
        height, width = code.pixels.shape[-2:]
        # A sparse raster of pixels that shifts from step to step, and another of the other views each time.
        count, total = self.teacher.config.own_view_rays, height * width
        index = (torch.arange(count, device=code.pixels.device) * (total // count) + step * 7919) % total
        entry = torch.arange(entries, device=code.pixels.device)
        seen = code.with_background(code.select_scenes(another_view(entry, views, step)))
        directions = camera_directions(code.pinholes, width, height).flatten(1, 2).index_select(1, index)
        origins, directions = world_rays(directions, code.world_from_camera)
        near, far = geometry.near, geometry.far
        steps = (torch.arange(OWN_VIEW_SAMPLES, device=directions.device) + 0.5) / OWN_VIEW_SAMPLES
        depths = (near + (far - near) * steps).expand(entries, count, -1)
        pixel = 1 / (geometry.focal_ratio[0] * width)
        rendering = self.teacher.renderer.render(seen, origins, directions, depths, False, pixel)
        with torch.no_grad():
            surfaces, _ = self.teacher.renderer.surfaces(seen, origins, directions, 0.0)
            ground = surfaces.ground[:, :, 0]
            where, depth = project(ground, seen.ground_world_from_camera, seen.ground_pinholes)
            visible = look_up(seen.ground[:, 6:7], where)[..., 0] * in_view(where, depth)
            visible = visible * (1 - surfaces.is_wall)
        truth = code.pixels[:, :3].detach().flatten(2).index_select(2, index).transpose(1, 2)
        own = (entry % views)[:, None].expand(-1, count)
        at = raster_coordinates(index, width, height).expand(entries, -1, -1)
        found = explain_by_background(code, views, own, at, rendering.behind)
        explained = fused.explained_pixels(found)
        error = (rendering.rgb - truth).square().mean(-1)
        return (visible * (1 - explained) * error).mean()

    def instances(self, code: VolumesCode, fused: FusedScenes) -> dict[str, Tensor]:
        """Centres and votes against the teacher's objects."""
        config, views = self.teacher.config, fused.views
        labels, centers, exists = self.teacher.pseudo_labels(fused)
        rotation = self.teacher.rotations(code, fused)
        middles = (F.pad(centers, (0, 1)).repeat_interleave(views, 0) @ rotation)[..., :2]
        heat, votes = losses.instance_losses(
            code.heat,
            code.votes,
            self.teacher.columns,
            self._labels_in_views(labels, rotation),
            middles,
            exists.repeat_interleave(views, 0),
            config.center_sigma,
        )
        return {
            "centers": config.instance_weight * heat,
            "votes": config.instance_weight * config.vote_weight * votes,
        }

    def _labels_in_views(
        self, labels: Int[Tensor, "scenes rows columns"], rotation: Float[Tensor, "inputs 3 3"]
    ) -> Int[Tensor, "inputs rows columns"]:
        """The pseudo-labels, taken from the teacher's frame into each entry's field frame."""
        grid = self.teacher.renderer.grid
        flat = torch.cat(
            [self.teacher.columns, torch.zeros_like(self.teacher.columns[..., :1])], dim=-1
        ).flatten(0, 1)
        there = flat @ rotation.transpose(1, 2)
        index = ((there[..., :2] + grid.half) / grid.cell).floor().long()
        inside = ((index >= 0) & (index < grid.cells)).all(-1)
        index = index.clamp(0, grid.cells - 1)
        views = len(rotation) // len(labels)
        own = labels.flatten(1).repeat_interleave(views, 0)
        own = own.gather(1, index[..., 1] * grid.cells + index[..., 0]) * inside
        return own.unflatten(1, (grid.cells, grid.cells))
